"""The audit of what the staff does, on both databases."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from service.records.errors import UnstorableRecordError
from service.records.sql_store import SqlRecordStore
from service.records.store import AuditEvent

EVENT = AuditEvent(
    id="audit_1",
    occurred_at=datetime(2026, 1, 31, 8, 15, 0, 250000, tzinfo=UTC),
    actor="key_0123456789abcdef",
    action="models.promote",
    subject="ab" * 32,
    details={"alias": "stable", "generation": 3, "reason": "更好"},
)


def test_events_come_back_as_they_were_recorded_newest_first(store: SqlRecordStore) -> None:
    """Every field to the character; of equal times the larger id comes first."""
    events = [replace(EVENT, id=f"audit_{number}") for number in range(3)]
    later = replace(EVENT, id="audit_0000", occurred_at=EVENT.occurred_at + timedelta(microseconds=1))
    for event in (later, *events):
        store.record_audit(event)
    assert store.list_audit(["models.promote"], limit=10) == (later, *reversed(events))
    assert store.list_audit(["models.promote"], limit=2) == (later, events[-1])


def test_a_list_holds_one_tenants_events_of_the_kinds_asked_for(store: SqlRecordStore) -> None:
    """Another tenant's events do not exist for this one."""
    store.record_audit(replace(EVENT, id="audit_2", tenant="acme"))
    store.record_audit(replace(EVENT, id="audit_3", action="models.hold"))
    store.record_audit(EVENT)
    assert store.list_audit(["models.promote"], limit=10) == (EVENT,)
    assert [event.id for event in store.list_audit(["models.hold", "models.promote"], limit=10)] == [
        "audit_3",
        "audit_1",
    ]
    assert [event.id for event in store.list_audit(["models.promote"], limit=10, tenant="acme")] == ["audit_2"]


def test_an_event_that_not_every_database_can_keep_is_refused(store: SqlRecordStore) -> None:
    """As with all records, before anything is written."""
    with pytest.raises(UnstorableRecordError):
        store.record_audit(replace(EVENT, details={"reason": "a\0b"}))
    assert store.list_audit(["models.promote"], limit=10) == ()
