"""The release desk on a real store: what is said beforehand, and what the audit holds when somebody is faster."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model_store.backends.local import LocalBackend
from model_store.contract.entities import EntityMasker
from model_store.contract.facts import FactSheet
from model_store.errors import AliasConflictError
from model_store.store import ModelStore
from service.app import DEFAULT_FACTS_FILE
from service.chat.masking import ConversationMasker
from service.chat.oversight.release_desk import MoveRequest, ReleaseAction, ReleaseDesk
from service.records.sql_store import SqlRecordStore
from service.records.store import AuditEvent
from tests.bundles import make_bundle


class InterruptedRecords(SqlRecordStore):
    """Real records; something happens once, right after the first event is kept."""

    happens: Callable[[], object] | None = None

    def record_audit(self, event: AuditEvent) -> None:
        """Keeps the event, then lets it happen."""
        super().record_audit(event)
        if self.happens is not None:
            happens, self.happens = self.happens, None
            happens()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A shelf with three versions, the first of them stable."""
    shelf = ModelStore(LocalBackend(tmp_path / "models"))
    for name in ("one", "two", "three"):
        make_bundle(tmp_path / name, name)
        shelf.publish(tmp_path / name)
    shelf.promote("stable", digest_of(shelf, "one"))
    return shelf


def digest_of(store: ModelStore, name: str) -> str:
    """The version with this name."""
    return next(v.digest for v in store.versions() if v.manifest is not None and v.manifest.name == name)


def test_a_move_that_somebody_else_is_faster_with_fails_and_is_noted(store: ModelStore, tmp_path: Path) -> None:
    """Between the audit and the move the alias moves: nothing is overwritten, and the audit tells how it ended."""
    records = InterruptedRecords.open(f"sqlite:///{tmp_path / 'records.db'}")
    masker = ConversationMasker(FactSheet.load(DEFAULT_FACTS_FILE), EntityMasker())
    desk = ReleaseDesk(store, records, masker, poll_seconds=2, canary_share=0.1)
    records.happens = lambda: store.promote("stable", digest_of(store, "three"))
    two = digest_of(store, "two")
    with pytest.raises(AliasConflictError):
        desk.make(MoveRequest(action=ReleaseAction.PROMOTE, actor="kim", version=two, expected_generation=1))
    assert store.resolve("stable").digest == digest_of(store, "three")
    events = records.list_audit(["models.promote"], limit=9)
    assert [(event.details["outcome"], event.subject) for event in events] == [("alias_conflict", two), ("begun", two)]
    records.close()


def test_what_a_promotion_does_to_a_canary_is_said_beforehand(store: ModelStore, tmp_path: Path) -> None:
    """The sentences name every version that begins or ends to answer."""
    records = SqlRecordStore.open(f"sqlite:///{tmp_path / 'records.db'}")
    masker = ConversationMasker(FactSheet.load(DEFAULT_FACTS_FILE), EntityMasker())
    desk = ReleaseDesk(store, records, masker, poll_seconds=2, canary_share=0.1)
    one, two, three = (digest_of(store, name)[:12] for name in ("one", "two", "three"))

    def said(action: ReleaseAction, name: str) -> str:
        return " ".join(desk.plan(MoveRequest(action=action, actor="kim", version=digest_of(store, name))).consequences)

    tried = said(ReleaseAction.TRY, "two")
    assert f"Version {two} (two, made 2026-01-01) answers 10 % of the conversations" in tried
    store.promote("candidate", digest_of(store, "two"))
    promoted = said(ReleaseAction.PROMOTE, "three")
    assert f"Version {three} (three, made 2026-01-01) answers all conversations, within about 2 s." in promoted
    assert f"Version {one} (one, made 2026-01-01), which answers them now, stays on the shelf" in promoted
    assert f"The canary ends: Version {two} (two, made 2026-01-01) answers nobody any more." in promoted
    records.close()
