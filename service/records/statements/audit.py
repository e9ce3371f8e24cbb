"""The audit: what members of the staff did, one row each, written once and never changed."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, insert, select

from service.records.store import AuditEvent
from service.records.tables import audit_events


def record(connection: Connection, event: AuditEvent) -> None:
    """See `RecordStore.record_audit`."""
    values = {column.name: getattr(event, column.name) for column in audit_events.c}
    connection.execute(insert(audit_events).values({**values, "details": dict(event.details)}))


def newest(
    connection: Connection, tenant: str, actions: Collection[str], *, limit: int, since: datetime | None = None
) -> tuple[AuditEvent, ...]:
    """The tenant's latest events of these kinds, newest first; `since` leaves out what was before."""
    columns = audit_events.c
    query = (
        select(audit_events)
        .where(columns.tenant == tenant, columns.action.in_(actions))
        .order_by(columns.occurred_at.desc(), columns.id.desc())
        .limit(limit)
    )
    if since is not None:
        query = query.where(columns.occurred_at >= since)
    return tuple(AuditEvent(**row) for row in connection.execute(query).mappings())
