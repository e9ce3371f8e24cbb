"""What a reward model must beat: a bag of character n-grams, and the majority."""

import math
from collections.abc import Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression


def majority_score(is_up: Sequence[bool]) -> float:
    """One score for all replies: the log-odds of a thumb up (add-one smoothed)."""
    share_up = (sum(is_up) + 1) / (len(is_up) + 2)
    return math.log(share_up / (1 - share_up))


def bag_of_words_scores(
    texts: Sequence[str], is_up: Sequence[bool], weights: Sequence[float], held_out: Sequence[str]
) -> list[float]:
    """Scores of held-out texts by logistic regression on character n-grams; the majority's without both kinds."""
    if all(is_up) or not any(is_up):
        return [majority_score(is_up)] * len(held_out)
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), min_df=2, sublinear_tf=True)
    features = vectorizer.fit_transform(texts)
    regression = LogisticRegression(C=4.0, max_iter=1000)
    regression.fit(features, is_up, sample_weight=weights)
    scores: list[float] = regression.decision_function(vectorizer.transform(held_out)).tolist()
    return scores
