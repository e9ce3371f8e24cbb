"""A second opinion on what people like: a bag of character n-grams, fitted on ratings that the reward model was not.

Reward models are over-optimised (Gao et al. 2210.10760); a judge of another kind, on other ratings, sees it. It
reads the reply only: whether a reply fits its prompt is `judge`'s business.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from training.data.feedback_rows import Example

_NGRAMS = (1, 4)
_TIE = 0.01
MIN_PER_CLASS = 3
"""Thumbs of either kind below which the judge has no opinion."""


class ThumbsJudge:
    """Gives the probability of a thumbs-up to a masked reply."""

    def __init__(self, examples: Sequence[Example]) -> None:
        """Fits on the examples given. With fewer than MIN_PER_CLASS thumbs of either kind it has no opinion."""
        ups = [example.is_up for example in examples]
        self.num_ratings = len(ups)
        self.has_opinion = min(sum(ups), len(ups) - sum(ups)) >= MIN_PER_CLASS
        self._pipeline: Pipeline = make_pipeline(
            TfidfVectorizer(analyzer="char_wb", ngram_range=_NGRAMS, sublinear_tf=True),
            LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000),
        )
        if self.has_opinion:
            weights = np.array([example.weight for example in examples])
            texts = [example.completion_text for example in examples]
            self._pipeline.fit(texts, ups, logisticregression__sample_weight=weights)

    def probabilities(self, replies: Sequence[str]) -> list[float]:
        """P(thumbs-up) for each reply; one half for all where the judge has no opinion."""
        if not self.has_opinion or not replies:
            return [0.5] * len(replies)
        return [float(p) for p in self._pipeline.predict_proba(list(replies))[:, 1]]

    def wins(self, candidate: Sequence[str], base: Sequence[str]) -> list[float]:
        """By prompt: 1 where the candidate's reply is likelier to be liked than the base's, 0.5 for a tie, else 0."""
        pairs = zip(self.probabilities(candidate), self.probabilities(base), strict=True)
        return [0.5 if abs(ours - theirs) < _TIE else float(ours > theirs) for ours, theirs in pairs]


def independent_examples(examples: Sequence[Example]) -> list[Example]:
    """The ratings that no weight of the reward model was fitted to: the validation and the test split."""
    return [example for example in examples if example.split != "train"]
