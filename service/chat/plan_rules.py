"""Plan rules: the operator's say in what the bot sets out to do, and what it says when it is not sure.

The rules are data, in `plan_rules.yaml` beside this file or in the operator's own. A plan is the control token that
opens every reply of a model that plans; models that do not plan are left alone.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from model_store.contract.conversation import Message, Role
from model_store.contract.placeholders import FACT_PLACEHOLDERS, LIKE_A_PLACEHOLDER
from model_store.digest import short
from model_store.errors import problems_of
from model_store.intents.matters import FruitlessRule, KnownReplies
from model_store.intents.offers import OfferRule
from model_store.knowledge.article_rule import ArticleRule, rules_over
from model_store.knowledge.offer import HELP_PLAN, sureness
from model_store.knowledge.search import Passage
from service.errors import InvalidDataFileError

DEFAULT_PLAN_RULES_FILE = Path(__file__).with_name("plan_rules.yaml")
NUM_RIVAL_PLANS = 8
"""Most probable plans that the rules look at."""

_Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
_NUM_TOPICS = 2
_NO_REPLIES = KnownReplies()


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Wording(_Section):
    en: _Text
    zh: _Text

    def in_language(self, language: str) -> str:
        return self.zh if language == "zh" else self.en


class _Pin(_Section):
    pattern: str = Field(max_length=2000)
    plan: str


class _Unsure(_Section):
    two_topics: _Wording
    one_topic: _Wording
    no_topic: _Wording
    again: _Wording


class _PlanRulesFile(_Section):
    forbid: tuple[str, ...] = ()
    pin: tuple[_Pin, ...] = ()
    wordings: dict[str, _Wording] = {}
    hand_over: tuple[str, ...] = ()
    unsure: _Unsure
    fruitless: FruitlessRule
    offers: OfferRule
    article: ArticleRule
    topics: dict[str, _Wording] = {}


@dataclass(frozen=True, slots=True)
class FixedReply:
    """A masked text that is said instead of the model's, and which rule says so."""

    text: str
    rule: Literal["wording", "unsure", "hand_over", "article", "fruitless"]
    quick_replies: tuple[str, ...] = ()
    """What the person may want to say next: the topics that are asked about."""
    hands_over: bool = False
    """Whether a person takes over from here."""

    @property
    def finish_reason(self) -> Literal["stop", "handover"]:
        """How the completion ends."""
        return "handover" if self.hands_over else "stop"


@dataclass(frozen=True, slots=True)
class PlanChoice:
    """What the model would do: its plan, and the most probable plans with their probabilities, best first."""

    plan: str
    rivals: tuple[tuple[str, float], ...]
    is_pinned: bool = False
    heard_by: str | None = None
    """Digest of the intent model whose opinion the probabilities hold, if one was asked."""

    @property
    def confidence(self) -> float:
        """Probability of the chosen plan's topic: answering it and asking for a detail of it count together."""
        return min(1.0, sum(probability for plan, probability in self.rivals if topic_of(plan) == topic_of(self.plan)))

    @property
    def recorded(self) -> dict[str, object]:
        """What a completion's record tells of it; where a rule settled the plan, its log-probability is no model's."""
        settled: dict[str, object] = {}
        if self.is_pinned:
            settled = {"is_plan_pinned": True}
        elif self.heard_by is not None:
            settled = {"intent_model": short(self.heard_by)}
        return {"plan": self.plan, "plan_confidence": round(self.confidence, 4), **settled}


class PlanRules:
    """One shop's rules. Immutable and safe to share between threads."""

    def __init__(self, file: _PlanRulesFile, min_confidence: float) -> None:
        self._file = file
        self._min_confidence = min_confidence
        self._pins = [(re.compile(pin.pattern, re.IGNORECASE), pin.plan) for pin in file.pin]
        self._topic_by_name = {name: topic for topic, names in file.topics.items() for name in (names.en, names.zh)}
        unsure = file.unsure
        questions = [
            getattr(wording, language)
            for wording in (unsure.two_topics, unsure.one_topic, unsure.no_topic)
            for language in ("en", "zh")
        ]
        self._has_asked = re.compile("|".join(_as_pattern(question) for question in questions))

    @classmethod
    def load(cls, path: Path = DEFAULT_PLAN_RULES_FILE, *, min_confidence: float = 0.0) -> "PlanRules":
        """Reads rules from YAML; what a file does not say is as shipped. Below `min_confidence` the bot asks back.

        Raises InvalidDataFileError naming the field.
        """
        try:
            file = _PlanRulesFile.model_validate(rules_over(_entries(DEFAULT_PLAN_RULES_FILE), _entries(path)))
            _check_texts(file)
            return cls(file, min_confidence)
        except ValidationError as error:
            raise InvalidDataFileError(path=path, problem=problems_of(error)) from error
        except (OSError, UnicodeDecodeError, yaml.YAMLError, re.error, ValueError) as error:
            raise InvalidDataFileError(path=path, problem=f"{type(error).__name__}: {error}") from error

    def unknown_plans(self, plans: Mapping[str, int]) -> tuple[str, ...]:
        """Plans that the rules name and a model with these plans does not have."""
        named = {*self._file.forbid, *(plan for _, plan in self._pins), *self._file.wordings}
        if HELP_PLAN in plans:
            named |= self._file.article.plans
        return tuple(sorted(named - plans.keys()))

    def pinned_plan(
        self, plans: Mapping[str, int], conversation: Sequence[Message], known: KnownReplies = _NO_REPLIES
    ) -> str | None:
        """The plan that is settled for the last of masked messages, if the model has it.

        A topic's own name asks for that topic, and a yes to the offer of a person for that person.
        """
        message = conversation[-1].content
        pinned = [plan for pattern, plan in self._pins if pattern.search(message)]
        settled = (
            *pinned,
            self._topic_by_name.get(message.strip()),
            self._file.offers.settled_plan(conversation, known),
        )
        return next((plan for plan in settled if plan in plans), None)

    def is_for_answer(self, article: Passage, likelihood: float) -> bool:
        """Whether an article is not even offered: a reply was written for what the customer says, and its topic is so
        likely.
        """
        return self._file.article.is_for_answer(article.fit, likelihood)

    def allows(self, plan: str) -> bool:
        """Whether the model may choose this plan."""
        return plan not in self._file.forbid

    def allowed(self, plans: Mapping[str, int]) -> frozenset[str]:
        """Those of a model's plans that it may choose."""
        return frozenset(filter(self.allows, plans))

    def hands_over(self, plan: str) -> bool:
        """Whether a reply with this plan leaves the customer to a person."""
        return plan in self._file.hand_over

    def finish_reason(self, choice: PlanChoice | None, *, is_cut: bool) -> Literal["stop", "length", "handover"]:
        """How a completion in the model's words ends. One that hands over does so even where its text was cut."""
        if choice is not None and self.hands_over(choice.plan):
            return "handover"
        return "length" if is_cut else "stop"

    def opening_ids(
        self,
        plans: Mapping[str, int],
        pinned: str | None,
        conversation: Sequence[Message] = (),
        misheard: Collection[str] = (),
    ) -> frozenset[int]:
        """Tokens that a reply to masked messages may open with: the pinned plan, or all that are not forbidden; without
        `misheard` ones, and those that hand over a customer who wants no person.
        """
        if pinned is not None:
            return frozenset({plans[pinned]})
        handing_over = self._file.hand_over if self._file.offers.refuses_person(conversation) else ()
        unwanted = {*map(topic_of, handing_over), *misheard}
        may_open = {plan: token_id for plan, token_id in plans.items() if topic_of(plan) not in unwanted}
        allowed = frozenset(token_id for plan, token_id in may_open.items() if self.allows(plan))
        return allowed or frozenset(plans.values())

    def fixed_reply(
        self,
        choice: PlanChoice,
        earlier: Sequence[Message],
        language: str,
        offered: Passage | None = None,
        known: KnownReplies = _NO_REPLIES,
    ) -> FixedReply | None:
        """What to say instead of the model's own words: the offered article that the model leaves although it may well
        answer, a question where the model is not sure, or the shop's own words for its plan.

        `earlier` are the conversation's masked messages: who was asked once and is still not understood is handed over,
        and so is who was answered about the same matter often enough, as the model's `known` replies tell.
        """
        if not choice.is_pinned:
            article = self._file.article
            if offered is not None:
                has_answer = known.answers(topic_of(choice.plan), earlier)
                if article.quotes(choice, offered.fit, self._min_confidence, has_answer=has_answer):
                    return FixedReply(article.wording_in(language), "article")
            if self._is_fruitless(choice.plan, earlier, known):
                return FixedReply(self._file.fruitless.wording_in(language), "fruitless", hands_over=True)
            if self._is_doubtful(choice, earlier, known):
                return self._ask_back(choice, earlier, language)
        wording = self._file.wordings.get(choice.plan)
        if wording is None:
            return None
        return FixedReply(wording.in_language(language), "wording", hands_over=self.hands_over(choice.plan))

    def _is_fruitless(self, plan: str, earlier: Sequence[Message], known: KnownReplies) -> bool:
        if self.hands_over(plan) or self._file.offers.refuses_person(earlier):
            return False
        return self._file.fruitless.is_enough(topic_of(plan), earlier, known, self._file.topics.keys())

    def _is_doubtful(self, choice: PlanChoice, earlier: Sequence[Message], known: KnownReplies) -> bool:
        topic = topic_of(choice.plan)
        is_plain = topic in self._file.topics and known.is_spoken_of(topic, earlier)
        return sureness(choice.confidence, choice.plan, choice.rivals) < self._min_confidence and not is_plain

    def _ask_back(self, choice: PlanChoice, earlier: Sequence[Message], language: str) -> FixedReply:
        unsure = self._file.unsure
        if any(message.role is Role.ASSISTANT and self._has_asked.fullmatch(message.content) for message in earlier):
            return FixedReply(unsure.again.in_language(language), "hand_over", hands_over=True)
        topics = dict.fromkeys(topic_of(plan) for plan, _ in choice.rivals if plan not in self._file.forbid)
        names = [self._file.topics[topic].in_language(language) for topic in topics if topic in self._file.topics]
        wording = (unsure.no_topic, unsure.one_topic, unsure.two_topics)[min(_NUM_TOPICS, len(names))]
        first, second = (*names, "", "")[:_NUM_TOPICS]
        question = wording.in_language(language).format(first=first, second=second)
        return FixedReply(question, "unsure", tuple(names[:_NUM_TOPICS]))


def _entries(path: Path) -> dict[str, object]:
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(entries, dict | None):
        raise ValueError("the file is not a mapping of rules")
    return entries or {}


def topic_of(plan: str) -> str:
    """What a plan is about: `track_package` for `track_package/ask_order_id`."""
    return plan.partition("/")[0]


def _as_pattern(question: str) -> str:
    return re.escape(question).replace(r"\{first\}", ".+").replace(r"\{second\}", ".+")


def _check_texts(file: _PlanRulesFile) -> None:
    """Raises ValueError for a question that cannot be filled in, or a placeholder that stands for nothing."""
    wordings = [*file.wordings.values(), file.unsure.again]
    for wording in wordings:
        for text in (wording.en, wording.zh):
            unknown = [shape for shape in LIKE_A_PLACEHOLDER.findall(text) if shape not in FACT_PLACEHOLDERS]
            if unknown:
                raise ValueError(f"{unknown[0]} in {text!r} is not one of the facts")
    for wording in (file.unsure.two_topics, file.unsure.one_topic, file.unsure.no_topic):
        for text in (wording.en, wording.zh):
            try:
                text.format(first="", second="")
            except (KeyError, IndexError) as error:
                raise ValueError(f"only {{first}} and {{second}} are filled in: {text!r}") from error
