"""The record store in SQL: SQLite by default, PostgreSQL by URL, the same statements for both.

Synchronous on purpose: SQLite's driver blocks whatever wraps it, so the chat layer calls the store from a worker thread
and one code path serves both databases. Connections and durability: `database`, `group_commit`. SQL: `statements`.
"""

from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine, false, func, select, update

from model_store.erasures import ErasedConversation
from service.records.copies.export_register import ExportRegister
from service.records.database import DEFAULT_TIMEOUT_SECONDS, open_engine, scrub, transaction
from service.records.errors import CompletionNotFoundError, ConversationNotFoundError
from service.records.group_commit import GroupCommit, Result, Work
from service.records.handovers.outbox import SqlHandoverOutbox
from service.records.migrations import migrated
from service.records.pairs.pair_store import SqlPairStore
from service.records.statements import audit, completions, conversations, erasure, idempotency, retention, rulings, tags
from service.records.statements import feedback as feedback_statements
from service.records.storable import check_storable, is_storable_text
from service.records.store import (
    DEFAULT_TENANT,
    IDEMPOTENCY_SECONDS,
    AuditEvent,
    Claim,
    CompletionRecord,
    ConversationSummary,
    Erasure,
    FeedbackCounts,
    FeedbackRecord,
    GoldRating,
    IdempotencyKey,
    KeptAnswer,
    PurgeCounts,
    RatingRuling,
    StoredConversation,
    StoredFeedback,
)
from service.records.tables import conversations as conversations_table
from service.records.tables import feedback as feedback_table

_NUM_THREADS = 64
"""That wait for one of PostgreSQL's connections; SQLite has a writer of its own."""


class SqlRecordStore:
    """A `RecordStore` over one SQLAlchemy engine; safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        """Takes over `engine`, whose database must have been migrated; `open` does both."""
        self._engine = engine
        self._writer = GroupCommit(engine) if engine.dialect.name == "sqlite" else None
        self._threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="records")
        self.pairs = SqlPairStore(self._write)
        """Replies that the staff chooses between."""
        self.handovers = SqlHandoverOutbox(engine, self._write)
        """What is to be told to the desk; closed with this store."""
        self.exports = ExportRegister(engine, self._write)
        """Which exports were made; closed with this store."""

    @classmethod
    def open(cls, url: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> "SqlRecordStore":
        """Connects, migrates the tables to the newest revision, and returns the store.

        Raises InvalidRecordStoreUrlError, RecordStoreUnavailableError or RecordSchemaError.
        """
        return cls.take_over(open_engine(url, timeout_seconds=timeout_seconds))

    @classmethod
    def take_over(cls, engine: Engine) -> "SqlRecordStore":
        """`open` for an engine that was made otherwise; closes it when it cannot be used."""
        return cls(migrated(engine))

    def record_completion(
        self, completion: CompletionRecord, claim: Claim | None = None, *, tells_handover: bool = False
    ) -> None:
        """See `RecordStore.record_completion`."""
        self.submit_completion(completion, claim, tells_handover=tells_handover).result()

    def submit_completion(
        self, completion: CompletionRecord, claim: Claim | None = None, *, tells_handover: bool = False
    ) -> Future[None]:
        """See `RecordStore.submit_completion`."""
        check_storable(completion)

        def record(connection: Connection) -> None:
            completions.record(connection, completion, claim, tells_handover=tells_handover)

        if self._writer is not None:
            return self._writer.submit(record)
        return self._threads.submit(self._write, record)

    def get_completion(self, completion_id: str, *, tenant: str = DEFAULT_TENANT) -> CompletionRecord:
        """See `RecordStore.get_completion`."""
        if not (is_storable_text(completion_id) and is_storable_text(tenant)):
            raise CompletionNotFoundError(completion_id=completion_id)
        with transaction(self._engine) as connection:
            return completions.read(connection, tenant, completion_id)

    def record_feedback(self, feedback: FeedbackRecord, key: IdempotencyKey | None = None) -> StoredFeedback:
        """See `RecordStore.record_feedback`."""
        check_storable(feedback)
        return self._write(lambda connection: feedback_statements.record(connection, feedback, key))

    def tag_conversation(
        self, conversation_id: str, tag: str, *, is_on: bool, tenant: str = DEFAULT_TENANT
    ) -> tuple[str, ...]:
        """See `RecordStore.tag_conversation`."""
        if not is_storable_text(conversation_id):
            raise ConversationNotFoundError(conversation_id=conversation_id)
        return self._write(lambda connection: tags.tag(connection, tenant, conversation_id, tag, is_on=is_on))

    def record_audit(self, event: AuditEvent) -> None:
        """See `RecordStore.record_audit`."""
        check_storable(event)
        self._write(lambda connection: audit.record(connection, event))

    def list_audit(
        self, actions: Collection[str], *, limit: int, tenant: str = DEFAULT_TENANT, since: datetime | None = None
    ) -> tuple[AuditEvent, ...]:
        """See `RecordStore.list_audit`."""
        with transaction(self._engine) as connection:
            return audit.newest(connection, tenant, actions, limit=limit, since=since)

    def record_gold(self, gold: GoldRating) -> None:
        """See `RecordStore.record_gold`."""
        check_storable(gold)
        self._write(lambda connection: rulings.record_gold(connection, gold))

    def record_ruling(self, ruling: RatingRuling) -> None:
        """See `RecordStore.record_ruling`."""
        check_storable(ruling)
        self._write(lambda connection: rulings.record_ruling(connection, ruling))

    def count_feedback(self) -> FeedbackCounts:
        """See `RecordStore.count_feedback`."""
        query = (
            select(feedback_table.c.rating, func.count())
            .where(feedback_table.c.rating.is_not(None))
            .group_by(feedback_table.c.rating)
        )
        with transaction(self._engine) as connection:
            counts = {rating: count for rating, count in connection.execute(query)}
        return FeedbackCounts(num_up=counts.get("up", 0), num_down=counts.get("down", 0))

    def claim(self, key: IdempotencyKey, *, lease_seconds: float) -> Claim | KeptAnswer:
        """See `RecordStore.claim`."""
        return self._write(lambda connection: idempotency.claim(connection, key, lease_seconds=lease_seconds))

    def release(self, claim: Claim) -> None:
        """See `RecordStore.release`."""
        self._write(lambda connection: idempotency.release(connection, claim))

    def begin_conversation(
        self, conversation_id: str, created_at: datetime, *, tenant: str = DEFAULT_TENANT
    ) -> ConversationSummary:
        """See `RecordStore.begin_conversation`."""
        self._write(lambda connection: conversations.begin(connection, tenant, conversation_id, created_at))
        return ConversationSummary(conversation_id, created_at)

    def list_conversations(
        self, *, limit: int, before: ConversationSummary | None = None, tenant: str = DEFAULT_TENANT
    ) -> tuple[ConversationSummary, ...]:
        """See `RecordStore.list_conversations`."""
        with transaction(self._engine) as connection:
            return conversations.page(connection, tenant, limit=limit, before=before)

    def get_conversation(
        self, conversation_id: str, *, max_turns: int, tenant: str = DEFAULT_TENANT
    ) -> StoredConversation:
        """See `RecordStore.get_conversation`."""
        if not is_storable_text(conversation_id):
            raise ConversationNotFoundError(conversation_id=conversation_id)
        with transaction(self._engine) as connection:
            return conversations.read(connection, tenant, conversation_id, max_turns=max_turns)

    def erase_conversation(self, conversation_id: str, *, tenant: str = DEFAULT_TENANT) -> Erasure:
        """See `RecordStore.erase_conversation`."""
        if not is_storable_text(conversation_id):
            raise ConversationNotFoundError(conversation_id=conversation_id)
        erased = self._write(lambda connection: erasure.erase(connection, tenant, conversation_id))
        scrub(self._engine)
        return erased

    def erased(self) -> tuple[ErasedConversation, ...]:
        """All tombstones."""
        with transaction(self._engine) as connection:
            return erasure.erased(connection)

    def bury(self, known: Collection[ErasedConversation]) -> int:
        """Takes over tombstones from outside and erases what they are about; gives how many conversations went."""
        num_erased = self._write(lambda connection: erasure.bury(connection, known))
        scrub(self._engine)
        return num_erased

    def purge(self, before: datetime) -> PurgeCounts:
        """See `RecordStore.purge`."""
        total = PurgeCounts(0, 0, 0)
        while any(piece := self._write(lambda connection: retention.purge_piece(connection, before))):
            total = PurgeCounts(*map(sum, zip(total, piece, strict=True)))
        if any(total):
            scrub(self._engine)
        return total

    def count_older(self, before: datetime) -> PurgeCounts:
        """What `purge` would delete now."""
        with transaction(self._engine) as connection:
            return retention.count_older(connection, before)

    def forget_keys(self) -> None:
        """See `RecordStore.forget_keys`."""
        before = datetime.now(UTC) - timedelta(seconds=IDEMPOTENCY_SECONDS)
        self._write(lambda connection: retention.forget_keys(connection, before))

    def health(self) -> None:
        """See `RecordStore.health`. A full disk shows only when something is really written."""
        with transaction(self._engine) as connection:
            # A statement that could write: a read-only or locked database refuses it although no row matches.
            unchanged = {"created_at": conversations_table.c.created_at}
            connection.execute(update(conversations_table).where(false()).values(unchanged))

    def close(self) -> None:
        """Writes what is waiting and closes the connections; SQLite then folds its write-ahead log into the file."""
        self._threads.shutdown()
        if self._writer is not None:
            self._writer.close()
        self._engine.dispose()

    def _write(self, work: Work[Result]) -> Result:
        """Does the work in a transaction, and returns when that is on disk."""
        if self._writer is not None:
            return self._writer.run(work)
        with transaction(self._engine) as connection:
            return work(connection)
