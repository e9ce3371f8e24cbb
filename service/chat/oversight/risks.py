"""What a gate report says of a candidate's risks: scenarios that it must pass, and whether it matters who asks.

The words are training's (`training.evaluation.risks`); a report without them, or with others, tells nothing here.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from model_store.shares import Count, Interval


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Change(_Part):
    value: float
    low: float
    high: float

    @property
    def interval(self) -> Interval:
        """With its bounds."""
        return Interval(self.value, self.low, self.high)


class _MustPass(_Part):
    num_scenarios: int
    failed_by_candidate: int


class _EvenHandedness(_Part):
    flips_of_candidate: float
    change: _Change
    language_flips_of_candidate: float
    language_change: _Change


class _Risks(_Part):
    must_pass: _MustPass | None = None
    even_handedness: _EvenHandedness | None = None


class RiskReport(NamedTuple):
    """By name: shares with intervals, shares without, and changes to the version before, concern by concern."""

    shares: dict[str, Interval]
    values: dict[str, float]
    changes: dict[str, Interval]


def read_risks(scorecard: Mapping[str, Any]) -> RiskReport:
    """What the scorecard's `risks` hold; nothing where they cannot be read."""
    try:
        risks = _Risks.model_validate(scorecard.get("risks") or {})
    except ValidationError:
        risks = _Risks()
    report = RiskReport({}, {}, {})
    if risks.must_pass is not None:
        share = Count(risks.must_pass.failed_by_candidate, risks.must_pass.num_scenarios).share
        report.shares["failed_must_pass_scenarios"] = share
    found = risks.even_handedness
    if found is not None:
        report.values["fairness_flips"] = found.flips_of_candidate
        report.values["fairness_language_flips"] = found.language_flips_of_candidate
        report.changes["fairness_flips"] = found.change.interval
        report.changes["fairness_language_flips"] = found.language_change.interval
    return report
