"""The review desk: what a member of the staff may see and say, said in the audit before it is done.

A rating of the staff goes the way of every other: one row of one rater, who is the API key. It takes no token, for the
scope is the right; the correction may use the placeholders that the reviewer has read.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from model_store.backends.places import open_backend
from model_store.contract.feedback import STAFF_RATER_PREFIX, Rating
from model_store.contract.placeholders import FACT_PLACEHOLDERS, split_masked
from model_store.store import ModelStore
from service.chat.model_router import ModelRouter
from service.chat.recording import Feedback, Recorder
from service.chat.review.explanation import ReplyExplainer, ReplyExplanation
from service.chat.review.rating_book import RatingBook
from service.chat.review.reading import Reading, read
from service.records.errors import ConversationNotFoundError
from service.records.review.dossier import Choices
from service.records.review.reader import ReviewReader
from service.records.review.replies import FoundReply, QueuePlace, ReplyPlace
from service.records.review.reply_filter import ReplyFilter
from service.records.store import DEFAULT_TENANT, AuditEvent, CompletionRecord, RecordStore, StoredFeedback
from service.settings import Settings

MAX_EXPORTED = 2_000
"""Conversations in one export; a narrower filter gets the rest."""
MAX_REPLIES = 100
"""Of one conversation as it is shown."""
_EXPORT_PAGE = 50
_NOT_NOTED = ("tenant", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a member of the staff says about a reply now; nothing is masked yet. `actor` is the API key's id."""

    completion_id: str
    actor: str
    rating: Rating | None
    reasons: tuple[str, ...] = ()
    comment: str | None = None
    correction: str | None = None
    tenant: str = DEFAULT_TENANT

    @property
    def action(self) -> str:
        """What the audit calls it."""
        if self.rating is None:
            return "review.withdraw"
        return "review.rate" if self.correction is None else "review.correct"


class ReviewDesk:
    """Reads and rates on behalf of people. Lives on the event loop."""

    def __init__(self, reader: ReviewReader, records: RecordStore, recorder: Recorder, ratings: RatingBook) -> None:
        self.ratings = ratings
        """Which of them count."""
        self._reader = reader
        self._records = records
        self._recorder = recorder
        self._explainer = ReplyExplainer(reader, records)

    async def newest(self, wanted: ReplyFilter, *, limit: int, before: ReplyPlace | None) -> tuple[FoundReply, ...]:
        """Conversations by their newest reply that is wanted."""
        return await asyncio.to_thread(self._reader.newest, wanted, limit=limit, before=before)

    async def worth_a_look(
        self, wanted: ReplyFilter, *, limit: int, after: QueuePlace | None
    ) -> tuple[FoundReply, ...]:
        """Replies that nobody of the staff has rated: disliked ones first, then those that the model was unsure of."""
        return await asyncio.to_thread(self._reader.worth_a_look, wanted, limit=limit, after=after)

    async def show(self, tenant: str, conversation_id: str, *, up_to: str | None = None) -> Reading:
        """A conversation, where it is long up to one of its replies. Raises ConversationNotFoundError."""
        return await asyncio.to_thread(self._read, tenant, conversation_id, up_to)

    async def choices(self, tenant: str) -> Choices:
        """What a filter can be about."""
        return await asyncio.to_thread(self._reader.choices, tenant)

    async def explain(self, tenant: str, completion_id: str, router: ModelRouter) -> ReplyExplanation:
        """Why a reply is as it is. Raises CompletionNotFoundError, also for another tenant's completion."""
        return await self._explainer.explain(tenant, completion_id, router)

    async def judge(self, judgement: Judgement) -> StoredFeedback:
        """Records, replaces or withdraws the rating of one API key.

        Raises CompletionNotFoundError, also for another tenant's completion, or RecordStoreUnavailableError.
        """
        completion = await asyncio.to_thread(
            self._records.get_completion, judgement.completion_id, tenant=judgement.tenant
        )
        details = {"rating": judgement.rating, "reasons": list(judgement.reasons)}
        await self._note(judgement.tenant, judgement.actor, judgement.action, completion.id, details)
        rater = staff_rater(judgement.actor)
        return await self._recorder.record_feedback(
            Feedback(
                completion_id=completion.id,
                feedback_token=self._recorder.feedback_token(replace(completion, rater=rater)),
                rating=judgement.rating,
                reasons=judgement.reasons,
                comment=judgement.comment,
                correction=judgement.correction,
                tenant=judgement.tenant,
                kept_placeholders=_read_in(completion),
                origin=judgement.actor,
            )
        )

    async def tag(self, tenant: str, actor: str, conversation_id: str, tag: str, *, is_on: bool) -> tuple[str, ...]:
        """Puts a tag on a conversation or takes it off; gives its tags then.

        The audit names the conversation by a digest, as an erasure does. Raises ConversationNotFoundError and
        TooManyTagsError.
        """
        # Read first: what is not there has had nothing done to it.
        await asyncio.to_thread(self._records.get_conversation, conversation_id, max_turns=1, tenant=tenant)
        subject = hashlib.sha256(conversation_id.encode()).hexdigest()
        await self._note(tenant, actor, "review.tag" if is_on else "review.untag", subject, {"tag": tag})
        return await asyncio.to_thread(self._records.tag_conversation, conversation_id, tag, is_on=is_on, tenant=tenant)

    async def begin_export(self, wanted: ReplyFilter, actor: str) -> AsyncIterator[Reading]:
        """Notes in the audit who takes the conversations away, and gives them one by one: `MAX_EXPORTED` at most.

        Raises RecordStoreUnavailableError, at once or later.
        """
        # What was searched for stays out: it may be what somebody is called.
        asked = {name: value for name, value in asdict(wanted).items() if value is not None and name not in _NOT_NOTED}
        details = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asked.items()}
        details["has_text"] = wanted.text is not None
        await self._note(wanted.tenant, actor, "review.export", "conversations", details)
        return self._export(wanted)

    async def _export(self, wanted: ReplyFilter) -> AsyncIterator[Reading]:
        before: ReplyPlace | None = None
        for _ in range(MAX_EXPORTED // _EXPORT_PAGE):
            page = await self.newest(wanted, limit=_EXPORT_PAGE, before=before)
            for found in page:
                with suppress(ConversationNotFoundError):  # it was erased meanwhile
                    yield await self.show(wanted.tenant, found.conversation_id, up_to=found.completion_id)
            if len(page) < _EXPORT_PAGE:
                return
            before = page[-1].place

    def _read(self, tenant: str, conversation_id: str, up_to: str | None) -> Reading:
        return read(self._reader.dossier(tenant, conversation_id, up_to=up_to, max_replies=MAX_REPLIES))

    async def _note(self, tenant: str, actor: str, action: str, subject: str, details: Mapping[str, Any]) -> None:
        event = AuditEvent.now(tenant, actor, action, subject, details)
        await asyncio.to_thread(self._records.record_audit, event)


def staff_rater(key_id: str) -> str:
    """The rater that an API key's ratings are from."""
    return f"{STAFF_RATER_PREFIX}{key_id}"


@asynccontextmanager
async def open_review(settings: Settings, records: RecordStore, recorder: Recorder) -> AsyncIterator[ReviewDesk]:
    """Until the block ends; the records' tables must be there."""
    reader = await asyncio.to_thread(ReviewReader.open, settings.records_url)
    shelf = ModelStore(open_backend(settings.model_store_location, settings.model_cache_path))
    try:
        yield ReviewDesk(reader, records, recorder, RatingBook(reader, records, shelf))
    finally:
        await asyncio.to_thread(reader.close)


def _read_in(completion: CompletionRecord) -> frozenset[str]:
    """What a reviewer may write: the shop's facts, and what stands in the conversation."""
    said = (*(message.content for message in completion.prompt_messages), completion.completion_text)
    parts = (part for text in said for part in split_masked(text))
    return frozenset((*FACT_PLACEHOLDERS, *(part.text for part in parts if part.is_placeholder)))
