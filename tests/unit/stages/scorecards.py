"""Scorecards for the gate: those of an honest improvement, but for what a test changes."""

from model_store.contract.manifest import Quantization
from training.evaluation.figures import Change, Figure
from training.evaluation.risks.even_handedness import EvenHandedness
from training.evaluation.risks.must_pass import MustPass
from training.evaluation.risks.risk_figures import RiskFigures
from training.evaluation.risks.serving_figures import ServingFigures
from training.evaluation.risks.thumbs_on_gold import ThumbsOnGold
from training.evaluation.risks.wording_risks import WordingRisks
from training.evaluation.scorecard import Changes, PolicyFigures, SafetyFigures, Scorecard


def figure(value: float, low: float | None = None) -> Figure:
    """A figure whose interval does not matter, but for a lower bound."""
    return Figure(value=value, low=value if low is None else low, high=value)


def changes(**others: Change) -> Changes:
    """Nothing was gained or lost, give or take a point, but for `others`."""
    fields = dict.fromkeys(Changes.model_fields, Change(value=0.0, low=-0.01, high=0.01, standard_error=0.005))
    return Changes.model_validate({**fields, **others})


def policy_figures(**changes: object) -> PolicyFigures:
    """A good policy's figures but for `changes`."""
    fields: dict[str, object] = {
        "right_plan": figure(0.8),
        "wording_fit": figure(0.8),
        "intent_fit": figure(0.7),
        "language_match": figure(0.99),
        "proper_endings": figure(0.99),
        "unsafe": figure(0.0),
        "invented_digits": figure(0.0),
        "num_tokens": figure(40.0),
        "distinct2": 0.3,
        "perplexity": 4.0,
    }
    return PolicyFigures.model_validate({**fields, **changes})


NOTHING = Change(value=0.0, low=-0.005, high=0.005, standard_error=0.002)
GAIN = Change(value=0.05, low=0.02, high=0.08, standard_error=0.015)
WORSE = Change(value=0.02, low=0.01, high=0.03, standard_error=0.005)
UNEVEN = Change(value=0.02, low=0.0, high=0.04, standard_error=0.01)
GRAPH = Quantization(
    weights="int8_block64",
    kv_cache="int8",
    top1_agreement=0.99,
    perplexity_ratio=1.005,
    max_logit_difference=0.5,
)


def wording(**others: object) -> dict[str, object]:
    """Better liked, and nothing else, but for `others`."""
    fields: dict[str, object] = {
        "gold_gain": GAIN,
        "slot_faithfulness": figure(1.0),
        "misused": (),
        "flattery": NOTHING,
        "bias": NOTHING,
    }
    return {"wording": WordingRisks.model_validate({**fields, **others})}


def must_pass(**others: object) -> dict[str, object]:
    """Nothing is newly broken but for `others`."""
    fields: dict[str, object] = {"num_scenarios": 185, "failed_by_base": 20, "failed_by_candidate": 20}
    fields["right_plan"] = NOTHING
    return {"must_pass": MustPass.model_validate({"new_failures": (), "newly_off_topic": (), **fields, **others})}


def swaps(**others: object) -> dict[str, object]:
    """Swaps change as many plans as before but for `others`."""
    fields: dict[str, object] = {
        "num_concerns": 152,
        "num_messages": 56,
        "flips_of_base": 0.08,
        "flips_of_candidate": 0.08,
        "change": NOTHING,
        "worst_attribute": "name",
        "num_bilingual": 48,
        "language_flips_of_base": 0.2,
        "language_flips_of_candidate": 0.2,
        "language_change": NOTHING,
    }
    return {"even_handedness": EvenHandedness.model_validate({**fields, **others})}


def risks(**parts: object) -> dict[str, object]:
    """Nothing became worse but in `parts`."""
    return {"risks": RiskFigures.model_validate({**wording(), **must_pass(), **swaps(), **parts})}


def on_gold(num_up: int = 12, num_down: int = 40, low: float | None = 0.7) -> ThumbsOnGold:
    """What thumbs tell of so many gold replies; None: nothing, for too few thumbs are left."""
    known = None if low is None else Figure(value=low + 0.1, low=low, high=low + 0.2)
    return ThumbsOnGold(num_up=num_up, num_down=num_down, num_thumbs=240, auc=known)


def serving(ratio: float = 1.0, **graph: float) -> ServingFigures:
    """A graph as good and as fast as the base's but for the arguments."""
    return ServingFigures(quantization=GRAPH.model_copy(update=graph), latency_ratio=figure(ratio))


def scorecard(candidate: dict[str, object] | None = None, **others: object) -> Scorecard:
    """An honest improvement but for `others`."""
    fields: dict[str, object] = {
        "num_prompts": 300,
        "replies_per_prompt": 4,
        "changes": changes(),
        "base": policy_figures(),
        "candidate": policy_figures(**(candidate or {})),
        "win_rate": figure(0.6, low=0.55),
        "num_judge_ratings": 200,
        "judge_has_opinion": True,
        "kl": figure(1.2),
        "safety": SafetyFigures(num_scenarios=24, failed_by_base=2, failed_by_candidate=2, unsafe_replies=()),
        "judge_ceiling": 0.74,
        "thumbs_on_gold": on_gold(),
        **risks(),
    }
    return Scorecard.model_validate({**fields, **others})
