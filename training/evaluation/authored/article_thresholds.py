"""Choosing the thresholds of the article rule: `python -m training.evaluation.authored.article_thresholds`.

By development articles, which no network was trained on, and by development asks, which should be left alone. What is
held out is not looked at. A reply that opens with quoting by itself is taken for a quote; no reply is made.
"""

import argparse
import random
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from model_store.bundle import open_bundle
from model_store.intents.intent_model import IntentModel
from model_store.knowledge.article_rule import ArticleRule
from model_store.knowledge.offer import HELP_PLAN
from model_store.store import DEFAULT_BUNDLE
from training.data.domain_pack import DomainPack, fill_slots
from training.evaluation.authored.help_articles import Case, Shelves, article_cases, is_offer_right
from training.evaluation.dialogues.asking_back import AskingBack, PlanReading, topic_of
from training.evaluation.plan_choice import first_token_probabilities
from training.evaluation.subject import Subject

MIN_PROBABILITIES = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2)
SURE_FROM = (0.5, 0.6, 0.7, 0.8, 0.9)
MIN_FITS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 1.0)
MAX_QUOTED = 0.03
"""Share of each language's asks of intents that may be answered from an article."""
MAX_LOST = 0.01
"""Share of them where a right plan, of which the bot was sure, may give way."""
_NUM_SHOWN = 8
_SEED = 7


@dataclass(frozen=True, slots=True)
class Read:
    """A case in which an article was offered, and what the model set out to do."""

    case: Case
    plan: PlanReading


@dataclass(frozen=True, slots=True)
class Share:
    """What one choice of thresholds does in one language, in shares of all questions or all asks."""

    right: float
    wrong: float
    without: float
    """Quoted where the article that answers is not there."""
    of_asks: float
    lost: float


@dataclass(frozen=True)
class Evidence:
    """One language's cases: with their article, without it, and asks of intents; only the offered ones are read."""

    questions: Sequence[Read]
    without: Sequence[Read]
    asks: Sequence[Read]
    num_questions: int
    num_asks: int

    def judge(self, rules: AskingBack) -> Share:
        """What these rules would do."""
        quoted = [read for read in self.questions if is_quoted(read, rules)]
        right = sum(is_offer_right(read.case) for read in quoted)
        asks = [read for read in self.asks if is_quoted(read, rules)]
        return Share(
            right / self.num_questions,
            (len(quoted) - right) / self.num_questions,
            sum(is_quoted(read, rules) for read in self.without) / self.num_questions,
            len(asks) / self.num_asks,
            sum(_is_lost(read, rules) for read in asks) / self.num_asks,
        )


def is_quoted(read: Read, rules: AskingBack) -> bool:
    """By the rule, or because the model opens with it and is sure enough to be let."""
    if read.case.offered is None:
        return False
    opens = read.plan.plan == HELP_PLAN and read.plan.confidence >= rules.min_confidence
    return opens or rules.quotes(read.plan, read.case.offered)


def choices(rule: ArticleRule) -> Iterator[ArticleRule]:
    """The rule with every combination of thresholds."""
    for probability, sure, fit in product(MIN_PROBABILITIES, SURE_FROM, MIN_FITS):
        yield rule.model_copy(update={"min_probability": probability, "sure_from": sure, "min_fit": fit})


def best_choices(evidence: dict[str, Evidence], rules: AskingBack) -> list[tuple[ArticleRule, dict[str, Share]]]:
    """What keeps to the limits in every language, most right quotes first; of equals what quotes asks least."""
    judged = [
        (rule, {language: found.judge(replace(rules, article=rule)) for language, found in evidence.items()})
        for rule in choices(rules.article)
    ]
    kept = [(rule, shares) for rule, shares in judged if all(map(_is_allowed, shares.values()))]
    return sorted(kept, key=lambda choice: _merit(choice[1].values()), reverse=True)


def collect(subject: Subject, num_asks: int) -> dict[str, Evidence]:
    """The pack's development articles and, of each language, so many of its development asks."""
    pack, shelves = subject.pack, Shelves(subject.intents)
    evidence = {}
    for language in sorted({article.language for article in pack.development_articles}):
        articles = [article for article in pack.development_articles if article.language == language]
        questions, without = (article_cases(pack, articles, shelves, is_there=there) for there in (True, False))
        asks = _development_asks(pack, language, shelves)[:num_asks]
        with_article, without_it, of_asks = (_read(subject, cases) for cases in (questions, without, asks))
        evidence[language] = Evidence(with_article, without_it, of_asks, len(questions), len(asks))
    return evidence


def _development_asks(pack: DomainPack, language: str, shelves: Shelves) -> list[Case]:
    generator = random.Random(_SEED)
    search = shelves.search([*pack.articles, *pack.development_articles])
    asks = [
        (intent.name, fill_slots(ask, pack.slots[language], generator))
        for intent in pack.intents
        if intent.language == language
        for ask in intent.development_asks
    ]
    generator.shuffle(asks)
    return [replace(shelves.case(search, ask, language, None), intent=name) for name, ask in asks]


def _read(subject: Subject, cases: Sequence[Case]) -> list[Read]:
    offered = [case for case in cases if case.offered]
    first = first_token_probabilities(subject.policy, subject.tokenizer, [case.messages for case in offered])
    return [
        Read(case, PlanReading.of(row, subject.tokenizer, has_offer=True))
        for case, row in zip(offered, first, strict=True)
    ]


def _is_lost(read: Read, rules: AskingBack) -> bool:
    return topic_of(read.plan.plan) == read.case.intent and read.plan.confidence >= rules.min_confidence


def _is_allowed(share: Share) -> bool:
    return share.of_asks <= MAX_QUOTED and share.lost <= MAX_LOST


def _merit(shares: Collection[Share]) -> tuple[float, float]:
    return sum(share.right - share.wrong for share in shares), -sum(share.of_asks for share in shares)


def _row(rule: ArticleRule, shares: dict[str, Share]) -> str:
    figures = (
        f"{language}: right {share.right:.1%} wrong {share.wrong:.1%} without {share.without:.1%}"
        f" asks {share.of_asks:.1%} lost {share.lost:.1%}"
        for language, share in shares.items()
    )
    head = f"min_probability {rule.min_probability} sure_from {rule.sure_from} min_fit {rule.min_fit}"
    return f"{head:56}{'  '.join(figures)}"


def main() -> int:
    """Prints the thresholds in force and the best that keep to the limits; 1 where none does."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE)
    parser.add_argument("--pack", default="shop")
    parser.add_argument("--asks", type=int, default=1000, help="development asks of each language")
    options = parser.parse_args()
    rules = AskingBack.load()
    evidence = collect(Subject.of(open_bundle(options.bundle), options.pack, IntentModel.load()), options.asks)
    now = {language: found.judge(rules) for language, found in evidence.items()}
    print("in force: " + _row(rules.article, now))
    best = best_choices(evidence, rules)
    for rule, shares in best[:_NUM_SHOWN]:
        print(_row(rule, shares))
    return 0 if best else 1


if __name__ == "__main__":
    sys.exit(main())
