"""Off-policy estimates: how much a candidate's replies would be liked, from ratings of replies that others gave.

SNIPS (Swaminathan and Joachims 2015) weighs each rating by how much likelier the candidate is to say that reply; the
doubly robust estimate (Dudík, Langford, Li 2011), self-normalised here too, lets the reward model speak first and
corrects it by the weighted ratings. Pure functions; where weights come from: `logged_replies`.
Left out: clipped weights. They trade an error that shows in the interval for one that does not.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from training.evaluation.figures import Figure

_NUM_RESAMPLES = 1000
_BATCH = 100
_MIN_COVERED = 0.5
"""Mean weight, at least: it is 1 where everything that the candidate says could have been said before."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class WeighedRatings:
    """Rated replies [n], each with what the candidate makes of it."""

    conversations: NDArray[np.int64]
    """Which conversation each belongs to, numbered from 0: customers are independent, their ratings are not."""
    weights: Values
    """The candidate's probability of the reply over the probability that it was drawn with."""
    ups: Values
    """1 for a thumb up, else 0."""
    predicted: Values
    """The reward model's probability of a thumb up for the reply that was given."""
    expected: Values
    """Its mean over the replies that the candidate would give instead."""


class OffPolicyEstimate(BaseModel):
    """What the ratings say about a candidate; estimates are None where they are too few, and `refusal` says so."""

    model_config = ConfigDict(frozen=True)

    num_ratings: int
    num_conversations: int
    effective_conversations: float
    """How many conversations of the candidate's own the weighted ones are worth (Kish)."""
    mean_weight: Figure
    logged: Figure
    """Thumbs up among the same ratings, unweighted."""
    snips: Figure | None = None
    doubly_robust: Figure | None = None
    gain: Figure | None = None
    """The doubly robust estimate minus `logged`."""
    refusal: str | None = None

    @property
    def sentence(self) -> str:
        """What that means in words."""
        if self.refusal is not None or self.doubly_robust is None or self.snips is None or self.gain is None:
            return f"The ratings on record do not tell how the candidate will be liked: {self.refusal}"
        return (
            f"By {self.num_ratings} ratings on record, worth {self.effective_conversations:.0f} conversations of its "
            f"own, {_percent(self.doubly_robust)} of the candidate's replies would be liked (SNIPS "
            f"{_percent(self.snips)}); {self.logged.value:.1%} were."
        )


def estimate(ratings: WeighedRatings, *, min_effective_conversations: float, seed: int = 0) -> OffPolicyEstimate:
    """Both estimates with 95 % intervals, bootstrapped by conversation; the same ratings give the same bounds.

    Refuses where the weighted ratings are worth fewer than `min_effective_conversations`, or where less than half of
    what the candidate says could have been rated. Raises ValueError without a rating.
    """
    if not len(ratings.ups):
        raise ValueError("an estimate needs at least one rating")
    sums = _sums_by_conversation(ratings)
    figures = _figures(sums, seed)
    size = effective_size(sums[:, _WEIGHT])
    found = OffPolicyEstimate(
        num_ratings=len(ratings.ups),
        num_conversations=len(sums),
        effective_conversations=size,
        mean_weight=figures["mean_weight"],
        logged=figures["logged"],
    )
    if size < min_effective_conversations:
        worth = f"{found.num_ratings} held-back ratings are worth {size:.1f} conversations of its own"
        return found.model_copy(update={"refusal": f"{worth}, {min_effective_conversations:g} are needed."})
    if found.mean_weight.high < _MIN_COVERED:
        covered = f"at most {found.mean_weight.high:.0%} of what it says could have been said and rated before"
        return found.model_copy(update={"refusal": f"{covered}, {_MIN_COVERED:.0%} are needed."})
    return found.model_copy(update={name: figures[name] for name in ("snips", "doubly_robust", "gain")})


def effective_size(weights: Values) -> float:
    """(Σ w)² / Σ w²: how many equal weights would tell as much (Kish 1965); 0 where all weights are 0."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def snips(weights: Values, ups: Values) -> float:
    """Σ w r / Σ w; NaN where all weights are 0."""
    return _ratio(float((weights * ups).sum()), float(weights.sum()))


def doubly_robust(weights: Values, ups: Values, predicted: Values, expected: Values) -> float:
    """mean(q̂ of the candidate's replies) + Σ w (r - q̂) / Σ w; NaN where all weights are 0."""
    return float(expected.mean()) + _ratio(float((weights * (ups - predicted)).sum()), float(weights.sum()))


_COUNT, _WEIGHT, _WEIGHTED_UPS, _WEIGHTED_ERRORS, _EXPECTED, _UPS = range(6)


def _sums_by_conversation(ratings: WeighedRatings) -> Values:
    """[conversations, 6]: all that the estimates need, so that a conversation can be drawn as a whole."""
    weights, ups = ratings.weights, ratings.ups
    columns = [
        np.ones_like(weights),
        weights,
        weights * ups,
        weights * (ups - ratings.predicted),
        ratings.expected,
        ups,
    ]
    _, numbers = np.unique(ratings.conversations, return_inverse=True)
    return np.stack([np.bincount(numbers, column) for column in columns], axis=1)


def _figures(sums: Values, seed: int) -> dict[str, Figure]:
    """Every estimate with the percentiles of its resamples; those without any weight are left out."""
    generator = np.random.default_rng(seed)
    resampled = []
    for _ in range(_NUM_RESAMPLES // _BATCH):
        picks = generator.integers(0, len(sums), (_BATCH, len(sums)))
        resampled.append(sums[picks].sum(axis=1))
    estimates = _estimates(np.concatenate(resampled))
    values = _estimates(sums.sum(axis=0)[None])
    found = {}
    for name, column in estimates.items():
        finite = column[np.isfinite(column)]
        low, high = np.quantile(finite, [0.025, 0.975]) if len(finite) else (np.nan, np.nan)
        found[name] = Figure(value=float(values[name][0]), low=float(low), high=float(high))
    return found


def _estimates(totals: Values) -> dict[str, Values]:
    """Estimates [resamples] of totals [resamples, 6]."""
    count, weight = totals[:, _COUNT], totals[:, _WEIGHT]
    with np.errstate(invalid="ignore", divide="ignore"):
        robust = totals[:, _EXPECTED] / count + totals[:, _WEIGHTED_ERRORS] / weight
        logged = totals[:, _UPS] / count
        return {
            "mean_weight": weight / count,
            "logged": logged,
            "snips": totals[:, _WEIGHTED_UPS] / weight,
            "doubly_robust": robust,
            "gain": robust - logged,
        }


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else float("nan")


def _percent(figure: Figure) -> str:
    return f"{figure.value:.1%} [{figure.low:.1%}, {figure.high:.1%}]"
