"""What the service says when it is not sure of its plan, or has said enough: it quotes an article, asks which of two
topics is meant, or hands over.

`service.chat.plan_rules` once more, for training imports no service; a contract test holds both to the same words. The
rules file is the service's own. What it forbids, pins and words differently is left out: as shipped, nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from model_store.intents.matters import FruitlessRule, KnownReplies
from model_store.intents.offers import OfferRule
from model_store.knowledge.article_rule import ArticleRule, rules_over
from model_store.knowledge.offer import plans_for, sureness
from model_store.knowledge.search import Passage
from model_store.replies import PERSON_PLAN
from model_store.sampling import rival_plans
from training.errors import DataNotFoundError

SERVICE_RULES_FILE = Path("service/chat/plan_rules.yaml")
SERVING_MIN_PLAN_CONFIDENCE = 0.35
"""The service's default."""
_NUM_RIVALS = 8
_NUM_TOPICS = 2
_QUESTIONS = ("no_topic", "one_topic", "two_topics")
_NO_REPLIES = KnownReplies()


@dataclass(frozen=True, slots=True)
class PlanReading:
    """The plan that would open a reply, and the most probable plans with their probabilities, best first."""

    plan: str
    rivals: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, probabilities: Tensor, tokenizer: Tokenizer, *, has_offer: bool = False) -> "PlanReading":
        """The reading of one prompt, from the probabilities [V] of the first token. Needs a tokenizer with plans."""
        names = {token_id: name for name, token_id in tokenizer.plans.items()}
        allowed = plans_for(tokenizer.plans, has_offer=has_offer)
        plan = max(allowed, key=lambda name: float(probabilities[allowed[name]]))
        best = probabilities.topk(_NUM_RIVALS)
        ranked = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return cls(plan, rival_plans((names.get(token_id), value) for token_id, value in ranked))

    @property
    def confidence(self) -> float:
        """Probability of the plan's topic: answering it and asking for a detail of it count together."""
        topic = topic_of(self.plan)
        return min(1.0, sum(probability for plan, probability in self.rivals if topic_of(plan) == topic))


@dataclass(frozen=True, slots=True)
class FixedWords:
    """What is said instead of a reply: a question that offers topics, or that a person takes over."""

    text: str
    topics: tuple[str, ...]
    hands_over: bool


@dataclass(frozen=True)
class AskingBack:
    """The service's rules for not being sure."""

    unsure: Mapping[str, Mapping[str, str]]
    """The wordings `two_topics`, `one_topic`, `no_topic` and `again`, by language."""
    topic_names: Mapping[str, Mapping[str, str]]
    article: ArticleRule
    fruitless: FruitlessRule
    offers: OfferRule
    min_confidence: float = SERVING_MIN_PLAN_CONFIDENCE

    @classmethod
    def load(cls, path: Path = SERVICE_RULES_FILE, min_confidence: float = SERVING_MIN_PLAN_CONFIDENCE) -> "AskingBack":
        """Reads a shop's rules; what its file does not say is as the service ships it.

        Raises DataNotFoundError, or KeyError, ValidationError or yaml.YAMLError for a broken file.
        """
        rules = rules_over(_entries(SERVICE_RULES_FILE), _entries(path))
        article = ArticleRule.model_validate(rules["article"])
        fruitless = FruitlessRule.model_validate(rules["fruitless"])
        offers = OfferRule.model_validate(rules["offers"])
        return cls(rules["unsure"], rules.get("topics", {}), article, fruitless, offers, min_confidence)

    def quotes(
        self,
        reading: PlanReading,
        offered: Passage,
        messages: Sequence[Message] = (),
        known: KnownReplies = _NO_REPLIES,
    ) -> bool:
        """Whether an offered passage is quoted by the rule, whatever the plan says; this comes before asking back."""
        has_answer = known.answers(topic_of(reading.plan), messages)
        return self.article.quotes(reading, offered.fit, self.min_confidence, has_answer=has_answer)

    def instead_of(
        self, reading: PlanReading, earlier: Sequence[Message], language: str, known: KnownReplies = _NO_REPLIES
    ) -> FixedWords | None:
        """What is said to masked messages `earlier` instead of following the plan; None where the bot is sure.

        By its `known` replies the bot tells what it has said about a matter, and when that is enough.
        """
        topic = topic_of(reading.plan)
        is_left = topic != PERSON_PLAN and not self.offers.refuses_person(earlier)
        if is_left and self.fruitless.is_enough(topic, earlier, known, self.topic_names):
            return FixedWords(self.fruitless.wording_in(language), (), hands_over=True)
        is_plain = topic in self.topic_names and known.is_spoken_of(topic, earlier)
        if is_plain or sureness(reading.confidence, reading.plan, reading.rivals) >= self.min_confidence:
            return None
        if any(message.role is Role.ASSISTANT and self._questions.fullmatch(message.content) for message in earlier):
            return FixedWords(self.unsure["again"][language], (), hands_over=True)
        rivals = dict.fromkeys(topic_of(plan) for plan, _ in reading.rivals)
        topics = tuple(topic for topic in rivals if topic in self.topic_names)[:_NUM_TOPICS]
        names = [self.topic_names[topic][language] for topic in topics]
        first, second = (*names, "", "")[:_NUM_TOPICS]
        question = self.unsure[_QUESTIONS[len(topics)]][language]
        return FixedWords(question.format(first=first, second=second), topics, hands_over=False)

    @cached_property
    def _questions(self) -> re.Pattern[str]:
        """Every question that may have been asked before, in any language."""
        wordings = [wording for name in _QUESTIONS for wording in self.unsure[name].values()]
        return re.compile("|".join(re.sub(r"\\\{(?:first|second)\\\}", ".+", re.escape(text)) for text in wordings))


def _entries(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        raise DataNotFoundError(
            what="The service's plan rules", path=path, remedy="Run this where the service's files are."
        )
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def topic_of(plan: str) -> str:
    """What a plan is about: `track_package` for `track_package/ask_order_id`."""
    return plan.partition("/")[0]
