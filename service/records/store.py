"""What the service keeps, and the port through which it is kept.

The records are plain values. How they become rows is `sql_store`'s business, what they may hold `storable`'s.
"""

import secrets
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Protocol

from model_store.contract.conversation import Message
from model_store.contract.feedback import Rating, Ruling
from model_store.intents.sentiment import Sentiment

FinishReason = Literal["stop", "length", "cancelled", "handover", "error"]
FINISHED_REASONS: frozenset[FinishReason] = frozenset({"stop", "length", "handover"})
"""A completion that ended otherwise is half a completion: kept, but never learned from."""

DEFAULT_TENANT = "default"
ANONYMOUS_RATER = "anonymous"
DERIVED_ID_PREFIX = "conv_derived_"
"""Begins the id of a conversation that came without one; people who begin with the same words may share it."""

IDEMPOTENCY_SECONDS = 86_400
"""How long a key stands for the answer to its first request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRecord:
    """One completion with everything that repeating it or learning from it takes.

    `prompt_messages` and `completion_text` are masked. `token_logprobs` are natural logarithms under the sampler's
    distribution, one for each of `completion_token_ids`. `sampling` is a JSON object that includes the seed.
    `sentiment` is that of the customer's message which is answered: of several choices the first has it, so that every
    message counts once. None: nobody told.
    """

    id: str
    conversation_id: str
    created_at: datetime
    model_digest: str
    language: str
    prompt_messages: tuple[Message, ...]
    completion_text: str
    completion_token_ids: tuple[int, ...]
    token_logprobs: tuple[float, ...]
    sampling: Mapping[str, object]
    finish_reason: FinishReason
    latency_ms: float
    num_prompt_tokens: int
    num_completion_tokens: int
    rater: str = ANONYMOUS_RATER
    tenant: str = DEFAULT_TENANT
    sentiment: Sentiment | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the model ended the completion, rather than a disconnect or a failure."""
        return self.finish_reason in FINISHED_REASONS


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRecord:
    """What a rater says about a completion now; it replaces whatever the rater said before.

    A `rating` of None withdraws; reasons, comment and correction are then dropped. Comment and correction are masked.
    """

    completion_id: str
    rater: str
    rating: Rating | None
    reasons: tuple[str, ...] = ()
    comment: str | None = None
    correction: str | None = None
    tenant: str = DEFAULT_TENANT
    origin: str = ""
    """The web page or the API key that it came through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFeedback:
    """Feedback as it lies in the store. `withdrawn_at` is set exactly when `rating` is None."""

    completion_id: str
    rater: str
    rating: Rating | None
    reasons: tuple[str, ...]
    comment: str | None
    correction: str | None
    created_at: datetime
    updated_at: datetime
    withdrawn_at: datetime | None
    origin: str = ""
    plan: str | None = None
    """What the rated completion set out to say."""
    model_digest: str = ""
    """The version that made it."""
    is_replay: bool = False
    """Whether a retry was answered with what its first request was told; nothing changed."""


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """A conversation in a list, and the place in the list where the next page begins."""

    id: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTurn:
    """A finished completion, with all that the model was shown for it. Masked."""

    completion_id: str
    created_at: datetime
    prompt_messages: tuple[Message, ...]
    completion_text: str


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """A conversation as it lies in the store; `turns` are its newest in order."""

    id: str
    created_at: datetime
    turns: tuple[RecordedTurn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What was erased, and since when training could have read ratings of it (None: it never could)."""

    conversation_id: str
    erased_at: datetime
    first_rated_at: datetime | None
    num_completions: int
    num_feedback: int


class PurgeCounts(NamedTuple):
    """How much a purge has deleted, or would."""

    num_completions: int
    num_feedback: int
    num_conversations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    """A client's key for one request to one route; both are digests, which say nothing without the service's secret."""

    route: str
    key_digest: str
    request_digest: str
    tenant: str = DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to answer under a key, for a while."""

    key: IdempotencyKey
    claim_id: str


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What the first request with a key has led to."""

    completion_id: str
    answer: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """Something a member of the staff did: who, what (`models.promote`), to what, and how exactly.

    `actor` is the id of an API key, or of a person who has signed in. `details` is a JSON object; texts in it are
    masked.
    """

    id: str
    occurred_at: datetime
    actor: str
    action: str
    subject: str
    details: Mapping[str, Any]
    tenant: str = DEFAULT_TENANT

    @classmethod
    def now(cls, tenant: str, actor: str, action: str, subject: str, details: Mapping[str, Any]) -> "AuditEvent":
        """An event of this moment, with an id of its own."""
        return cls(
            id=f"audit_{secrets.token_hex(12)}",
            occurred_at=datetime.now(UTC),
            actor=actor,
            action=action,
            subject=subject,
            details=details,
            tenant=tenant,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldRating:
    """What the staff calls the truth about a completion; None takes it back."""

    completion_id: str
    rating: Rating | None
    actor: str
    decided_at: datetime
    tenant: str = DEFAULT_TENANT


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingRuling:
    """What a person decided about a rating, or, without a completion, about all of a rater; None takes it back."""

    rater: str
    completion_id: str | None
    verdict: Ruling | None
    actor: str
    decided_at: datetime
    tenant: str = DEFAULT_TENANT


class FeedbackCounts(NamedTuple):
    """How many ratings stand, over all tenants; withdrawn ones are not counted."""

    num_up: int
    num_down: int


class RecordStore(Protocol):
    """Keeps completions and feedback. A method that returns has its effect on disk.

    Methods block, on the disk or the network, and may be called from several threads: call them from a worker thread.
    Each raises RecordStoreUnavailableError when the database cannot do it, and then nothing has been acknowledged.
    """

    def record_completion(
        self, completion: CompletionRecord, claim: Claim | None = None, *, tells_handover: bool = False
    ) -> None:
        """Keeps a completion, and its conversation when it is new; with it, the answer to `claim`.

        With `tells_handover`, one that hands over is put into the outbox in the same transaction.

        Raises CompletionExistsError when the id is taken, ConversationErasedError, UnstorableRecordError for text no
        database should hold, and IdempotencyKeyInUseError when the claim was taken over.
        """

    def submit_completion(
        self, completion: CompletionRecord, claim: Claim | None = None, *, tells_handover: bool = False
    ) -> Future[None]:
        """`record_completion` for who must not block: the future is done when the record is on disk.

        Raises UnstorableRecordError at once, and RecordStoreUnavailableError of a store that was closed.
        """

    def get_completion(self, completion_id: str, *, tenant: str = DEFAULT_TENANT) -> CompletionRecord:
        """The completion. Raises CompletionNotFoundError, also for another tenant's."""

    def record_feedback(self, feedback: FeedbackRecord, key: IdempotencyKey | None = None) -> StoredFeedback:
        """Records, replaces or withdraws a rater's feedback, and returns what is now stored.

        A key that came before gets the answer from then, and nothing changes. Raises CompletionNotFoundError, also for
        another tenant's completion, UnstorableRecordError, and IdempotencyKeyReusedError.
        """

    def claim(self, key: IdempotencyKey, *, lease_seconds: float) -> Claim | KeptAnswer:
        """Takes the right to answer under a key, or gives what its first request has led to.

        Raises IdempotencyKeyReusedError or IdempotencyKeyInUseError.
        """

    def release(self, claim: Claim) -> None:
        """Gives back a claim that came to nothing."""

    def begin_conversation(
        self, conversation_id: str, created_at: datetime, *, tenant: str = DEFAULT_TENANT
    ) -> ConversationSummary:
        """Makes an empty conversation. Raises ConversationErasedError."""

    def list_conversations(
        self, *, limit: int, before: ConversationSummary | None = None, tenant: str = DEFAULT_TENANT
    ) -> tuple[ConversationSummary, ...]:
        """A tenant's conversations, newest first, from below `before` on."""

    def get_conversation(
        self, conversation_id: str, *, max_turns: int, tenant: str = DEFAULT_TENANT
    ) -> StoredConversation:
        """A conversation with its newest turns. Raises ConversationNotFoundError, also for another tenant's."""

    def erase_conversation(self, conversation_id: str, *, tenant: str = DEFAULT_TENANT) -> Erasure:
        """Erases a conversation and everything about it; for one that is erased already, says so again.

        On SQLite no byte of it is left in the file or its log. Raises ConversationNotFoundError, also for another
        tenant's.
        """

    def purge(self, before: datetime) -> PurgeCounts:
        """Deletes what was recorded before this time, of all tenants, like an erasure but without tombstones."""

    def forget_keys(self) -> None:
        """Deletes idempotency keys that have had their day."""

    def tag_conversation(
        self, conversation_id: str, tag: str, *, is_on: bool, tenant: str = DEFAULT_TENANT
    ) -> tuple[str, ...]:
        """Puts a tag on a conversation or takes it off; gives its tags then.

        Raises ConversationNotFoundError, also for another tenant's, and TooManyTagsError.
        """

    def record_audit(self, event: AuditEvent) -> None:
        """Keeps what a member of the staff does. Raises UnstorableRecordError."""

    def list_audit(
        self, actions: Collection[str], *, limit: int, tenant: str = DEFAULT_TENANT, since: datetime | None = None
    ) -> tuple[AuditEvent, ...]:
        """A tenant's latest events of these kinds, newest first; `since` leaves out what was before."""

    def record_gold(self, gold: GoldRating) -> None:
        """Keeps, replaces or takes back what is called the truth about a completion.

        Raises CompletionNotFoundError, also for another tenant's, and UnstorableRecordError.
        """

    def record_ruling(self, ruling: RatingRuling) -> None:
        """Keeps, replaces or takes back a decision about a rating or a rater.

        Raises RatingNotFoundError where this tenant has no such standing rating, and UnstorableRecordError.
        """

    def count_feedback(self) -> FeedbackCounts:
        """Counts the standing ratings."""

    def health(self) -> None:
        """Returns when the database answers and accepts writes; takes a write lock but changes nothing."""

    def close(self) -> None:
        """Lets go of the database."""
