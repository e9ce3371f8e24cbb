"""The chatbot: from a request to a reply that is being made. Start reading at `Chatbot.start`.

The order matters: places are reserved before any work is done, safety rules run before the model, and text is masked
before the model or the store sees it.
"""

import asyncio
import random
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from model_store.contract.chat_template import render
from model_store.contract.control_tokens import ARTICLE_ID
from model_store.contract.conversation import Message, Role, check_prompt
from model_store.contract.placeholders import ARTICLE
from model_store.contract.safety.rules import Finding, SafetyRules
from model_store.contract.tokenizer import Tokenizer
from model_store.contract.unmasking import unmask
from model_store.errors import InvalidConversationError
from model_store.intents.intent_model import IntentModel
from model_store.intents.listener import DEFAULT_WEIGHT, Hearing, Listener
from model_store.intents.sentiment import Sentiment
from model_store.knowledge.offer import HELP_PLAN, offer_article, plans_for
from model_store.knowledge.search import Embedding, Passage
from model_store.sampling import OPENING_MIN_P, Opinion, banned_in_reply
from service.chat.context_window import Prompt, fit_prompt
from service.chat.conversations.replay import ReplayedReply
from service.chat.knowledge.help_articles import HelpArticles, quoting
from service.chat.masking import ConversationMasker, MaskedConversation
from service.chat.model_router import MODEL_ALIAS, LoadedModel, ModelRouter
from service.chat.plan_rules import NUM_RIVAL_PLANS, PlanRules
from service.chat.recording import CompletionSink, Recorder, derive_conversation_id, opaque_rater
from service.chat.reply import (
    MAX_SEED,
    ChatRequest,
    ModelReply,
    Reply,
    ReplyContext,
    new_completion_ids,
)
from service.chat.safety.rule_reply import RuleReply
from service.engine.types import SamplingParams
from service.errors import ContextLengthExceededError, DrainingError, OverloadedError, ServiceError
from service.records.store import CompletionRecord

_DRAIN_CHECK_SECONDS = 0.05
_ABORT_SECONDS = 2.0
_MAX_SHORT_CHARS = 500
"""Of a whole conversation: masking and tokenising as many takes well under a millisecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatLimits:
    """What one request may cost, and the secret under which raters are kept."""

    max_completion_tokens: int
    max_wait_seconds: float
    rater_secret: str


@dataclass(frozen=True, slots=True)
class Guidance:
    """What the shop lays down: what is said without the model, what the model may set out to do, what it may quote."""

    safety: SafetyRules
    plans: PlanRules
    articles: HelpArticles
    intents: IntentModel | None = None
    """What hears messages beside the network; None: the network alone."""
    intent_weight: float = DEFAULT_WEIGHT

    def hear(self, prompt: Prompt, model: LoadedModel, *, is_searched: bool = True) -> Hearing:
        """What the intent model makes of the last message: what the reply should open with, and what it is about."""
        if self.intents is None:
            return Hearing()
        listener = Listener(self.intents, model.tokenizer, self.intent_weight)
        return listener.hear(prompt.token_ids, is_searched=is_searched and self.articles.is_by_meaning)


@dataclass(frozen=True, slots=True)
class _Question:
    """A masked conversation, the part of it that the model sees, and the article offered in there, if one is."""

    conversation: MaskedConversation
    prompt: Prompt
    article: Passage | None = None
    opinion: Opinion | None = None
    sentiment: Sentiment | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """Of each intent; see `Hearing`."""

    def banned_token_ids(self, tokenizer: Tokenizer) -> frozenset[int]:
        """What a completion must not hold; an article only where it is offered."""
        conversation = self.conversation
        banned = banned_in_reply(conversation.messages, conversation.vault.placeholders, tokenizer)
        return banned - {ARTICLE_ID} if self.article else banned


class Chatbot:
    """Answers conversations. Lives on the event loop; what takes long happens in threads."""

    def __init__(
        self,
        router: ModelRouter,
        masker: ConversationMasker,
        guidance: Guidance,
        recorder: Recorder,
        limits: ChatLimits,
    ) -> None:
        self._router = router
        self._masker = masker
        self._guidance = guidance
        self._recorder = recorder
        self._limits = limits
        self._replies: weakref.WeakSet[Reply] = weakref.WeakSet()
        self.is_draining = False

    async def start(self, request: ChatRequest) -> Reply:
        """Starts a reply; the caller reads its events to the end or cancels it.

        Raises:
            InvalidConversationError: the messages cannot be answered.
            RequestError: unknown model, or a last message that does not fit into the model's context.
            UnavailableError: no place, no model, or the service is shutting down.
        """
        started_at = time.monotonic()
        if self.is_draining:
            raise DrainingError()
        check_prompt(request.messages)
        model = self._router.get(request.model, _conversation_key(request))
        return await self._start(request, model, self._recorder, started_at)

    @property
    def is_full(self) -> bool:
        """Whether no version that answers has a place."""
        models = self._router.models
        return bool(models) and all(model.worker.is_full for model in models)

    def overload(self, request: ChatRequest) -> OverloadedError | None:
        """The want of places for which `start` would not take this request of a client's own messages.

        None where there are places, where a safety pattern finds something, and where `start` has something else to
        say. Takes nothing and changes nothing.
        """
        if self.is_draining:
            return None
        try:
            check_prompt(request.messages)
            model = self._router.get(request.model, _conversation_key(request))
        except (InvalidConversationError, ServiceError):
            return None
        overload = model.worker.overload(request.num_choices)
        if overload is None or self._guidance.safety.match(request.messages[-1].content) is not None:
            return None
        return overload

    async def draw(self, request: ChatRequest, model: LoadedModel, sink: CompletionSink) -> Reply:
        """Starts a reply of this very version that is handed to `sink` and not recorded: nobody has asked for it.

        It is made as for people: the same rules, the same places. Raises what `start` raises.
        """
        if self.is_draining:
            raise DrainingError()
        check_prompt(request.messages)
        return await self._start(request, model, sink, time.monotonic())

    async def _start(self, request: ChatRequest, model: LoadedModel, sink: CompletionSink, started_at: float) -> Reply:
        found = self._guidance.safety.match(request.messages[-1].content)
        if found is not None and found.says_fixed_text(self._guidance.plans.allowed(model.tokenizer.plans)):
            question = await asyncio.to_thread(self._prepare_for_rule, request, model)
            reply: Reply = RuleReply(self._context(request, model, question, started_at), sink, found)
        else:
            reply = await self._start_model(request, model, sink, found, started_at)
        self._replies.add(reply)
        return reply

    async def replay(self, request: ChatRequest, completion: CompletionRecord) -> Reply:
        """What a recorded completion said to this request. `request` has the values that the record has not."""
        text = await asyncio.to_thread(self._recall, request, completion)
        names = {model.digest: model.name for model in self._router.models}
        name = names.get(completion.model_digest, MODEL_ALIAS)
        return ReplayedReply(completion, name, text, self._recorder.feedback_token(completion))

    async def drain(self, grace_seconds: float) -> None:
        """Takes no new work and returns when all replies have ended; after `grace_seconds` they end with an error."""
        self.is_draining = True
        if not await self._wait_for_replies(grace_seconds):
            for reply in list(self._replies):
                if reply.is_open:
                    reply.abort(DrainingError())
            await self._wait_for_replies(_ABORT_SECONDS)

    async def _wait_for_replies(self, timeout_seconds: float) -> bool:
        deadline = time.monotonic() + timeout_seconds
        while any(reply.is_open for reply in self._replies):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_DRAIN_CHECK_SECONDS)
        return True

    async def _start_model(
        self, request: ChatRequest, model: LoadedModel, sink: CompletionSink, found: Finding | None, started_at: float
    ) -> Reply:
        """`found`: what a pattern found that the model may answer; else the safety head is asked."""
        max_tokens = min(
            request.max_tokens or MAX_SEED, self._limits.max_completion_tokens, model.worker.max_context // 2
        )
        model.worker.reserve(request.num_choices)
        try:
            if self._guidance.intents is None and _is_short(request):  # a thread would take longer to begin
                question = self._prepare(request, model, max_tokens)
            else:
                question = await asyncio.to_thread(self._prepare, request, model, max_tokens)
        except BaseException:  # raised again: who leaves (a cancellation) must not keep the places taken
            model.worker.release(request.num_choices)
            raise
        rules = self._guidance.plans
        plans = plans_for(model.tokenizer.plans, has_offer=question.article is not None)
        pinned = rules.pinned_plan(plans, question.prompt.messages, model.authored.replies)
        if pinned is not None:  # what the shop has settled needs no second opinion
            found = None
        elif found is None:
            found = self._find_unsaid(question, request)
        context = self._context(request, model, question, started_at, softened=found)
        if found is not None and found.says_fixed_text(rules.allowed(plans)):
            model.worker.release(request.num_choices)
            return RuleReply(context, sink, found)
        settled = pinned or (found.rule.plan if found else None)
        misheard = self._guidance.safety.misheard(request.messages[-1].content)
        opening_ids = rules.opening_ids(plans, settled, question.prompt.messages, misheard)
        params = _sampling(request, model, question, max_tokens, opening_ids)
        return ModelReply(context, sink, request, params, rules)

    def _find_unsaid(self, question: _Question, request: ChatRequest) -> Finding | None:
        """What no pattern says: heard in the message, or still to be seen to since the bot's last reply."""
        safety, conversation = self._guidance.safety, question.conversation.messages
        heard = safety.hear(question.probabilities, request.messages[-1].content)
        return heard or safety.hold(conversation, question.probabilities)

    def _prepare_for_rule(self, request: ChatRequest, model: LoadedModel) -> _Question:
        """In a thread. A rule answers at any length and however full the service is."""
        conversation = self._mask(request)
        token_ids = render(conversation.messages, model.tokenizer, for_completion=True).token_ids
        prompt = Prompt(conversation.messages, token_ids)
        heard = self._guidance.hear(prompt, model, is_searched=False)
        return _Question(conversation, prompt, sentiment=heard.sentiment)

    def _prepare(self, request: ChatRequest, model: LoadedModel, max_tokens: int) -> _Question:
        """Masking and tokenising a long conversation, and hearing it, take longer than the event loop can spare."""
        conversation = self._mask(request)
        prompt = _fit(conversation.messages, model, max_tokens)
        search = self._article_search(request.messages[-1].content, conversation, model)
        heard = self._guidance.hear(prompt, model, is_searched=search is not None)
        question = _Question(
            conversation,
            prompt,
            opinion=heard.opinion,
            sentiment=heard.sentiment,
            probabilities=heard.probabilities,
        )
        article = search(heard.embedding) if search else None
        if article is None or self._has_better_answer(article, question, model):
            return question
        offered = offer_article(conversation.messages, article.title, article.text, article.language)
        try:
            return replace(question, prompt=_fit(offered, model, max_tokens), article=article)
        except ContextLengthExceededError:
            return question  # A long question matters more than an article about it.

    def _has_better_answer(self, article: Passage, question: _Question, model: LoadedModel) -> bool:
        """Whether a reply was written for what the customer says, and the article is about it by a word or two."""
        known, messages = model.authored.replies, question.conversation.messages
        likelihood = known.answer_likelihood(question.probabilities, messages)
        return likelihood is not None and self._guidance.plans.is_for_answer(article, likelihood)

    def _mask(self, request: ChatRequest) -> MaskedConversation:
        if request.is_masked:
            return self._masker.recall(request.messages)
        return self._masker.mask(request.messages, request.history)

    def _recall(self, request: ChatRequest, completion: CompletionRecord) -> str:
        """In a thread: a recorded text with its values put back, and its article where the shop still has it."""
        conversation = self._masker.mask(request.messages, request.history)
        resolve = self._masker.resolver(conversation)
        offered = completion.sampling.get("article")
        if ARTICLE in completion.completion_text and isinstance(offered, Mapping):
            article = self._guidance.articles.passage(str(offered["id"]))
            resolve = quoting(resolve, article) if article else resolve
        return unmask(completion.completion_text, resolve)

    def _article_search(
        self, question: str, conversation: MaskedConversation, model: LoadedModel
    ) -> Callable[[Embedding | None], Passage | None] | None:
        """What finds a passage, told where the question lies.

        None where no passage can fit, for a model that never learned to quote, and where the shop forbids it.
        """
        articles, language = self._guidance.articles, conversation.language
        if HELP_PLAN not in model.tokenizer.plans or not self._guidance.plans.allows(HELP_PLAN):
            return None
        is_later = sum(message.role is Role.USER for message in conversation.messages) > 1
        if not articles.can_find(question, language, is_later=is_later):
            return None
        return lambda meaning: articles.find(question, language, meaning, is_later=is_later)

    def _context(
        self,
        request: ChatRequest,
        model: LoadedModel,
        question: _Question,
        started_at: float,
        softened: Finding | None = None,
    ) -> ReplyContext:
        rater = opaque_rater(request.user, self._limits.rater_secret, tenant=request.tenant)
        conversation, prompt, article = question.conversation, question.prompt, question.article
        resolve = self._masker.resolver(conversation)
        return ReplyContext(
            model=model,
            conversation=conversation.messages,
            prompt_messages=prompt.messages,
            prompt_ids=prompt.token_ids,
            language=conversation.language,
            resolve=quoting(resolve, article) if article else resolve,
            conversation_id=request.conversation_id or derive_conversation_id(conversation.messages, rater),
            rater=rater,
            tenant=request.tenant,
            claim=request.claim,
            max_wait_seconds=self._limits.max_wait_seconds,
            completion_ids=new_completion_ids(request.num_choices),
            started_at=started_at,
            article=article,
            sentiment=question.sentiment,
            safety=self._guidance.safety,
            softened=softened,
        )


def _sampling(
    request: ChatRequest, model: LoadedModel, question: _Question, max_tokens: int, opening_ids: frozenset[int]
) -> SamplingParams:
    return SamplingParams(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        repetition_penalty=request.repetition_penalty,
        seed=random.getrandbits(63) if request.seed is None else request.seed & MAX_SEED,
        max_tokens=max_tokens,
        num_top_logprobs=request.num_top_logprobs or 0,
        banned_token_ids=question.banned_token_ids(model.tokenizer),
        keeps_to_phrases=True,
        opening_token_ids=opening_ids,
        opening_min_p=OPENING_MIN_P,
        opening_opinion=question.opinion,
        num_opening_logprobs=NUM_RIVAL_PLANS,
    )


def _conversation_key(request: ChatRequest) -> str:
    """What all turns of a conversation have in common, for the router only: known before anything is masked."""
    return request.conversation_id or derive_conversation_id(request.messages, request.user or "")


def _is_short(request: ChatRequest) -> bool:
    messages = (*request.history, *request.messages)
    return sum(len(message.content) for message in messages) <= _MAX_SHORT_CHARS


def _fit(messages: tuple[Message, ...], model: LoadedModel, max_tokens: int) -> Prompt:
    return fit_prompt(
        messages,
        model.tokenizer,
        max_tokens=max_tokens,
        max_context=model.worker.max_context,
        sees_everything=model.reads_long,
    )
