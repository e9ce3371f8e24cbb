"""Recording: what is kept of completions and thumbs, who is said to have given them, and the right to give one.

Everything here is masked before the store sees it; the store's calls block, so they run in worker threads.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from model_store.contract.conversation import Message, Role
from model_store.contract.feedback import Rating
from service.chat.handovers.courier import Courier
from service.chat.masking import ConversationMasker
from service.records.errors import FeedbackTokenError, RecordStoreUnavailableError
from service.records.feedback_tokens import FeedbackTokenSigner
from service.records.store import (
    ANONYMOUS_RATER,
    DEFAULT_TENANT,
    DERIVED_ID_PREFIX,
    Claim,
    CompletionRecord,
    FeedbackRecord,
    IdempotencyKey,
    RecordStore,
    StoredFeedback,
)
from service.telemetry import Telemetry

_ID_HEX_DIGITS = 24
_NUM_THREADS = 64

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A thumb as it comes in: nothing is masked yet and nobody has said that it may be given."""

    completion_id: str
    feedback_token: str
    rating: Rating | None
    reasons: tuple[str, ...] = ()
    comment: str | None = None
    correction: str | None = None
    tenant: str = DEFAULT_TENANT
    key: IdempotencyKey | None = None
    kept_placeholders: frozenset[str] = frozenset()
    """What may stand in the correction of somebody who has read the masked text."""
    origin: str = ""
    """The web page or the API key that it came through."""


class CompletionSink(Protocol):
    """Where completions go when they are made: the records, or the hands of who only wants to look at one."""

    async def record_completion(self, completion: CompletionRecord, claim: Claim | None = None) -> str:
        """Takes a completion; gives the feedback token for it, "" where nobody can rate it."""

    def release(self, claim: Claim) -> Future[None]:
        """Gives a claim back soon; when is told by what is returned."""

    def note_first_token(self, seconds: float) -> None:
        """Hears of the time from a request to its first token."""


class Recorder:
    """Writes completions and feedback. Safe to share; holds nothing of any request but while it is written."""

    def __init__(
        self,
        records: RecordStore,
        signer: FeedbackTokenSigner,
        masker: ConversationMasker,
        telemetry: Telemetry,
        courier: Courier | None = None,
    ) -> None:
        """Without a courier nobody is told of hand-overs."""
        self._courier = courier
        self._records = records
        self._signer = signer
        self._masker = masker
        self._telemetry = telemetry
        self._threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="records")

    async def record_completion(self, completion: CompletionRecord, claim: Claim | None = None) -> str:
        """Records a completion and returns the feedback token for it; the record is on disk by then.

        `claim` is answered with it. Raises RecordStoreUnavailableError, ConversationErasedError or
        IdempotencyKeyInUseError: then there is no completion that could be rated.
        """
        with self._failures_counted("completion"):
            tells_handover = self._courier is not None
            recorded = self._records.submit_completion(completion, claim, tells_handover=tells_handover)
            await asyncio.wrap_future(recorded)
        if self._courier is not None and completion.finish_reason == "handover":
            self._courier.wake()
        self._telemetry.completions.labels(completion.finish_reason).inc()
        self._telemetry.tokens.labels("prompt").inc(completion.num_prompt_tokens)
        self._telemetry.tokens.labels("completion").inc(completion.num_completion_tokens)
        self._telemetry.completion_seconds.observe(completion.latency_ms / 1000)
        self._telemetry.alias_completions.labels(self._telemetry.alias_of(completion.model_digest)).inc()
        if completion.sentiment is not None:
            self._telemetry.customer_messages.labels(completion.sentiment).inc()
        self._telemetry.replies.labels(_label(completion, "plan"), _label(completion, "rule")).inc()
        if isinstance(found := completion.sampling.get("safety"), Mapping):
            self._telemetry.safety_findings.labels(found["rule"], found["outcome"], found["found_by"]).inc()
        return self.feedback_token(completion)

    def feedback_token(self, completion: CompletionRecord) -> str:
        """The right to rate a recorded completion, for the rater it was made for."""
        return self._signer.issue(completion.id, completion.rater, tenant=completion.tenant)

    def release(self, claim: Claim) -> Future[None]:
        """Gives a claim back soon. Where that fails the claim runs out by itself."""
        return self._threads.submit(self._records.release, claim)

    def close(self) -> None:
        """Returns when everything that was to be written is written or has failed."""
        self._threads.shutdown()

    def note_first_token(self, seconds: float) -> None:
        """Measures the time from a request to its first token."""
        self._telemetry.first_token_seconds.observe(seconds)

    async def record_feedback(self, feedback: Feedback) -> StoredFeedback:
        """Records, replaces or withdraws the thumb of the rater whom the token names.

        Raises FeedbackTokenError, CompletionNotFoundError or RecordStoreUnavailableError.
        """
        rater = await self._verify(feedback)
        with self._failures_counted("feedback"):
            stored = await self._in_thread(self._mask_and_record, feedback, rater)
        if not stored.is_replay:
            rating = stored.rating or "withdrawn"
            self._telemetry.feedback.labels(rating).inc()
            self._telemetry.plan_feedback.labels(stored.plan or "none", rating).inc()
            self._telemetry.alias_feedback.labels(self._telemetry.alias_of(stored.model_digest), rating).inc()
        return stored

    @contextmanager
    def _failures_counted(self, record: str) -> Iterator[None]:
        """Counts when the store cannot write: after a stream has begun, no status tells of it."""
        try:
            yield
        except RecordStoreUnavailableError:
            self._telemetry.record_failures.labels(record).inc()
            raise

    async def _in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Calls what blocks in a thread of the recorder's own: as many wait for one commit as there are threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _mask_and_record(self, feedback: Feedback, rater: str) -> StoredFeedback:
        correction, comment = self._masker.mask_remarks(
            feedback.correction, feedback.comment, feedback.kept_placeholders
        )
        return self._records.record_feedback(
            FeedbackRecord(
                completion_id=feedback.completion_id,
                rater=rater,
                rating=feedback.rating,
                reasons=feedback.reasons,
                comment=comment,
                correction=correction,
                tenant=feedback.tenant,
                origin=feedback.origin,
            ),
            feedback.key,
        )

    async def _verify(self, feedback: Feedback) -> str:
        """The rater. A tenant without such a completion hears so, whether another tenant has it or nobody."""
        try:
            return self._signer.verify(feedback.feedback_token, feedback.completion_id, tenant=feedback.tenant)
        except FeedbackTokenError:
            await asyncio.to_thread(self._records.get_completion, feedback.completion_id, tenant=feedback.tenant)
            raise


def _label(completion: CompletionRecord, key: str) -> str:
    """A reply's plan or rule as a metric shows it."""
    return str(completion.sampling.get(key) or "none")


def opaque_rater(user: str | None, secret: str, *, tenant: str = DEFAULT_TENANT) -> str:
    """The id under which a user's thumbs are kept: the same for a tenant's same user, and no way back to the name."""
    if not user:
        return ANONYMOUS_RATER
    name = user if tenant == DEFAULT_TENANT else f"{tenant}\n{user}"
    return "rater_" + hmac.new(secret.encode(), name.encode(), hashlib.sha256).hexdigest()[:_ID_HEX_DIGITS]


def derive_conversation_id(masked_messages: tuple[Message, ...], rater: str) -> str:
    """The id of a conversation that came without one: its turns share their rater and their first user message."""
    first = next(message.content for message in masked_messages if message.role is Role.USER)
    return DERIVED_ID_PREFIX + hashlib.sha256(f"{rater}\n{first}".encode()).hexdigest()[:_ID_HEX_DIGITS]
