"""Whether thumbs tell good replies from bad ones where the staff has said which they are: gold.

Thumbs that are all turned round teach the gate's judge to like what they like, so nothing that it says of a candidate
shows it. A judge of the same kind, fitted on every thumb that counts but those about gold, is asked about gold.
Left out: the gate's own judge, which knows a third of the thumbs: it tells bad ones no better, and honest ones worse
(of eleven honest crowds with 60 gold replies it knew gold too badly of two, this one of none). Deciding: `stages.gate`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import bootstrap, rankdata

from training.data.feedback_rows import Example
from training.evaluation.figures import Figure
from training.evaluation.thumbs_judge import ThumbsJudge

_NUM_RESAMPLES, _BATCH = 2000, 200


class GoldReply(BaseModel):
    """A reply of the bot about which the staff has said the truth. The text is masked."""

    model_config = ConfigDict(frozen=True)

    text: str
    is_up: bool
    """Whether thumbs up is the truth."""
    rated_as: tuple[str, ...] = ()
    """Completions of these words whose thumbs count: what they say of the reply is not learned before it is asked."""


class ThumbsOnGold(BaseModel):
    """How well thumbs tell gold replies apart, each text counted once."""

    model_config = ConfigDict(frozen=True)

    num_up: int
    num_down: int
    num_thumbs: int
    """On which the judge that was asked is fitted."""
    auc: Figure | None
    """How likely it likes a good reply better than a bad one; ties are one half. None where one kind has fewer than two
    replies, or so few thumbs of a kind are left that it has no opinion."""

    def num_missing(self, needed: int) -> tuple[int, int]:
        """Gold replies, good and bad, that are wanting until there are so many of each."""
        return max(0, needed - self.num_up), max(0, needed - self.num_down)


def gold_lines(replies: Iterable[GoldReply]) -> str:
    """The text of `gold_replies.jsonl`."""
    return "".join(reply.model_dump_json() + "\n" for reply in replies)


def read_gold(path: Path) -> list[GoldReply]:
    """What `gold_lines` wrote; nothing where there is no file, as in a workspace from before there was one."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [GoldReply.model_validate_json(line) for line in lines]


def measure_thumbs_on_gold(examples: Sequence[Example], gold: Sequence[GoldReply], *, seed: int) -> ThumbsOnGold:
    """The AUC with a 95 % percentile interval, bootstrapped over replies, good and bad ones each by themselves.

    The judge reads no question and gives the same text the same chance, so a text counts once (twice where the staff
    has called it both: then nobody can tell).
    """
    about_gold = {completion_id for reply in gold for completion_id in reply.rated_as}
    others = [one for one in examples if one.source == "rating" and one.completion_id not in about_gold]
    by_kind = [sorted({reply.text for reply in gold if reply.is_up is kind}) for kind in (True, False)]
    found = None
    if min(map(len, by_kind)) > 1 and (judge := ThumbsJudge(others)).has_opinion:
        ups, downs = (judge.probabilities(texts) for texts in by_kind)
        found = _auc(ups, downs, seed)
    return ThumbsOnGold(num_up=len(by_kind[0]), num_down=len(by_kind[1]), num_thumbs=len(others), auc=found)


def _auc(ups: Sequence[float], downs: Sequence[float], seed: int) -> Figure:
    def share_of_wins(good: NDArray[np.float64], bad: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        """Mann and Whitney's U of all pairs, which is the AUC (`rlhf.estimators.auc`), for many samples at once."""
        num_good, num_bad = good.shape[axis], bad.shape[axis]
        ranks = rankdata(np.concatenate([good, bad], axis), axis=axis).take(range(num_good), axis)
        found: NDArray[np.float64] = (ranks.sum(axis) - num_good * (num_good + 1) / 2) / (num_good * num_bad)
        return found

    interval = bootstrap(
        (ups, downs),
        share_of_wins,
        n_resamples=_NUM_RESAMPLES,
        batch=_BATCH,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    value = float(share_of_wins(np.asarray(ups), np.asarray(downs)))
    return Figure(value=value, low=float(interval.low), high=float(interval.high))
