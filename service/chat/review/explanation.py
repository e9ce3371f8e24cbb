"""Why a recorded reply is as it is, for the staff: which words decided its plan, and which rated replies are like it.

Without torch: the reward by term and the words that move the score need the reward model, which only training has
(`python -m training explain`).
"""

import asyncio
from dataclasses import dataclass

from model_store.contract.conversation import Message, Role
from model_store.knowledge.rated_replies import RatedReply, RatedReplySearch
from service.chat.model_router import ModelRouter
from service.chat.review.occlusion import Occlusion, occlude
from service.errors import ModelNotFoundError, ServiceError
from service.records.review.reader import ReviewReader
from service.records.store import CompletionRecord, RecordStore

NUM_NEAREST = 5

NOT_LOADED = "version_not_loaded"
NO_PLAN = "no_plan"
BUSY = "busy"


@dataclass(frozen=True, slots=True)
class ReplyExplanation:
    """`occlusion` is None for the reason in `why_no_occlusion`."""

    completion_id: str
    plan: str | None
    occlusion: Occlusion | None
    why_no_occlusion: str | None
    nearest: tuple[RatedReply, ...]


class ReplyExplainer:
    """Explains recorded replies. Lives on the event loop."""

    def __init__(self, reader: ReviewReader, records: RecordStore) -> None:
        self._reader = reader
        self._records = records
        self._turn = asyncio.Lock()
        """One at a time: each reads up to `MAX_PIECES` + 1 prompts beside the customers'."""

    async def explain(self, tenant: str, completion_id: str, router: ModelRouter) -> ReplyExplanation:
        """Raises CompletionNotFoundError, also for another tenant's, or RecordStoreUnavailableError."""
        completion = await asyncio.to_thread(self._records.get_completion, completion_id, tenant=tenant)
        nearest = await asyncio.to_thread(self._nearest, completion)
        noted = completion.sampling.get("plan")
        plan = noted if isinstance(noted, str) else None
        occlusion, why_none = await self._occlusion(completion, plan, router)
        return ReplyExplanation(completion_id, plan, occlusion, why_none, nearest)

    async def _occlusion(
        self, completion: CompletionRecord, plan: str | None, router: ModelRouter
    ) -> tuple[Occlusion | None, str | None]:
        """The deciding words, or why there are none."""
        if plan is None:
            return None, NO_PLAN
        if self._turn.locked():
            return None, BUSY
        try:
            model = router.get(completion.model_digest)
            async with self._turn:
                found = await occlude(model, completion.prompt_messages, plan)
        except ModelNotFoundError:
            return None, NOT_LOADED
        except ServiceError:  # the customers come first
            return None, BUSY
        return found, NO_PLAN if found is None else None

    def _nearest(self, completion: CompletionRecord) -> tuple[RatedReply, ...]:
        rated = self._reader.rated(completion.tenant, completion.language)
        asked = _last_said(completion.prompt_messages)
        found = RatedReplySearch(rated).nearest(
            asked, completion.completion_text, completion.language, limit=NUM_NEAREST, but_for=completion.id
        )
        return tuple(found)


def _last_said(messages: tuple[Message, ...]) -> str:
    return next((message.content for message in reversed(messages) if message.role is Role.USER), "")
