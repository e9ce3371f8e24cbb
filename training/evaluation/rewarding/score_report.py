"""The reward model's figures on one split beside its baselines': how well it tells thumbs apart, and how sure it is."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from training.config import RewardConfig
from training.data.prompts import RatedExample
from training.evaluation.rewarding.baselines import bag_of_words_scores, majority_score
from training.evaluation.rewarding.reliability import Reliability, reliability
from training.reformer.heads import RewardModel, pessimistic, score_heads
from training.rlhf.estimators import auc, log_loss


class ScoreFigures(BaseModel):
    """Of one way to score replies; AUC is None where one kind of thumb is missing."""

    model_config = ConfigDict(frozen=True)

    auc: float | None
    accuracy: float
    log_loss: float
    reliability: Reliability


class ScoreReport(BaseModel):
    """One split."""

    model_config = ConfigDict(frozen=True)

    num_replies: int
    model: ScoreFigures
    """The heads' mean."""
    pessimistic: ScoreFigures
    """What a policy learns from."""
    bag_of_words: ScoreFigures
    majority: ScoreFigures
    uncalibrated: Reliability
    """The model's before its temperature."""
    spread: float
    """Mean standard deviation over the heads, of a score."""
    spread_finds_errors: float | None
    """AUC: how often a reply that the mean is wrong about has heads further apart than one it is right about."""


def report_scores(
    model: RewardModel, train: Sequence[RatedExample], held_out: Sequence[RatedExample], config: RewardConfig
) -> ScoreReport | None:
    """Figures on held-out examples; None without any. `train` is what the baselines learn from."""
    if not held_out:
        return None
    is_up = [example.is_up for example in held_out]
    heads = score_heads(model, [example.sequence for example in held_out])
    mean, spread = heads.mean(-1), heads.std(-1, correction=0)
    known_up = [example.is_up for example in train]
    bag_of_words = bag_of_words_scores(
        [shown_text(example) for example in train],
        known_up,
        [example.weight for example in train],
        [shown_text(example) for example in held_out],
    )
    is_wrong = [(score > 0) != up for score, up in zip(mean.tolist(), is_up, strict=True)]
    return ScoreReport(
        num_replies=len(held_out),
        model=score_figures(mean.tolist(), is_up),
        pessimistic=score_figures(pessimistic(heads, config.pessimism).tolist(), is_up),
        bag_of_words=score_figures(bag_of_words, is_up),
        majority=score_figures([majority_score(known_up)] * len(held_out), is_up),
        uncalibrated=reliability((mean * model.temperature).tolist(), is_up),
        spread=float(spread.mean()),
        spread_finds_errors=auc(spread.tolist(), is_wrong) if len(heads[0]) > 1 else None,
    )


def score_figures(scores: Sequence[float], is_up: Sequence[bool]) -> ScoreFigures:
    """Figures of raw scores against thumbs. Raises ValueError without a reply."""
    num_right = sum((score > 0) == up for score, up in zip(scores, is_up, strict=True))
    return ScoreFigures(
        auc=auc(scores, is_up),
        accuracy=num_right / len(scores),
        log_loss=log_loss(scores, is_up),
        reliability=reliability(scores, is_up),
    )


def shown_text(example: RatedExample) -> str:
    """What a bag of words reads: the customer's last message and the reply."""
    return f"{example.prompt.messages[-1].content}\n{example.completion_text}"


def score_table(reports: Mapping[str, ScoreReport | None], terms: Mapping[str, Mapping[str, float]]) -> str:
    """The figures for people: a row a way to score, a split a block, and the reward's terms by thumb."""
    lines = []
    for split, report in reports.items():
        if report is None:
            lines.append(f"{split}: no ratings")
            continue
        lines.append(
            f"{f'{split}, {report.num_replies} replies':28}{'AUC':>8}{'right':>8}{'nats':>8}{'calibration error':>20}"
        )
        for name in ("model", "pessimistic", "bag_of_words", "majority"):
            each: ScoreFigures = getattr(report, name)
            shown_auc = "–" if each.auc is None else f"{each.auc:.3f}"
            lines.append(
                f"  {name.replace('_', ' '):26}{shown_auc:>8}{each.accuracy:>8.3f}{each.log_loss:>8.3f}"
                f"{each.reliability.calibration_error:>20.3f}"
            )
        lines.append(
            f"  before its temperature the model's calibration error was {report.uncalibrated.calibration_error:.3f};"
            f" its heads differ by {report.spread:.2f}"
        )
    names = next(iter(terms.values()), {})
    lines += [f"{'reward by term':28}" + "".join(f"{'thumbs ' + thumb:>14}" for thumb in terms)] if terms else []
    lines += [
        f"  {name.replace('_', ' '):26}" + "".join(f"{by[name]:>14.3f}" for by in terms.values()) for name in names
    ]
    return "\n".join(lines)
