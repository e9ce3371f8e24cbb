"""The gate's report: every rule with what was measured and what was asked for; the file `gate.json` of a bundle."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

from training.evaluation.figures import Figure
from training.evaluation.foresight.off_policy import OffPolicyEstimate
from training.evaluation.risks.serving_figures import ServingFigures
from training.evaluation.scorecard import Scorecard

Bound = Literal["value", "low", "high"]
LATENCY = "latency"


class Rule(BaseModel):
    """One rule's outcome: what was found, what was asked for, and what that means."""

    model_config = ConfigDict(frozen=True)

    name: str
    passed: bool
    sentence: str
    measured: float | None = None
    """None where it could not be measured: then the rule is refused, unless the configuration lets it pass."""
    low: float | None = None
    high: float | None = None
    """The 95 % interval, where there is one."""
    at_least: float | None = None
    at_most: float | None = None
    decides: Bound = "value"
    """Which of the three numbers is held against the thresholds."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_left_out(self) -> bool:
        """Whether it passed without having been measured; in the file, too. A latency was, and is only not kept."""
        return self.passed and self.measured is None and self.name != LATENCY


class RatingsPlan(BaseModel):
    """How many ratings a gain takes to show once people see the candidate; see `model_store.shares.RatingsNeeded`."""

    model_config = ConfigDict(frozen=True)

    gain: float
    rate: float
    share: float
    always_valid: int
    fixed_sample: int
    sentence: str


class SinceFirst(BaseModel):
    """The candidate against the first version of its line, where that is not its base: what all versions since have
    lost together."""

    model_config = ConfigDict(frozen=True)

    digest: str
    num_versions: int
    """From the first one to the candidate, the first not counted."""
    scorecard: Scorecard
    """With the first version as base."""


class GateReport(BaseModel):
    """The file `gate.json`."""

    model_config = ConfigDict(frozen=True)

    accepted: bool
    rules: tuple[Rule, ...]
    scorecard: Scorecard
    since_first: SinceFirst | None = None
    serving: ServingFigures | None = None
    off_policy: OffPolicyEstimate | None = None
    """No rule: it speaks only where enough ratings are on record."""
    ratings_plan: RatingsPlan | None = None

    def without_times(self) -> "GateReport":
        """The same without what a clock measured, for a bundle: the same run must give the same digest.

        The numbers stay in the run's own `serving.json`.
        """
        rules = tuple(
            rule.model_copy(update={"measured": None, "low": None, "high": None, "sentence": _fast_enough(rule)})
            if rule.name == LATENCY and rule.measured is not None
            else rule
            for rule in self.rules
        )
        serving = self.serving.model_copy(update={"latency_ratio": None}) if self.serving else None
        return self.model_copy(update={"rules": rules, "serving": serving})


def _fast_enough(rule: Rule) -> str:
    return (
        f"The graph takes at most {rule.at_most:.2f} times as long as the base's for the same tokens; how long, the "
        "run itself says."
    )


def held(
    name: str,
    sentence: str,
    number: float | Figure,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    decides: Bound = "value",
) -> Rule:
    """A rule about a number that was measured; what is no number is refused."""
    figure = number if isinstance(number, Figure) else None
    deciding = float(getattr(number, decides)) if figure else float(number)  # type: ignore[arg-type]
    # NaN compares false with everything, so that it is refused by either threshold.
    passed = (at_least is None or deciding >= at_least) and (at_most is None or deciding <= at_most)
    return Rule(
        name=name,
        passed=passed,
        sentence=sentence,
        measured=figure.value if figure else deciding,
        low=figure.low if figure else None,
        high=figure.high if figure else None,
        at_least=at_least,
        at_most=at_most,
        decides=decides,
    )
