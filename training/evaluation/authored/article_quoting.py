"""Fitting the article rule: `python -m training.evaluation.authored.article_quoting`, some minutes of one core.

By development articles, which no network was trained on, and by development asks, which should be left alone. What is
held out is not looked at. An article's questions are judged by weights that have not seen it; asks are not left out,
for five weights learn no thousands of them by heart. Bare ones that the pack teaches ("I want to return this") are
asked too: customers say them most, and they are left out of the fit. What is offered at all was settled before, by
`passage_fit`. Left out: the pack's training articles, whose questions are known
to the network. A reply that opens with quoting by itself is taken for a quote; no reply is made.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from model_store.bundle import open_bundle
from model_store.digest import short
from model_store.durable import replace_file
from model_store.intents.intent_model import IntentModel
from model_store.knowledge.article_rule import WEIGHTS_FILE, ArticleRule, Evidence, QuotingWeights, shipped_weights
from model_store.knowledge.offer import HELP_PLAN
from model_store.store import DEFAULT_BUNDLE
from training.data.domain_pack import DomainPack
from training.evaluation.authored.help_articles import Case, Shelves, article_cases, is_offer_right
from training.evaluation.authored.passage_fit import NUM_FOLDS, bare_asks, development_asks, fit_logistic
from training.evaluation.dialogues.asking_back import AskingBack, PlanReading, topic_of
from training.evaluation.plan_choice import first_token_probabilities
from training.evaluation.subject import Subject

MAX_QUOTED = 0.03
"""Share of each language's asks of intents that may be answered from an article."""
MAX_LOST = 0.01
"""Share of them where a right plan, of which the bot was sure, may give way."""
MAX_QUOTED_BARE = 0.015
"""Share of the bare asks of intents that may be answered from an article."""


@dataclass(frozen=True, slots=True)
class Read:
    """A case in which an article was offered, and what the model set out to do."""

    case: Case
    plan: PlanReading
    article: str | None = None
    """The development article whose question it is."""

    @property
    def is_right(self) -> bool:
        """Whether quoting what is offered would answer."""
        return is_offer_right(self.case)


@dataclass(frozen=True, slots=True)
class Share:
    """What one rule does in one language, in shares of all questions or all asks."""

    right: float
    wrong: float
    without: float
    """Quoted where the article that answers is not there."""
    of_asks: float
    lost: float
    of_bare: float

    @property
    def is_allowed(self) -> bool:
        """Whether it keeps to the limits."""
        return self.of_asks <= MAX_QUOTED and self.lost <= MAX_LOST and self.of_bare <= MAX_QUOTED_BARE

    def __str__(self) -> str:
        return (
            f"right {self.right:.1%} wrong {self.wrong:.1%} without {self.without:.1%}"
            f" asks {self.of_asks:.1%} lost {self.lost:.1%} bare {self.of_bare:.1%}"
        )


@dataclass(frozen=True)
class Found:
    """One language's cases: with their article, without it, and asks of intents; only the offered ones are read."""

    questions: Sequence[Read]
    without: Sequence[Read]
    asks: Sequence[Read]
    num_questions: int
    num_asks: int
    bare: Sequence[Read] = ()
    num_bare: int = 1

    def shares(self, judge: "Judge") -> Share:
        """What a rule would do."""
        quoted = [read for read in self.questions if judge.quotes(read)]
        right = sum(read.is_right for read in quoted)
        asks = [read for read in self.asks if judge.quotes(read)]
        return Share(
            right / self.num_questions,
            (len(quoted) - right) / self.num_questions,
            sum(map(judge.quotes, self.without)) / self.num_questions,
            len(asks) / self.num_asks,
            sum(_is_lost(read, judge.rules) for read in asks) / self.num_asks,
            sum(map(judge.quotes, self.bare)) / self.num_bare,
        )


@dataclass(frozen=True)
class Judge:
    """The service's rules with weights, by fold of the article that a question is about; asks are no fold's."""

    rules: AskingBack
    weights: QuotingWeights
    by_article: Mapping[str, QuotingWeights]

    def quotes(self, read: Read) -> bool:
        """By the rule, or because the model opens with it and is sure enough to be let."""
        weights = self.by_article.get(read.article or "", self.weights)
        min_confidence, offered = self.rules.min_confidence, read.case.offered
        if offered is None:
            return False
        opens = read.plan.plan == HELP_PLAN and read.plan.confidence >= min_confidence
        return opens or self.rules.article.quotes(read.plan, offered.fit, min_confidence, weights)

    def from_log_odds(self, quote_from: float) -> "Judge":
        """The same with another threshold."""
        change = {"quote_from": quote_from}
        by_article = {article: weights.model_copy(update=change) for article, weights in self.by_article.items()}
        return Judge(self.rules, self.weights.model_copy(update=change), by_article)


def fit_weights(rule: ArticleRule, reads: Sequence[Read], made_of: str = "") -> QuotingWeights:
    """A logistic regression from the rule's evidence to whether quoting is right; its threshold is even odds."""
    names = tuple(Evidence.model_fields)
    found = [rule.evidence(read.plan, read.case.offered.fit).model_dump() for read in reads if read.case.offered]
    rows = np.array([[evidence[name] for name in names] for evidence in found])
    bias, weights = fit_logistic(rows, [read.is_right for read in reads if read.case.offered])
    slopes = Evidence(**dict(zip(names, weights, strict=True)))
    return QuotingWeights(made_of=made_of, bias=bias, weights=slopes, quote_from=0.0)


def fit_out_of_fold(rules: AskingBack, found: Mapping[str, Found], made_of: str = "") -> Judge:
    """Weights by everything, and for each article's questions weights that have not seen that article."""
    reads = [read for language in found.values() for read in (*language.questions, *language.without, *language.asks)]
    articles = sorted({read.article for read in reads if read.article})
    folds = [frozenset(articles[start::NUM_FOLDS]) for start in range(NUM_FOLDS)]
    by_article: dict[str, QuotingWeights] = {}
    for fold in folds:
        weights = fit_weights(rules.article, [read for read in reads if read.article not in fold], made_of)
        by_article |= dict.fromkeys(fold, weights)
    return Judge(rules, fit_weights(rules.article, reads, made_of), by_article)


def choose_threshold(judge: Judge, found: Mapping[str, Found]) -> Judge | None:
    """Of the thresholds that keep to the limits in every language the one with most right quotes less wrong ones."""
    judges = [judge.from_log_odds(float(threshold)) for threshold in np.arange(-4, 4, 0.05).round(2)]
    shares = [[language.shares(each) for language in found.values()] for each in judges]
    allowed = [
        (sum(share.right - share.wrong for share in those), each)
        for each, those in zip(judges, shares, strict=True)
        if all(share.is_allowed for share in those)
    ]
    # Of equals the highest threshold, which quotes fewest asks.
    return max(reversed(allowed), key=lambda choice: choice[0])[1] if allowed else None


def collect(subject: Subject, num_asks: int) -> dict[str, Found]:
    """By language the pack's development articles, and so many of its development and of its bare asks."""
    pack, shelves = subject.pack, Shelves(subject.intents)
    found: dict[str, Found] = {}
    for language in sorted({article.language for article in pack.development_articles}):
        articles = [article for article in pack.development_articles if article.language == language]
        titles = [article.title for article in articles for _ in article.questions]
        questions, without = (
            _read(subject, article_cases(pack, articles, shelves, is_there=is_there), titles)
            for is_there in (True, False)
        )
        kinds = (development_asks(pack, language), bare_asks(pack, language))
        asks, bare = (_cases(pack, language, shelves, named[:num_asks]) for named in kinds)
        of_asks, of_bare = (_read(subject, cases, [None] * len(cases)) for cases in (asks, bare))
        found[language] = Found(questions, without, of_asks, len(titles), len(asks), of_bare, max(1, len(bare)))
    return found


def _cases(pack: DomainPack, language: str, shelves: Shelves, asks: Sequence[tuple[str, str]]) -> list[Case]:
    search = shelves.search([*pack.articles, *pack.development_articles])
    return [replace(shelves.case(search, ask, language, None), intent=name) for name, ask in asks]


def _read(subject: Subject, cases: Sequence[Case], articles: Sequence[str | None]) -> list[Read]:
    offered = [(case, article) for case, article in zip(cases, articles, strict=True) if case.offered]
    first = first_token_probabilities(subject.policy, subject.tokenizer, [case.messages for case, _ in offered])
    return [
        Read(case, PlanReading.of(row, subject.tokenizer, has_offer=True), article)
        for (case, article), row in zip(offered, first, strict=True)
    ]


def _is_lost(read: Read, rules: AskingBack) -> bool:
    return topic_of(read.plan.plan) == read.case.intent and read.plan.confidence >= rules.min_confidence


def _print(title: str, judge: Judge, found: Mapping[str, Found]) -> None:
    shares = "  ".join(f"{language}: {of_language.shares(judge)}" for language, of_language in found.items())
    print(f"{title:28}from {judge.weights.quote_from:5.2f}  {shares}")


def main() -> int:
    """Prints what holds now and what would, then the weights, and writes them; 1 where nothing keeps to the limits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE)
    parser.add_argument("--pack", default="shop")
    parser.add_argument("--asks", type=int, default=1600, help="development asks and bare asks of each language")
    parser.add_argument("--output", type=Path, default=WEIGHTS_FILE)
    parser.add_argument("--dry-run", action="store_true", help="print, and write nothing")
    options = parser.parse_args()
    rules, intents, bundle = AskingBack.load(), IntentModel.load(), open_bundle(options.bundle)
    found = collect(Subject.of(bundle, options.pack, intents), options.asks)
    if WEIGHTS_FILE.exists():
        _print("in force (may know these)", Judge(rules, shipped_weights(), {}), found)
    made_of = f"network {short(bundle.digest)}, intent model {short(intents.digest)}"
    chosen = choose_threshold(fit_out_of_fold(rules, found, made_of), found)
    if chosen is None:
        print("no threshold keeps to the limits")
        return 1
    _print("fitted, articles left out", chosen, found)
    text = chosen.weights.model_dump_json(indent=1) + "\n"
    print(text, end="")
    if not options.dry_run:
        replace_file(options.output, text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
