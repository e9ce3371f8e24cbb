"""The gate: every rule can refuse by itself, and says so in a sentence with the figures."""

from pathlib import Path

import pytest

from tests.unit.stages.feedback_workspace import make_config, make_workspace
from training.config import GateConfig
from training.evaluation.figures import Figure
from training.evaluation.scorecard import PolicyFigures, SafetyFigures, Scorecard
from training.stages import gate
from training.stages.gate import decide


def figure(value: float, low: float | None = None) -> Figure:
    """A figure whose interval does not matter, but for a lower bound."""
    return Figure(value=value, low=value if low is None else low, high=value)


def policy_figures(**changes: object) -> PolicyFigures:
    """A good policy's figures but for `changes`."""
    fields: dict[str, object] = {
        "intent_fit": figure(0.8),
        "language_match": figure(0.99),
        "proper_endings": figure(0.99),
        "unsafe": figure(0.0),
        "invented_digits": figure(0.0),
        "num_tokens": figure(40.0),
        "distinct2": 0.3,
        "perplexity": 4.0,
    }
    return PolicyFigures.model_validate({**fields, **changes})


def scorecard(candidate: dict[str, object] | None = None, **changes: object) -> Scorecard:
    """An honest improvement but for `changes`."""
    fields: dict[str, object] = {
        "num_prompts": 300,
        "base": policy_figures(),
        "candidate": policy_figures(**(candidate or {})),
        "win_rate": figure(0.6, low=0.55),
        "num_judge_ratings": 200,
        "judge_has_opinion": True,
        "kl": figure(1.2),
        "safety": SafetyFigures(num_scenarios=24, failed_by_base=2, failed_by_candidate=2, unsafe_replies=()),
        "judge_ceiling": 0.74,
    }
    return Scorecard.model_validate({**fields, **changes})


def test_an_honest_improvement_is_accepted_with_all_its_reasons() -> None:
    """Every rule speaks, so that a person can see what was looked at."""
    decision = decide(scorecard(), GateConfig())
    assert decision.accepted
    assert len(decision.reasons) == len(decision.rules) == 12


@pytest.mark.parametrize(
    ("rule", "candidate", "changes", "words"),
    [
        ("win_rate", {}, {"win_rate": figure(0.5, low=0.44)}, "at least 44.0%"),
        ("win_rate", {}, {"judge_has_opinion": False, "num_judge_ratings": 3}, "Only 3 ratings"),
        ("kl", {}, {"kl": figure(12.2)}, "12.20 nats"),
        ("intent_fit", {"intent_fit": figure(0.7)}, {}, "70.0% of the replies answer"),
        ("language_match", {"language_match": figure(0.9)}, {}, "90.0% of the replies are in"),
        ("perplexity", {"perplexity": 5.0}, {}, "1.25 times"),
        ("length", {"num_tokens": figure(90.0)}, {}, "2.25 times"),
        ("length", {"num_tokens": figure(10.0)}, {}, "0.25 times"),
        ("distinct2", {"distinct2": 0.1}, {}, "0.33 times"),
        ("proper_endings", {"proper_endings": figure(0.75)}, {}, "75.0% of the replies end"),
        ("unsafe", {"unsafe": figure(0.02)}, {}, "2.0% of the replies break"),
        ("invented_digits", {"invented_digits": figure(0.05)}, {}, "5.0% of the replies make up"),
        (
            "safety_unsafe",
            {},
            {"safety": SafetyFigures(num_scenarios=24, failed_by_base=2, failed_by_candidate=2, unsafe_replies=("x",))},
            "1 of 24 replies",
        ),
        (
            "safety_scenarios",
            {},
            {"safety": SafetyFigures(num_scenarios=24, failed_by_base=2, failed_by_candidate=9, unsafe_replies=())},
            "9 of 24 delicate",
        ),
    ],
)
def test_each_rule_refuses_by_itself(
    rule: str, candidate: dict[str, object], changes: dict[str, object], words: str
) -> None:
    """Only that rule fails, and its sentence holds the figure that was found."""
    decision = decide(scorecard(candidate, **changes), GateConfig())
    assert [failed.name for failed in decision.rules if not failed.passed] == [rule]
    assert not decision.accepted
    assert len(decision.reasons) == 1 and words in decision.reasons[0]


def test_a_figure_that_is_no_number_is_refused() -> None:
    """NaN compares false with everything; no rule may take that for a pass."""
    nan = float("nan")
    for candidate, changes in (({"perplexity": nan}, {}), ({}, {"kl": figure(nan)}), ({}, {"win_rate": figure(nan)})):
        assert not decide(scorecard(dict(candidate), **changes), GateConfig()).accepted


def test_the_stage_keeps_its_verdict_in_a_file_that_travels_with_the_version(tmp_path: Path) -> None:
    """A refusal is a result, not an exception."""
    config = make_config()
    workspace = make_workspace(tmp_path / "w", config)
    workspace.write_text("scorecard.json", scorecard(kl=figure(12.2)).model_dump_json())
    result = gate.run(config, workspace)
    assert result["accepted"] is False and "12.20 nats" in result["reasons"][0]
    report = gate.GateReport.model_validate_json(workspace.path("gate.json").read_text())
    assert not report.accepted and report.scorecard.kl.value == 12.2
