"""One request and its reply: from the engine's deltas to what the person reads and what is recorded.

A reply is all of one model version. Its last event comes after the record is on disk. HTTP does not exist here; who
starts replies, and with which prompt: `chatbot`.
"""

import asyncio
import math
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from model_store.contract.conversation import Message
from model_store.contract.placeholders import ARTICLE
from model_store.contract.safety.reply_check import ReplyCheck, joint_before
from model_store.contract.safety.rules import Finding, SafetyRules
from model_store.contract.unmasking import Resolver, unmask
from model_store.intents.sentiment import Sentiment
from model_store.knowledge.search import Passage
from model_store.sampling import rival_plans
from service.chat.decoding import CompletionDecoder, TokenLogprob
from service.chat.engine_worker import DeltaInbox
from service.chat.model_router import LoadedModel
from service.chat.plan_rules import FixedReply, PlanChoice, PlanRules
from service.chat.recording import CompletionSink
from service.chat.reply_events import FINISH_FIELDS, ReplyDelta, ReplyFinish, ReplyHead
from service.engine.types import CompletionRequest, Delta, SamplingParams
from service.errors import OverloadedError, ServiceError
from service.records.store import DEFAULT_TENANT, Claim, CompletionRecord, FinishReason

MAX_SEED = 2**63 - 1
_ID_BYTES = 12
_MAX_WITHHELD_CHARS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What a client asks for; texts are not masked yet. None: the service's default, or nothing."""

    model: str
    messages: tuple[Message, ...]
    temperature: float
    top_p: float
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int | None = None
    max_tokens: int | None = None
    num_choices: int = 1
    stop: tuple[str, ...] = ()
    num_top_logprobs: int | None = None
    conversation_id: str | None = None
    user: str | None = None
    tenant: str = DEFAULT_TENANT
    is_continued: bool = False
    """Whether `messages` are only what is new in the conversation, and the service has the rest."""
    history: tuple[Message, ...] = ()
    """The rest, masked."""
    is_masked: bool = False
    """Whether `messages` come from the records, and hold placeholders that stand for themselves."""
    claim: Claim | None = None
    """The idempotency key that the completion will be the answer to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyContext:
    """What a reply rests on: one model version, a masked prompt, and whom it is for."""

    model: LoadedModel
    conversation: tuple[Message, ...]
    """All that was said, masked; the prompt may hold only the end of it."""
    prompt_messages: tuple[Message, ...]
    prompt_ids: tuple[int, ...]
    language: str
    resolve: Resolver
    conversation_id: str
    rater: str
    tenant: str
    max_wait_seconds: float
    completion_ids: tuple[str, ...]
    started_at: float
    claim: Claim | None = None
    article: Passage | None = None
    """The passage that the prompt offers and `resolve` knows."""
    sentiment: Sentiment | None = None
    """Of the message that is answered."""
    safety: SafetyRules = field(default_factory=lambda: SafetyRules(()))
    """What the reply must not say."""
    softened: Finding | None = None
    """Why the reply's plan was settled by a safety rule, if it was."""
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def head(self) -> ReplyHead:
        """The part that a client may know."""
        return ReplyHead(
            completion_ids=self.completion_ids,
            conversation_id=self.conversation_id,
            created_at=self.created_at,
            model_name=self.model.name,
            model_digest=self.model.digest,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one choice ended, as it is recorded."""

    choice_index: int
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    num_tokens: int
    finish_reason: FinishReason
    sampling: dict[str, Any]


class Reply(ABC):
    """What every kind of reply has; `events` is read once."""

    def __init__(self, head: ReplyHead, num_prompt_tokens: int) -> None:
        """`num_prompt_tokens`: what the model reads, counted once for all choices."""
        self.head = head
        self.num_prompt_tokens = num_prompt_tokens
        self.num_completion_tokens = 0
        self.is_open = True

    @property
    def is_replay(self) -> bool:
        """Whether this was said before, to a request that is now sent again."""
        return False

    @abstractmethod
    def events(self) -> AsyncIterator[ReplyDelta | ReplyFinish]:
        """Deltas of all choices as they are made, and one finish a choice.

        Raises ServiceError when a completion cannot be finished, RecordsError when it cannot be recorded.
        """

    def cancel(self) -> None:
        """Stops what is still being made and frees its places. Does nothing for a reply that has ended."""
        self.is_open = False

    def abort(self, error: ServiceError) -> None:  # noqa: B027 - what is over at once has nothing to end
        """Ends the reply with an error at its next event."""


class NewReply(Reply):
    """A reply that is being made and will be recorded."""

    def __init__(self, context: ReplyContext, recorder: CompletionSink) -> None:
        super().__init__(context.head, len(context.prompt_ids))
        self.context = context
        self._recorder = recorder
        self._is_recorded = False

    def cancel(self) -> None:
        """See `Reply.cancel`. Who sends the request again is then answered anew."""
        if self.is_open and self.context.claim is not None and not self._is_recorded:
            self._recorder.release(self.context.claim)
        super().cancel()

    async def _finish(self, outcome: Outcome) -> ReplyFinish:
        context = self.context
        seconds = time.monotonic() - context.started_at
        record = CompletionRecord(
            id=context.completion_ids[outcome.choice_index],
            conversation_id=context.conversation_id,
            created_at=context.created_at,
            model_digest=context.model.digest,
            language=context.language,
            prompt_messages=context.prompt_messages,
            completion_text=outcome.text,
            completion_token_ids=outcome.token_ids,
            token_logprobs=outcome.logprobs,
            sampling=outcome.sampling,
            finish_reason=outcome.finish_reason,
            latency_ms=seconds * 1000,
            num_prompt_tokens=self.num_prompt_tokens,
            num_completion_tokens=outcome.num_tokens,
            rater=context.rater,
            tenant=context.tenant,
            sentiment=context.sentiment if outcome.choice_index == 0 else None,
        )
        token = await self._recorder.record_completion(record, context.claim)
        self._is_recorded = True
        self.num_completion_tokens += outcome.num_tokens
        about = {key: outcome.sampling.get(key) for key in FINISH_FIELDS}
        return ReplyFinish(outcome.choice_index, record.id, outcome.finish_reason, token, **about)


class ModelReply(NewReply):
    """Completions of one prompt, one for each choice, made by the engine."""

    def __init__(
        self,
        context: ReplyContext,
        recorder: CompletionSink,
        request: ChatRequest,
        params: SamplingParams,
        plan_rules: PlanRules,
    ) -> None:
        """Takes over one reserved place of the model's worker for each choice. `params.seed` is choice 0's."""
        super().__init__(context, recorder)
        self._plan_rules = plan_rules
        self._plans: dict[int, PlanChoice] = {}
        self._has_logprobs = request.num_top_logprobs is not None
        self._params = [replace(params, seed=(params.seed + index) & MAX_SEED) for index in range(request.num_choices)]
        self._checks = [ReplyCheck(context.safety, context.model.authored.sentences) for _ in context.completion_ids]
        self._decoders = [
            CompletionDecoder(context.model.tokenizer, context.resolve, request.stop, check) for check in self._checks
        ]
        self._held_logprobs: list[list[TokenLogprob]] = [[] for _ in context.completion_ids]
        # A stop string is looked for at once: every token behind it is made for nothing.
        self._inbox = DeltaInbox(0.0) if request.stop else DeltaInbox()
        for index, (completion_id, choice_params) in enumerate(zip(context.completion_ids, self._params, strict=True)):
            context.model.worker.submit(
                CompletionRequest(completion_id, context.prompt_ids, choice_params), partial(self._inbox.put, index)
            )

    async def events(self) -> AsyncIterator[ReplyDelta | ReplyFinish]:
        """See `Reply.events`."""
        open_choices = set(range(len(self._decoders)))
        is_first_text = True
        try:
            deltas = await self._first_deltas()
            while True:
                for index in open_choices & deltas.keys():
                    piece, outcome = self._advance(index, deltas[index])
                    if piece.text or piece.logprobs:
                        if is_first_text:
                            self._recorder.note_first_token(time.monotonic() - self.context.started_at)
                            is_first_text = False
                        self._inbox.rest()
                        yield piece
                    if outcome is not None:
                        open_choices.remove(index)
                        yield await self._finish(outcome)
                if not open_choices:
                    return
                deltas = await self._inbox.take()
        finally:
            self.cancel()

    def _advance(self, index: int, deltas: Sequence[Delta]) -> tuple[ReplyDelta, Outcome | None]:
        """What deltas show, and how the choice ends if it does."""
        decoder, worker = self._decoders[index], self.context.model.worker
        fixed = None if decoder.token_ids else self._choose_plan(index, deltas[0])
        if fixed is not None:
            worker.cancel(deltas[0].request_id)
            return ReplyDelta(index, unmask(fixed.text, self.context.resolve)), self._fixed_outcome(index, fixed)
        text = ""
        outcome: Outcome | None = None
        for delta in deltas:
            text += decoder.feed(delta)
            if self._has_logprobs and (logprob := decoder.logprob(delta)):
                self._held_logprobs[index].append(logprob)
            if not decoder.has_stopped and (finding := self._checks[index].finding) is not None:
                worker.cancel(delta.request_id)
                return self._break_off(index, finding, text)
            if decoder.has_stopped or delta.finish_reason is not None:
                worker.cancel(delta.request_id)
                outcome = self._outcome(index, delta)
                break
        return ReplyDelta(index, text, self._shown_logprobs(index, is_last=outcome is not None)), outcome

    def _shown_logprobs(self, index: int, *, is_last: bool) -> tuple[TokenLogprob, ...]:
        """Tokens spell the text, so they wait as long as it does."""
        if self._checks[index].is_holding and not is_last:
            return ()
        shown, self._held_logprobs[index] = tuple(self._held_logprobs[index]), []
        return shown

    def _break_off(self, index: int, finding: Finding, text: str) -> tuple[ReplyDelta, Outcome]:
        """The rule's words in place of a sentence that must not be said, behind the `text` before it."""
        check, context = self._checks[index], self.context
        fixed = finding.rule.replies[context.language]
        said = self._decoders[index].masked_text
        joint = joint_before(said, context.language, is_inside_sentence=check.is_inside_sentence)
        piece = ReplyDelta(index, text + joint + unmask(fixed, context.resolve))
        about: dict[str, object] = {"rule": finding.rule.name, "withheld": check.withheld[:_MAX_WITHHELD_CHARS]}
        return piece, self._said_outcome(index, said + joint + fixed, finding.finish_reason, about, finding)

    def _choose_plan(self, index: int, first: Delta) -> FixedReply | None:
        """Notes what the model sets out to do, and asks the operator's rules whether it may."""
        tokenizer, context = self.context.model.tokenizer, self.context
        plan = tokenizer.plan_of((first.token_id,))
        if plan is None:
            return None
        choice = PlanChoice(
            plan,
            rival_plans((tokenizer.plan_of((token_id,)), math.exp(value)) for token_id, value in first.top_logprobs),
            is_pinned=len(self._params[index].opening_token_ids) == 1,
            heard_by=opinion.source if (opinion := self._params[index].opening_opinion) else None,
        )
        self._plans[index] = choice
        known = context.model.authored.replies
        return self._plan_rules.fixed_reply(choice, context.conversation, context.language, context.article, known)

    def _fixed_outcome(self, index: int, fixed: FixedReply) -> Outcome:
        about: dict[str, object] = {"rule": fixed.rule, "quick_replies": list(fixed.quick_replies)}
        return self._said_outcome(index, fixed.text, fixed.finish_reason, about, self.context.softened)

    def _said_outcome(
        self, index: int, text: str, finish_reason: FinishReason, about: dict[str, object], finding: Finding | None
    ) -> Outcome:
        """The end of a choice that is not, or not only, in the model's words."""
        choice = self._plans.get(index)
        return Outcome(
            choice_index=index,
            text=text,
            token_ids=(),
            logprobs=(),
            num_tokens=len(self.context.model.tokenizer.encode(text)),
            finish_reason=finish_reason,
            sampling={
                **about,
                **(choice.recorded if choice else {}),
                **(finding.recorded if finding else {}),
                **self._about_article(text),
            },
        )

    def _about_article(self, masked_text: str) -> dict[str, object]:
        """Which passage was offered, for those who review the completion, and whether it was quoted."""
        article = self.context.article
        return {"article": {"id": article.id, "is_quoted": ARTICLE in masked_text}} if article else {}

    def cancel(self) -> None:
        """See `Reply.cancel`."""
        super().cancel()
        for completion_id in self.context.completion_ids:
            self.context.model.worker.cancel(completion_id)

    def abort(self, error: ServiceError) -> None:
        """See `Reply.abort`."""
        self.cancel()
        self._inbox.put(0, error)

    async def _first_deltas(self) -> dict[int, list[Delta]]:
        try:
            async with asyncio.timeout(self.context.max_wait_seconds):
                return await self._inbox.take()
        except TimeoutError as error:
            raise OverloadedError(capacity=self.context.model.worker.capacity) from error

    def _outcome(self, index: int, last: Delta) -> Outcome:
        decoder, params, choice = self._decoders[index], self._params[index], self._plans.get(index)
        is_cut = last.finish_reason == "length" and not decoder.has_stopped
        return Outcome(
            choice_index=index,
            text=decoder.masked_text,
            token_ids=tuple(decoder.token_ids),
            logprobs=tuple(decoder.sampling_logprobs),
            num_tokens=len(decoder.token_ids),
            finish_reason=self._plan_rules.finish_reason(choice, is_cut=is_cut),
            sampling={
                **(choice.recorded if choice else {"plan": None, "plan_confidence": None}),
                "temperature": params.temperature,
                "top_p": params.top_p,
                "top_k": params.top_k,
                "repetition_penalty": params.repetition_penalty,
                "seed": params.seed,
                "max_tokens": params.max_tokens,
                **(self.context.softened.recorded if self.context.softened else {}),
                **self._about_article(decoder.masked_text),
            },
        )


def new_completion_ids(num_choices: int) -> tuple[str, ...]:
    """Ids that nobody can guess, in OpenAI's form."""
    return tuple(f"chatcmpl-{secrets.token_hex(_ID_BYTES)}" for _ in range(num_choices))
