"""The pair desk: which of two versions' replies to a recorded prompt somebody of the staff prefers, without knowing
which is whose.

Both replies are drawn anew with the same random numbers, as for a customer, and the sides by lot. Choices are noted in
the audit before they are made. A pair stays the same until it is chosen from, so that nobody can shop for a better one.
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from model_store.contract.conversation import Message, Role
from model_store.contract.feedback import Choice
from model_store.knowledge.offer import has_article
from model_store.sampling import DEFAULT_TEMPERATURE
from service.chat.chatbot import Chatbot
from service.chat.comparison.drawing import Draw, DrawnReply, draw_reply
from service.chat.comparison.version_lender import VersionLender
from service.chat.review.review_desk import staff_rater
from service.errors import ComparisonTimeoutError, InvalidValueError, RequestError
from service.records.pairs.pair import PairCounts, PairedReply, PairPrompt, PreferencePair
from service.records.pairs.pair_store import PairReader, PairStore
from service.records.store import AuditEvent, RecordStore

MAX_EXPORTED = 20_000
"""Pairs in one export."""
_MAX_PROMPTS = 200
"""Of the newest prompts so many are drawn from."""
_MAX_TRIES = 6
"""Prompts that are answered for one request; those with the same reply from both tell nothing."""
_MAX_SAME = 10_000
_TIMEOUT_SECONDS = 60.0
_EXPORT_PAGE = 200
_ID_BYTES = 12
_LOT = secrets.SystemRandom()


class PairDesk:
    """Offers pairs and takes choices. Lives on the event loop."""

    def __init__(
        self, chatbot: Chatbot, lender: VersionLender, reader: PairReader, pairs: PairStore, records: RecordStore
    ) -> None:
        self._chatbot = chatbot
        self._lender = lender
        self._reader = reader
        self._pairs = pairs
        self._records = records
        self._same: set[tuple[str, frozenset[str]]] = set()
        """Prompts to which these versions say the same, as far as this process has seen."""

    async def next(self, tenant: str, actor: str, digests: tuple[str, str]) -> tuple[PreferencePair, PairPrompt] | None:
        """What the key's owner shall choose from now; None where the prompts that were tried tell no difference.

        Raises InvalidValueError for twice the same version, ComparisonTimeoutError, and what `VersionLender.lend`
        raises.
        """
        if digests[0] == digests[1]:
            raise InvalidValueError(param="second", problem="Name two different versions.")
        rater = staff_rater(actor)
        pair = await asyncio.to_thread(self._reader.find_open, tenant, rater, digests)
        if pair is not None:
            return pair, await asyncio.to_thread(self._reader.prompt_of, tenant, pair.completion_id)
        prompts = await asyncio.to_thread(self._reader.prompts, tenant, rater, digests, limit=_MAX_PROMPTS)
        prompts = [prompt for prompt in prompts if self._may_differ(prompt, digests)]
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                drawn = await self._draw_different(_LOT.sample(prompts, len(prompts)), digests)
        except TimeoutError as error:
            raise ComparisonTimeoutError(timeout_seconds=_TIMEOUT_SECONDS) from error
        if drawn is None:
            return None
        prompt, replies = drawn
        _LOT.shuffle(replies)
        pair = PreferencePair(
            id=f"pair_{secrets.token_hex(_ID_BYTES)}",
            tenant=tenant,
            completion_id=prompt.completion_id,
            rater=rater,
            first=_side(replies[0]),
            second=_side(replies[1]),
            offered_at=datetime.now(UTC),
        )
        await asyncio.to_thread(self._pairs.offer, pair)
        return pair, prompt

    async def choose(self, tenant: str, actor: str, pair_id: str, choice: Choice) -> PreferencePair:
        """Keeps a choice; the pair then says whose reply is whose. Raises PairNotFoundError and PairChosenError."""
        # Read first: what is not there has had nothing done to it.
        await asyncio.to_thread(self._reader.check_offered, tenant, staff_rater(actor), pair_id)
        event = AuditEvent.now(tenant, actor, "review.prefer", pair_id, {"choice": choice})
        await asyncio.to_thread(self._records.record_audit, event)
        return await asyncio.to_thread(self._pairs.choose, tenant, staff_rater(actor), pair_id, choice)

    async def counts(self, tenant: str, digests: tuple[str, str]) -> PairCounts:
        """How often each of two versions was preferred."""
        return await asyncio.to_thread(self._reader.count, tenant, digests)

    async def begin_export(self, tenant: str, actor: str) -> AsyncIterator[tuple[PreferencePair, PairPrompt]]:
        """Notes in the audit who takes the pairs away, and gives them one by one: `MAX_EXPORTED` at most."""
        event = AuditEvent.now(tenant, actor, "review.export_pairs", "preference_pairs", {})
        await asyncio.to_thread(self._records.record_audit, event)
        return self._export(tenant)

    async def _export(self, tenant: str) -> AsyncIterator[tuple[PreferencePair, PairPrompt]]:
        after = None
        for _ in range(MAX_EXPORTED // _EXPORT_PAGE):
            page = await asyncio.to_thread(self._reader.chosen, tenant, after=after, limit=_EXPORT_PAGE)
            for found in page:
                yield found
            if len(page) < _EXPORT_PAGE:
                return
            last = page[-1][0]
            after = (last.chosen_at or last.offered_at, last.id)

    def _may_differ(self, prompt: PairPrompt, digests: tuple[str, str]) -> bool:
        is_asked = bool(prompt.messages) and prompt.messages[-1].role is Role.USER
        return is_asked and (prompt.completion_id, frozenset(digests)) not in self._same

    async def _draw_different(
        self, prompts: list[PairPrompt], digests: tuple[str, str]
    ) -> tuple[PairPrompt, list[DrawnReply]] | None:
        if not prompts:
            return None
        async with self._lender.lend(*digests) as models:
            for prompt in prompts[:_MAX_TRIES]:
                wanted = Draw(
                    messages=_without_article(prompt.messages),
                    temperature=DEFAULT_TEMPERATURE,
                    seed=_seed(prompt),
                    is_masked=True,
                )
                try:
                    replies = [await draw_reply(self._chatbot, model, wanted) for model in models]
                except RequestError:  # it does not fit into one of the models
                    continue
                if replies[0].record.completion_text != replies[1].record.completion_text:
                    return prompt, replies
                if len(self._same) < _MAX_SAME:
                    self._same.add((prompt.completion_id, frozenset(digests)))
        return None


def _side(reply: DrawnReply) -> PairedReply:
    record = reply.record
    return PairedReply(record.model_digest, record.completion_text, record.completion_token_ids)


def _without_article(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The conversation alone: an article that fits is looked for anew."""
    return (*messages[:-2], messages[-1]) if has_article(messages) else messages


def _seed(prompt: PairPrompt) -> int:
    """The same for every rater: two who judge the same prompt judge the same replies."""
    return int.from_bytes(hashlib.sha256(prompt.completion_id.encode()).digest()[:7], "big")
