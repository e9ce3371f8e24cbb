"""Safety rules: what customers write that the model must not answer by itself, and what the bot must not say.

A rule is set off by a pattern in a message, before any model runs; by how likely the intent model calls an intent, in
the one pass in which it hears the message anyway (the safety head); or by a sentence that the bot is about to say. The
rules are data: how they are written stands at the top of `safety_rules.yaml`, `rules_file` reads them. They have no way
to reach the model or the network.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from stdnum import luhn

from model_store.contract.conversation import Message, Role
from model_store.contract.safety.required_text import PatternIndex
from model_store.contract.wording.unsafe import unsafe_rules

Outcome = Literal["refuse", "soften", "hand_over"]
FoundBy = Literal["pattern", "intent", "reply", "before"]
_MAX_CHARS = 4000
"""Of a message; of a longer one the first and the last half of this are read, for the rules run on the event loop."""
_NUM_REMEMBERED = 20_000
"""Verdicts on sentences and beginnings of sentences; the bot says the same ones over and over."""
_MAX_AGAIN = 4
_SURE_OF_ANOTHER = 0.8
_NO_MATTER = frozenset(
    {"out_of_scope", "gibberish", "acknowledge", "greeting", "self_harm", "product_question", "product_advice"}
)
"""Intents that do not say that a customer is safe and has come to something else: "the small round one" may be heard as
a question about goods.
"""
_CLAUSE_END = re.compile(r"[,;!?。、\n]|\.(?=\s|$)")
_APOSTROPHES = str.maketrans("’‘", "''")


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyRule:
    """What sets it off, what excuses a match in its clause, and what comes of it."""

    name: str
    outcome: Outcome
    patterns: tuple[re.Pattern[str], ...] = ()
    excuse: re.Pattern[str] | None = None
    intent: str | None = None
    min_probability: float = 1.0
    """Of the intent, as the intent model hears a message."""
    ordinary: re.Pattern[str] | None = None
    """What a message holds that is plainly about something else, however it sounds to the intent model."""
    in_reply: frozenset[str] = frozenset()
    """The unsafe wordings (`model_store.contract.wording`) that set it off in what the bot would say."""
    plan: str | None = None
    """What a softened reply sets out to say."""
    replies: Mapping[str, str]
    """A masked text by language; none for a rule that leaves the words to the model."""
    again: Mapping[str, str] = field(default_factory=dict)
    """What is said to the messages after that, by language, while they are about nothing else; none: it is over."""

    def is_set_off_by(self, pattern: re.Pattern[str], text: str) -> bool:
        """Whether some match of one of its patterns has no excuse; a card number needs a card's check digit."""
        return any(_has_card_checksum(match) and not self._is_excused(text, match) for match in pattern.finditer(text))

    def _is_excused(self, text: str, match: re.Match[str]) -> bool:
        return self.excuse is not None and self.excuse.search(_clause_around(text, match)) is not None


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that was set off, and by what."""

    rule: SafetyRule
    found_by: FoundBy

    def text(self, language: str) -> str:
        """The rule's masked words."""
        return (self.rule.again if self.found_by == "before" else self.rule.replies)[language]

    @property
    def recorded(self) -> dict[str, object]:
        """What a completion's record tells of it."""
        return {"safety": {"rule": self.rule.name, "outcome": self.rule.outcome, "found_by": self.found_by}}

    def says_fixed_text(self, plans: Collection[str]) -> bool:
        """Whether the rule speaks instead of a model that may choose these plans, and softens its reply by them."""
        return self.rule.outcome != "soften" or self.rule.plan not in plans

    @property
    def finish_reason(self) -> Literal["stop", "handover"]:
        """How a completion in the rule's words ends."""
        return "handover" if self.rule.outcome == "hand_over" else "stop"


class SafetyRules:
    """The rules in order; of those that are set off the first counts. Immutable, and safe to share between threads."""

    def __init__(self, rules: tuple[SafetyRule, ...]) -> None:
        self.rules = rules
        self._patterns = tuple((rule, pattern) for rule in rules for pattern in rule.patterns)
        self._index = PatternIndex([pattern for _, pattern in self._patterns])
        self.check_replies = any(rule.in_reply for rule in rules)
        """Whether some rule looks at what the bot says."""
        self._in_reply = lru_cache(_NUM_REMEMBERED)(self._find_in_reply)

    def match(self, text: str) -> Finding | None:
        """What this message says by a pattern; full-width letters, digits and signs count as plain ones."""
        plain = _plain(text)
        candidates = (self._patterns[position] for position in self._index.candidates(plain))
        return next(
            (Finding(rule, "pattern") for rule, pattern in candidates if rule.is_set_off_by(pattern, plain)), None
        )

    def hear(self, probabilities: Mapping[str, float], text: str = "") -> Finding | None:
        """What the intent model hears in a message; `probabilities` by intent, empty where nothing was heard."""
        heard = [rule for rule in self.rules if _is_heard(rule, probabilities)]
        misheard = self.misheard(text) if heard else ()
        return next((Finding(rule, "intent") for rule in heard if rule.intent not in misheard), None)

    def misheard(self, text: str) -> frozenset[str]:
        """Intents of rules that this message is plainly none of, so that no reply sets out to answer them."""
        plain = _plain(text)
        ordinary = (rule.intent for rule in self.rules if rule.intent and rule.ordinary and rule.ordinary.search(plain))
        return frozenset(ordinary)

    def hold(self, conversation: Sequence[Message], probabilities: Mapping[str, float]) -> Finding | None:
        """The rule that spoke last, where the customer's next masked message is not surely about something else.

        A rule speaks again four times at most: who wants to talk of something else that is not understood must not be
        held for ever.
        """
        spoken = [message.content.strip() for message in conversation if message.role is Role.ASSISTANT]
        if not spoken or _is_sure_of_another(probabilities):
            return None
        for rule in self.rules:
            again = {text.strip() for text in rule.again.values()}
            words = again.union(text.strip() for text in rule.replies.values())
            if again and spoken[-1] in words and not again.issuperset(spoken[-_MAX_AGAIN:]):
                return Finding(rule, "before")
        return None

    def in_reply(self, sentence: str) -> Finding | None:
        """What is wrong with a masked sentence that the bot would say, or with the beginning of one."""
        return self._in_reply(sentence)

    def _find_in_reply(self, sentence: str) -> Finding | None:
        broken = unsafe_rules(sentence)
        return next((Finding(rule, "reply") for rule in self.rules if not rule.in_reply.isdisjoint(broken)), None)


def _plain(text: str) -> str:
    """Both ends of a long text, full-width signs and typographic apostrophes as plain ones."""
    ends = text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS // 2]}\n{text[-_MAX_CHARS // 2 :]}"
    return unicodedata.normalize("NFKC", ends).translate(_APOSTROPHES)


def _is_heard(rule: SafetyRule, probabilities: Mapping[str, float]) -> bool:
    return rule.intent is not None and probabilities.get(rule.intent, 0.0) >= rule.min_probability


def _is_sure_of_another(probabilities: Mapping[str, float]) -> bool:
    likeliest = max(probabilities, key=probabilities.__getitem__, default=None)
    return likeliest is not None and likeliest not in _NO_MATTER and probabilities[likeliest] >= _SURE_OF_ANOTHER


def _clause_around(text: str, match: re.Match[str]) -> str:
    """The match and what stands before and after it up to the next comma or stop."""
    after = _CLAUSE_END.search(text, match.end())
    before = _CLAUSE_END.split(text[: match.start()])[-1]
    return before + text[match.start() : after.start() if after else len(text)]


def _has_card_checksum(match: re.Match[str]) -> bool:
    """True for a match without a group `card`."""
    card = match.groupdict().get("card")
    return card is None or bool(luhn.is_valid(re.sub(r"[ -]", "", card)))
