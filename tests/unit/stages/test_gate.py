"""The gate: every rule can refuse by itself, and says so in a sentence with the figures."""

from pathlib import Path

import pytest

from tests.unit.stages.feedback_workspace import make_config, make_workspace
from training.config import GateConfig
from training.evaluation.figures import Change, Figure
from training.evaluation.scorecard import Changes, PolicyFigures, SafetyFigures, Scorecard
from training.stages import gate
from training.stages.gate import decide


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
    }
    return Scorecard.model_validate({**fields, **others})


LOST = Change(value=-0.1, low=-0.12, high=-0.08, standard_error=0.01)


def test_an_honest_improvement_is_accepted_with_all_its_reasons() -> None:
    """Every rule speaks, so that a person can see what was looked at."""
    decision = decide(scorecard(), GateConfig())
    assert decision.accepted
    assert len(decision.reasons) == len(decision.rules) == 13


@pytest.mark.parametrize(
    ("rule", "candidate", "others", "words"),
    [
        ("win_rate", {}, {"win_rate": figure(0.5, low=0.44)}, "at least 44.0%"),
        ("win_rate", {}, {"judge_has_opinion": False, "num_judge_ratings": 3}, "Only 3 ratings"),
        ("kl", {}, {"kl": figure(12.2)}, "12.20 nats"),
        ("right_plan", {"right_plan": figure(0.7)}, {"changes": changes(right_plan=LOST)}, "70.0% of the replies"),
        (
            "wording_fit",
            {"wording_fit": figure(0.7)},
            {"changes": changes(wording_fit=LOST)},
            "70.0% of the replies",
        ),
        (
            "language_match",
            {"language_match": figure(0.9)},
            {"changes": changes(language_match=LOST)},
            "90.0% of the replies are in",
        ),
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
    rule: str, candidate: dict[str, object], others: dict[str, object], words: str
) -> None:
    """Only that rule fails, and its sentence holds the figure that was found."""
    decision = decide(scorecard(candidate, **others), GateConfig())
    assert [failed.name for failed in decision.rules if not failed.passed] == [rule]
    assert not decision.accepted
    assert len(decision.reasons) == 1 and words in decision.reasons[0]


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        (Change(value=-0.02, low=-0.029, high=-0.011, standard_error=0.005), True),
        (Change(value=0.0, low=-0.04, high=0.04, standard_error=0.02), False),
        (Change(value=-0.04, low=-0.09, high=0.01, standard_error=0.025), False),
        (Change(value=0.05, low=0.01, high=0.09, standard_error=0.02), True),
    ],
)
def test_a_loss_beyond_the_allowed_must_be_ruled_out(change: Change, accepted: bool) -> None:
    """The interval decides, not what was found: a small loss known well passes, no loss known badly does not."""
    for name in Changes.model_fields:
        decision = decide(scorecard(changes=changes(**{name: change})), GateConfig())
        assert decision.accepted is accepted
        (sentence,) = (rule.sentence for rule in decision.rules if rule.name == name)
        assert f"standard error {100 * change.standard_error:.1f}" in sentence and "300 prompts" in sentence


def test_a_figure_that_is_no_number_is_refused() -> None:
    """NaN compares false with everything; no rule may take that for a pass."""
    nan = float("nan")
    unknown = changes(right_plan=Change(value=nan, low=nan, high=nan, standard_error=nan))
    for candidate, others in (
        ({"perplexity": nan}, {}),
        ({}, {"kl": figure(nan)}),
        ({}, {"win_rate": figure(nan)}),
        ({}, {"changes": unknown}),
    ):
        assert not decide(scorecard(dict(candidate), **others), GateConfig()).accepted


def test_the_stage_keeps_its_verdict_in_a_file_that_travels_with_the_version(tmp_path: Path) -> None:
    """A refusal is a result, not an exception."""
    config = make_config()
    workspace = make_workspace(tmp_path / "w", config)
    workspace.write_text("scorecard.json", scorecard(kl=figure(12.2)).model_dump_json())
    result = gate.run(config, workspace)
    assert result["accepted"] is False and "12.20 nats" in result["reasons"][0]
    report = gate.GateReport.model_validate_json(workspace.path("gate.json").read_text())
    assert not report.accepted and report.scorecard.kl.value == 12.2
