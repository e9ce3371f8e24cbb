"""Fitting when a help article is offered: `python -m training.evaluation.authored.passage_fit`, a minute of one core.

By development articles, whose questions should find them; the same questions without their article, development asks,
and bare asks that the pack teaches ("I want to return this"), all of which should be left alone. An article's questions
are judged by weights that have not seen it. What the model then makes of an offer: `article_quoting`, to be run after.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from model_store.durable import replace_file
from model_store.intents.intent_model import IntentModel
from model_store.knowledge.fit import FIT_FILE, MIN_COUNT, MIN_SHARE, FitRule, FitSigns, WordCounts
from model_store.knowledge.words import topic_words
from training.data.domain_pack import DomainPack, fill_slots, load_pack
from training.data.knowledge.articles import HelpArticle
from training.evaluation.authored.help_articles import Shelves

KEPT = 0.85
"""Share of the passages rightly found first that must still be offered."""
NUM_FOLDS = 7
_MAX_BARE = {"en": 5, "zh": 7}
"""Words of an English bare ask, characters of a Chinese one."""
_NOT_OURS = "out_of_scope"
"""Whose asks are about anything, as help articles are: their words are not counted."""
_SEED = 7


@dataclass(frozen=True, slots=True)
class Sample:
    """A question, and what the passage found first for it has in common with it."""

    kind: str
    language: str
    signs: FitSigns
    is_right: bool = False
    article: str | None = None
    """The development article whose question it is."""


def count_words(pack: DomainPack) -> dict[str, WordCounts]:
    """By language, how many of the pack's asks hold each topic word."""
    counts = {}
    for language in pack.languages:
        intents = [each for each in pack.intents if each.language == language and each.name != _NOT_OURS]
        asks = [ask for intent in intents for ask in intent.asks]
        found = Counter(word for ask in asks for word in set(topic_words(ask)))
        often = {word: count for word, count in sorted(found.items()) if count >= MIN_COUNT}
        counts[language] = WordCounts(num_asks=max(1, len(asks)), num_with=often)
    return counts


def development_asks(pack: DomainPack, language: str) -> list[tuple[str, str]]:
    """Intents and filled development asks, in an order that is always the same."""
    intents = [each for each in pack.intents if each.language == language]
    return _filled(pack, language, [(each.name, ask) for each in intents for ask in each.development_asks])


def bare_asks(pack: DomainPack, language: str) -> list[tuple[str, str]]:
    """Intents and filled asks of hardly a word that the pack teaches, in an order that is always the same."""
    intents = [each for each in pack.intents if each.language == language]
    asks = [(each.name, ask) for each in intents for ask in each.asks if _is_bare(ask, language)]
    return _filled(pack, language, asks)


def _filled(pack: DomainPack, language: str, asks: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    generator = random.Random(_SEED)
    filled = [(name, fill_slots(ask, pack.slots[language], generator)) for name, ask in asks]
    generator.shuffle(filled)
    return filled


def _is_bare(ask: str, language: str) -> bool:
    return len(ask if language == "zh" else ask.split()) <= _MAX_BARE[language]


def collect(pack: DomainPack, shelves: Shelves, num_asks: int) -> list[Sample]:
    """Of every language at most `num_asks` of either kind, and all questions with and without their article.

    Questions that share too little with what is found are left out: they are never offered anything.
    """
    samples: list[Sample | None] = []
    for language in pack.languages:
        unseen = [article for article in pack.development_articles if article.language == language]
        everything = [*pack.articles, *unseen]
        whole = _Collection("question", language, shelves, everything)
        for article in unseen:
            others = _Collection("without", language, shelves, [each for each in everything if each is not article])
            for question in article.questions:
                samples += [whole.sample(question, article), others.sample(question, article)]
        for kind, asks in (("ask", development_asks(pack, language)), ("bare", bare_asks(pack, language))):
            collection = _Collection(kind, language, shelves, everything)
            samples += [collection.sample(ask) for _, ask in asks[:num_asks]]
    return [sample for sample in samples if sample is not None]


class _Collection:
    """Articles of one language that questions of one kind are put to."""

    def __init__(self, kind: str, language: str, shelves: Shelves, articles: Sequence[HelpArticle]) -> None:
        self._kind, self._language, self._shelves = kind, language, shelves
        self._search = shelves.search(articles)

    def sample(self, question: str, article: HelpArticle | None = None) -> Sample | None:
        """What is found for a question, which is `article`'s if it is one's."""
        found = self._search.signs(question, self._language, self._shelves.meaning(question))
        if found is None or found[1].share < MIN_SHARE:
            return None
        title = article.title if article else None
        is_right = self._kind == "question" and found[0].title == title
        return Sample(self._kind, self._language, found[1], is_right, title)


def fit_rule(samples: Sequence[Sample], words: dict[str, WordCounts], made_of: str) -> FitRule:
    """A logistic regression from signs to whether what is found answers; `offer_from` is even odds."""
    names = tuple(FitSigns.model_fields)
    rows = np.array([[sample.signs.model_dump()[name] for name in names] for sample in samples])
    bias, weights = fit_logistic(rows, [sample.is_right for sample in samples])
    slopes = FitSigns(**dict(zip(names, weights, strict=True)))
    return FitRule(made_of=made_of, bias=bias, weights=slopes, offer_from=0.5, words=words)


def fit_logistic(rows: NDArray[np.float64], is_right: Sequence[bool]) -> tuple[float, list[float]]:
    """Bias and weights of a logistic regression over rows [n, F] as they are; it was fitted to standardised ones."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    pipeline.fit(rows, is_right)
    scaler, regression = pipeline[0], pipeline[1]
    weights = regression.coef_[0] / scaler.scale_
    return float(regression.intercept_[0] - weights @ scaler.mean_), list(map(float, weights))


def fits_out_of_fold(samples: Sequence[Sample], rule: FitRule) -> NDArray[np.float64]:
    """[n]: how well each passage fits, an article's by weights that have not seen its questions."""
    fits = np.array([rule.fit(sample.signs) for sample in samples])
    articles = sorted({sample.article for sample in samples if sample.article})
    for start in range(NUM_FOLDS):
        fold = frozenset(articles[start::NUM_FOLDS])
        other = fit_rule([sample for sample in samples if sample.article not in fold], rule.words, rule.made_of)
        for number, sample in enumerate(samples):
            if sample.article in fold:
                fits[number] = other.fit(sample.signs)
    return fits


def offer_from(samples: Sequence[Sample], fits: NDArray[np.float64]) -> float:
    """The fit from which `KEPT` of the passages that were rightly found first are offered."""
    right = fits[[sample.is_right for sample in samples]]
    return float(np.floor(np.quantile(right, 1 - KEPT) * 1000) / 1000)


def _print(samples: Sequence[Sample], fits: NDArray[np.float64], threshold: float) -> None:
    right = [sample.is_right for sample in samples]
    print(f"area under the curve {roc_auc_score(right, fits):.3f}, offered from {threshold:.3f}")
    for language in sorted({sample.language for sample in samples}):
        for kind in ("question", "without", "ask", "bare"):
            places = [n for n, each in enumerate(samples) if (each.kind, each.language) == (kind, language)]
            offered = np.mean(fits[places] >= threshold) if places else 0.0
            kept = [fits[place] >= threshold for place in places if right[place]]
            rightly = f", of {len(kept)} found rightly {np.mean(kept):.1%}" if kept else ""
            print(f"{language} {kind:9} {len(places):5} with enough in common, offered {offered:6.1%}{rightly}")


def main() -> int:
    """Prints what would be offered, and writes the rule."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pack", default="shop")
    parser.add_argument("--asks", type=int, default=1600, help="development asks and bare asks of each language")
    parser.add_argument("--output", type=Path, default=FIT_FILE)
    parser.add_argument("--dry-run", action="store_true", help="print, and write nothing")
    options = parser.parse_args()
    pack = load_pack(options.pack)
    words = count_words(pack)
    unfitted = FitRule.unfitted(words, made_of=f"pack {pack.name}")
    samples = collect(pack, Shelves(IntentModel.load(), unfitted), options.asks)
    rule = fit_rule(samples, words, unfitted.made_of)
    fits = fits_out_of_fold(samples, rule)
    rule = rule.model_copy(update={"offer_from": offer_from(samples, fits)})
    _print(samples, fits, rule.offer_from)
    print(rule.weights)
    if not options.dry_run:
        replace_file(options.output, (rule.model_dump_json(indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
