"""What the service keeps, and the port through which it is kept.

The records are plain values. How they become rows is `sql_store`'s business, what they may hold `storable`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from model_store.contract.conversation import Message
from model_store.contract.feedback import Rating

FinishReason = Literal["stop", "length", "cancelled", "handover", "error"]
FINISHED_REASONS: frozenset[FinishReason] = frozenset({"stop", "length", "handover"})
"""A completion that ended otherwise is half a completion: kept, but never learned from."""

DEFAULT_TENANT = "default"
ANONYMOUS_RATER = "anonymous"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRecord:
    """One completion with everything that repeating it or learning from it takes.

    `prompt_messages` and `completion_text` are masked. `token_logprobs` are natural logarithms under the sampler's
    distribution, one for each of `completion_token_ids`. `sampling` is a JSON object that includes the seed.
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


class FeedbackCounts(NamedTuple):
    """How many ratings stand, over all tenants; withdrawn ones are not counted."""

    num_up: int
    num_down: int


class RecordStore(Protocol):
    """Keeps completions and feedback. A method that returns has its effect on disk.

    Methods block, on the disk or the network, and may be called from several threads: call them from a worker thread.
    Each raises RecordStoreUnavailableError when the database cannot do it, and then nothing has been acknowledged.
    """

    def record_completion(self, completion: CompletionRecord) -> None:
        """Keeps a completion, and its conversation when it is new.

        Raises CompletionExistsError when the id is taken and UnstorableRecordError for text no database should hold.
        """

    def get_completion(self, completion_id: str, *, tenant: str = DEFAULT_TENANT) -> CompletionRecord:
        """The completion. Raises CompletionNotFoundError, also for another tenant's."""

    def record_feedback(self, feedback: FeedbackRecord) -> StoredFeedback:
        """Records, replaces or withdraws a rater's feedback, and returns what is now stored.

        Raises CompletionNotFoundError, also for another tenant's completion, and UnstorableRecordError.
        """

    def count_feedback(self) -> FeedbackCounts:
        """Counts the standing ratings."""

    def health(self) -> None:
        """Returns when the database answers and accepts writes; takes a write lock but changes nothing."""

    def close(self) -> None:
        """Lets go of the database."""
