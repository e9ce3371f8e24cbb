"""Conversations drawn from an authored pack: asks with the noise of real typing, fitting replies, several turns.

A reply fits when every entity it names was given, when it does not ask for what was given, and when its intent is the
ask's. Held-out asks never enter.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from model_store.contract.conversation import Message, Role, detect_language
from training.data.domain_pack import DomainPack, Intent, entities_in, fill_slots, plan_of
from training.data.flows.flow import Flow
from training.data.knowledge.exchanges import ArticleShelf, Case, Exchange, question_and_reply
from training.data.typing_noise import add_typing_noise

_TONE_WEIGHTS = {"warm": 0.45, "brief": 0.3, "formal": 0.25}
_GIVEN_LATER = {
    "en": ("<{0}>", "it's <{0}>", "sure, <{0}>", "here you go: <{0}>", "<{0}> thanks", "yes. <{0}>"),
    "zh": ("<{0}>", "是<{0}>", "好的，<{0}>", "<{0}>，麻烦了", "你好，<{0}>"),
}
"""How a detail is given that was asked for, where the pack does not say."""
_SYSTEM_SHARE = 0.08
_TONE_SHARE = 0.12
"""Of conversations without flow or article, those with an operator who asks for a tone."""
_ONE_EXCHANGE = 2
_SECOND_CONCERN_SHARE = 0.2
_FLOW_SHARE = 0.18
"""Of conversations, where nothing else is asked for, and of asks, those on a path through an authored flow."""
_CHAIN_SHARE = 0.3
"""Of conversations, those with several concerns one after the other."""
_SWITCH_SHARE = 0.35
_GIVEN_ALONG_SHARE = 0.2
_ARTICLE_SHARE = 0.08
"""Of conversations and of asks, those about a help article or with one that does not fit."""
_AFTER_A_CONCERN, _AFTER_AN_ARTICLE = 0.2, 0.1
_GOES_ON_SHARE = 0.12
_CLOSING_INTENTS = ("thanks", "goodbye", "acknowledge")
"""What customers close with; a pack may lack any of them."""
_OUT_OF_SCOPE = "out_of_scope"


@dataclass(frozen=True)
class LabelledConversation:
    """Masked messages ending with the assistant, what the customer's last one was about, and the last reply's plan."""

    messages: tuple[Message, ...]
    intent: str
    plan: str | None
    language: str


class ConversationGenerator:
    """An endless, seeded supply of conversations."""

    def __init__(
        self,
        pack: DomainPack,
        seed: int,
        extra_asks: Mapping[str, Sequence[str]] | None = None,
        *,
        flow_share: float = _FLOW_SHARE,
    ) -> None:
        """`extra_asks`: more English ways to ask by intent, from public data. `flow_share`: of conversations."""
        self._pack = pack
        self._flow_share = flow_share
        self._random = random.Random(seed)
        self._extra_asks = {name: list(asks) for name, asks in (extra_asks or {}).items() if asks}
        self._by_language = {
            language: [intent for intent in pack.intents if intent.language == language] for language in pack.languages
        }
        self._shelf = ArticleShelf(pack.articles, self._random)
        self._help_intents = {intent.language: intent for intent in pack.help_intents}
        self._weights = {
            language: [3.0 if intent.name == _OUT_OF_SCOPE else 1.0 for intent in intents]
            for language, intents in self._by_language.items()
        }

    def __iter__(self) -> Iterator[LabelledConversation]:
        while True:
            yield self.draw()

    def draw(self) -> LabelledConversation:
        """The next conversation."""
        kind = self._random.random()
        if self._pack.flows and kind < self._flow_share:
            return self.draw_from_flow(self._random.choice(self._pack.flows))
        language = self._random.choice(list(self._by_language))
        if self._is_about_an_article(language):
            conversation = self._with_article(language)
        else:
            tone = self._draw_tone(language)
            num_intents = 1 if kind < 1 - _CHAIN_SHARE else self._random.choice((2, 2, 3))
            conversation = self._chain(language, num_intents, tone)
            if tone:
                return self._under(self._in_tone(tone, language), conversation)
        system_messages = self._pack.phrases.system_messages.get(language)
        if system_messages and self._random.random() < _SYSTEM_SHARE:
            return self._under(self._random.choice(system_messages), conversation)
        return conversation

    def _draw_tone(self, language: str) -> str | None:
        """A tone that an operator asks for in that language; most often none."""
        tones = [tone for tone, messages in self._pack.phrases.tone_messages.items() if messages.get(language)]
        return self._random.choice(tones) if tones and self._random.random() < _TONE_SHARE else None

    def _in_tone(self, tone: str, language: str) -> str:
        """A system message that asks for a tone, sometimes after what else it says."""
        phrases = self._pack.phrases
        asked = self._random.choice(phrases.tone_messages[tone][language])
        general = phrases.system_messages.get(language, ())
        if not general or self._random.random() < 0.5:
            return asked
        return ("" if language == "zh" else " ").join((self._random.choice(general), asked))

    @staticmethod
    def _under(system: str, conversation: LabelledConversation) -> LabelledConversation:
        return replace(conversation, messages=(Message(Role.SYSTEM, system), *conversation.messages))

    def draw_ask(self) -> LabelledConversation:
        """A customer's message without its reply, and the plan that fits it; sometimes after another concern."""
        if self._pack.flows and self._random.random() < _FLOW_SHARE:
            conversation = self.draw_from_flow(self._random.choice(self._pack.flows))
            return replace(conversation, messages=conversation.messages[:-1])
        language = self._random.choice(list(self._by_language))
        before: list[Message] = []
        if self._random.random() < _SECOND_CONCERN_SHARE:
            before, _ = self._exchange(self._draw_intent(self._maybe_other(language), is_last=False), ())
        if self._is_about_an_article(language):
            asked = self._about_article(language, before).ask
            return LabelledConversation((*before, *asked.prompted), asked.intent, asked.plan, language)
        intent = self._draw_intent(language, is_last=False)
        exchange, plan = self._exchange(intent, before)
        plan = plan if len(exchange) == _ONE_EXCHANGE else plan_of(intent.name)
        return LabelledConversation((*before, *exchange[:1]), intent.name, plan, language)

    def draw_with_another_plan(self) -> LabelledConversation:
        """A conversation whose last message asks for something else than what its reply, true to its plan, answers.

        Who learns from such words the reply from its plan, and not from the message once more: a plan can then be
        pinned, and a plan chosen well is worded well. The plan is not to be learned from it.
        """
        while True:
            conversation = self._chain(self._random.choice(list(self._by_language)), self._random.choice((1, 1, 2)))
            *before, message, reply = conversation.messages
            if not entities_in(reply.content) and not entities_in(message.content):
                other = self._draw_intent(conversation.language, is_last=False)
                ask = fill_slots(self._random.choice(other.asks), self._pack.slots[conversation.language], self._random)
                return replace(conversation, messages=(*before, Message(Role.USER, ask), reply))

    def draw_customer(self, num_concerns: int) -> Iterator[LabelledConversation]:
        """One customer's concerns, one after the other, each with its plan; what was given once is not asked for again.

        The messages of each concern are its own, without those before it.
        """
        before: list[Message] = []
        language = self._random.choice(list(self._by_language))
        for _ in range(num_concerns):
            intent = self._draw_intent(language, is_last=False)
            exchange, plan = self._exchange(intent, before)
            given = _given(exchange)
            # Of what was said before only what was given matters; one message says all of it.
            before = [Message(Role.USER, " ".join(f"<{entity}>" for entity in sorted(_given(before) | given)))]
            yield LabelledConversation(tuple(exchange), intent.name, plan, language)

    def draw_earlier(self, language: str) -> list[Message]:
        """What may come before a message in `language`: another concern and its reply, perhaps in another language."""
        exchange, _ = self._exchange(self._draw_intent(self._maybe_other(language), is_last=False), ())
        return exchange

    def _chain(self, language: str, num_intents: int, tone: str | None = None) -> LabelledConversation:
        """One customer with `num_intents` concerns after another, perhaps closing with thanks, answered in one tone."""
        messages: list[Message] = []
        for position in range(num_intents):
            language = self._maybe_other(language) if position else language
            intent = self._draw_intent(language, is_last=0 < position == num_intents - 1)
            exchange, plan = self._exchange(intent, messages, tone)
            messages += exchange
        return LabelledConversation(tuple(messages), intent.name, plan, language)

    def _is_about_an_article(self, language: str) -> bool:
        return language in self._shelf.languages and self._random.random() < _ARTICLE_SHARE

    def _with_article(self, language: str) -> LabelledConversation:
        """A conversation with an article in it, now or, where it goes on, a moment ago."""
        before: list[Message] = []
        kind = self._random.random()
        if kind < _AFTER_A_CONCERN:
            before, _ = self._exchange(self._draw_intent(self._maybe_other(language), is_last=False), ())
        elif kind < _AFTER_A_CONCERN + _AFTER_AN_ARTICLE:
            before = list(self._about_article(language, ()).past)
        exchange = self._about_article(language, before)
        if self._random.random() >= _GOES_ON_SHARE:
            return LabelledConversation((*before, *exchange.prompted), exchange.intent, exchange.plan, language)
        before += exchange.past
        intent = self._draw_intent(language, is_last=True)
        following, plan = self._exchange(intent, before)
        return LabelledConversation((*before, *following), intent.name, plan, language)

    def _about_article(self, language: str, before: Sequence[Message]) -> Exchange:
        """A question that an article answers, or another concern with an article beside it."""
        case = self._shelf.draw_case()
        article, question = self._shelf.draw(language)
        next_best = self._pack.intent(article.overlaps or _OUT_OF_SCOPE, language)
        intent = self._help_intents[language] if case is Case.FITTING else next_best
        if case is Case.OTHER_CONCERN or intent is None:
            concern = self._draw_intent(language, is_last=False)
            messages, plan = self._exchange(concern, before)
            offered = self._shelf.draw_unfitting(messages[0].content, language)
            return Exchange(tuple(messages), concern.name, plan, offered)
        if case is Case.UNRELATED:
            article = self._shelf.draw_unfitting(question, language, fitting=article)
        asked = add_typing_noise(question, language, self._random)
        turn = question_and_reply(asked, self._draw_reply(intent, _given(before)))
        return Exchange(turn, intent.name, plan_of(intent.name), None if case is Case.NOTHING else article)

    def _maybe_other(self, language: str) -> str:
        """A customer's language, or another one: people switch, and are answered in the language they use now."""
        return self._random.choice(list(self._by_language)) if self._random.random() < _SWITCH_SHARE else language

    def _draw_intent(self, language: str, *, is_last: bool) -> Intent:
        if is_last and self._random.random() < 0.4:
            closing = self._pack.intent(self._random.choice(_CLOSING_INTENTS), language)
            if closing:
                return closing
        (intent,) = self._random.choices(self._by_language[language], self._weights[language])
        return intent

    def _exchange(
        self, intent: Intent, before: Sequence[Message], tone: str | None = None
    ) -> tuple[list[Message], str]:
        """A customer's message, the reply and its plan; sometimes the reply asks for a detail, gets it and goes on."""
        ask = self._draw_ask(intent)
        given = _given(before) | entities_in(ask)
        missing = [entity for entity in intent.replies_missing if entity not in given]
        exchange = [Message(Role.USER, ask)]
        if missing and not tone and self._random.random() < 0.3:
            entity = self._random.choice(missing)
            exchange.append(Message(Role.ASSISTANT, self._random.choice(intent.replies_missing[entity])))
            if self._random.random() < 0.5 or not intent.replies_given.get(entity):
                return exchange, plan_of(intent.name, entity)
            exchange.append(Message(Role.USER, self._draw_detail(entity, intent.language)))
            given |= {entity}
        exchange.append(Message(Role.ASSISTANT, self._draw_reply(intent, given, tone)))
        return exchange, plan_of(intent.name)

    def _draw_ask(self, intent: Intent) -> str:
        extra = self._extra_asks.get(intent.name) if intent.language == "en" else None
        ask = self._random.choice(extra if extra and self._random.random() < 0.25 else intent.asks)
        ask = fill_slots(ask, self._pack.slots[intent.language], self._random)
        given_along = self._pack.phrases.given_along
        endings = [
            text for entity in intent.replies_missing for text in given_along.get(entity, {}).get(intent.language, ())
        ]
        if endings and not entities_in(ask) and self._random.random() < _GIVEN_ALONG_SHARE:
            ask = ask.rstrip("。.！!") + self._random.choice(endings)
        return add_typing_noise(ask, intent.language, self._random)

    def _draw_detail(self, entity: str, language: str) -> str:
        """A detail that was asked for, in the pack's words or in words that fit any."""
        wordings = self._pack.phrases.given_later.get(entity, {}).get(language)
        return self._random.choice(wordings or _GIVEN_LATER[language]).replace("{0}", entity)

    def _draw_reply(self, intent: Intent, given: frozenset[str], wanted_tone: str | None = None) -> str:
        """A good reply; what a wanted tone has to say comes before what uses a given detail."""
        using_given = [
            text
            for entity, texts in intent.replies_given.items()
            if entity in given
            for text in texts
            if entities_in(text) <= given
        ]
        if using_given and not wanted_tone and self._random.random() < 0.6:
            return self._random.choice(using_given)
        tones = [tone for tone in _TONE_WEIGHTS if intent.replies_by_tone.get(tone)]
        (tone,) = self._random.choices(tones, [_TONE_WEIGHTS[tone] for tone in tones])
        tone = wanted_tone if wanted_tone in tones else tone
        fitting = [text for text in intent.replies_by_tone[tone] if entities_in(text) <= given]
        return self._random.choice(fitting or list(intent.replies_by_tone[tone]))

    def draw_from_flow(self, flow: Flow) -> LabelledConversation:
        """A path through a flow up to one of its replies, so that each reply is the last one some time.

        Later replies are drawn more often: they depend on the turns before them, and openings recur anyway.
        """
        path = flow.draw_path(self._random)
        ends = [number for number, turn in enumerate(path, 1) if turn.role is Role.ASSISTANT]
        (end,) = self._random.choices(ends, range(1, len(ends) + 1))
        path = path[:end]
        messages = []
        for turn in path:
            text = fill_slots(self._random.choice(turn.wordings), self._pack.slots[flow.language], self._random)
            if turn.role is Role.USER:
                text = add_typing_noise(text, detect_language(text), self._random)
            messages.append(Message(turn.role, text))
        plan = path[-1].plan
        intent = plan.partition("/")[0] if plan else flow.intents[-1]
        return LabelledConversation(tuple(messages), intent, plan, detect_language(messages[-1].content))


def _given(messages: Sequence[Message]) -> frozenset[str]:
    """Entity types that the customer has given; amounts and dates in a quoted article are the shop's."""
    return entities_in(" ".join(message.content for message in messages if message.role is Role.USER))
