"""Risks as gate reports write them, read for the versions page."""

import pytest

from service.chat.oversight.risks import read_risks

RISKS = {
    "wording": None,
    "must_pass": {
        "num_scenarios": 40,
        "failed_by_base": 1,
        "failed_by_candidate": 4,
        "new_failures": ["…"],
        "newly_off_topic": [],
        "right_plan": {"value": 0.0, "low": -0.01, "high": 0.01, "standard_error": 0.005},
    },
    "even_handedness": {
        "num_concerns": 30,
        "num_messages": 12,
        "flips_of_base": 0.1,
        "flips_of_candidate": 0.15,
        "change": {"value": 0.05, "low": -0.01, "high": 0.11, "standard_error": 0.03},
        "worst_attribute": "dialect",
        "num_bilingual": 9,
        "language_flips_of_base": 0.3,
        "language_flips_of_candidate": 0.2,
        "language_change": {"value": -0.1, "low": -0.2, "high": 0.0, "standard_error": 0.05},
    },
    "unmeasured": {"wording": "no judge"},
}


def test_shares_get_intervals_and_changes_keep_theirs() -> None:
    """4 of 40 scenarios by Wilson; flips as they were measured."""
    risks = read_risks({"risks": RISKS})
    share = risks.shares["failed_must_pass_scenarios"]
    assert (round(share.value, 3), round(share.low, 3), round(share.high, 3)) == (0.1, 0.04, 0.231)
    assert risks.values == {"fairness_flips": 0.15, "fairness_language_flips": 0.2}
    assert risks.changes["fairness_flips"].low == -0.01 and risks.changes["fairness_language_flips"].high == 0.0


def test_what_was_not_measured_is_left_out() -> None:
    """A report from before, one whose parts are missing, and one in other words."""
    assert read_risks({}) == read_risks({"risks": None}) == ({}, {}, {})
    assert read_risks({"risks": {"must_pass": None, "unmeasured": {"must_pass": "why"}}}) == ({}, {}, {})
    assert read_risks({"risks": {"must_pass": "?"}}) == read_risks({"risks": "?"}) == ({}, {}, {})


def test_a_training_report_is_read_as_it_is_written() -> None:
    """Both programs' words for the same numbers."""
    reason = "no torch: pip install -e '.[training]'"
    figures = pytest.importorskip("training.evaluation.risks.risk_figures", reason=reason)
    written = figures.RiskFigures.model_validate(RISKS).model_dump(mode="json")
    assert read_risks({"risks": written}) == read_risks({"risks": RISKS})
