"""The sentiments that a customer's message may have, and which one an intent model's output names.

A graph without the output says nothing of them: older files serve on.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Sentiment = Literal["negative", "neutral", "positive"]
SENTIMENTS: tuple[Sentiment, ...] = ("negative", "neutral", "positive")
"""The columns of the graph's output."""


def likeliest_sentiment(logprobs: NDArray[np.float32]) -> Sentiment:
    """The sentiment of the largest of [3] log-probabilities. Raises ValueError for another number of them."""
    by_sentiment = dict(zip(SENTIMENTS, map(float, logprobs), strict=True))
    return max(SENTIMENTS, key=by_sentiment.__getitem__)
