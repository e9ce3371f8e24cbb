"""What all versions since the first have lost together: rules that no single step would break."""

import pytest

from tests.unit.stages.scorecards import (
    changes,
    figure,
    must_pass,
    policy_figures,
    risks,
    scorecard,
    serving,
    swaps,
    wording,
)
from training.config import GateConfig
from training.evaluation.figures import Change
from training.evaluation.reporting.gate_report import SinceFirst
from training.evaluation.scorecard import SafetyFigures, Scorecard
from training.stages.gate import GateDecision, decide

FIRST = "f" * 64


def after(card: Scorecard, **settings: object) -> GateDecision:
    """The decision about a candidate that is better than its base, and measured as `card` against the first."""
    found = SinceFirst(digest=FIRST, num_versions=3, scorecard=card)
    return decide(scorecard(), serving(), GateConfig.model_validate(settings), found)


def change(value: float) -> Change:
    """Known to half a point."""
    return Change(value=value, low=value - 0.005, high=value + 0.005, standard_error=0.0025)


def lost(card: Scorecard, **settings: object) -> list[str]:
    """Rules that refuse such a candidate."""
    return [rule.name for rule in after(card, **settings).rules if not rule.passed]


def test_the_first_step_is_held_against_its_base_alone() -> None:
    """There is nothing to add up, and no rule says so twice."""
    assert not [rule for rule in decide(scorecard(), serving(), GateConfig()).rules if rule.name.startswith("total")]


def test_what_was_gained_step_by_step_passes_and_every_rule_says_since_when() -> None:
    """Fifteen rules more, none about liking, speed or what has a bound of its own."""
    decision = after(scorecard())
    totals = [rule for rule in decision.rules if rule.name.startswith("total_")]
    assert decision.accepted and len(totals) == 15
    assert all(rule.sentence.startswith("Since version ffffffffffff, 3 versions ago: ") for rule in totals)
    assert not {"total_win_rate", "total_kl", "total_latency", "total_gold_gain"} & {rule.name for rule in totals}


@pytest.mark.parametrize(
    ("rule", "card"),
    [
        ("right_plan", scorecard(changes=changes(right_plan=change(-0.06)))),
        ("wording_fit", scorecard(changes=changes(wording_fit=change(-0.06)))),
        ("language_match", scorecard(changes=changes(language_match=change(-0.06)))),
        ("perplexity", scorecard({"perplexity": 4.5})),
        ("length", scorecard({"num_tokens": figure(25.0)})),
        ("length", scorecard({"num_tokens": figure(54.0)})),
        ("distinct2", scorecard({"distinct2": 0.1})),
        ("unsafe", scorecard({"unsafe": figure(0.021)})),
        ("invented_digits", scorecard({"invented_digits": figure(0.021)})),
        ("flattery", scorecard(**risks(**wording(flattery=change(0.021))))),
        ("bias", scorecard(**risks(**wording(bias=change(0.021))))),
        ("must_pass", scorecard(**risks(**must_pass(new_failures=("x",))))),
        ("must_pass_plans", scorecard(**risks(**must_pass(newly_off_topic=tuple("abcde"))))),
        ("fairness", scorecard(**risks(**swaps(change=change(0.016))))),
        ("language_fairness", scorecard(**risks(**swaps(language_change=change(0.016))))),
        (
            "safety_scenarios",
            scorecard(
                safety=SafetyFigures(num_scenarios=24, failed_by_base=2, failed_by_candidate=5, unsafe_replies=())
            ),
        ),
    ],
)
def test_small_losses_that_add_up_are_refused_by_name_and_say_what_to_do(rule: str, card: Scorecard) -> None:
    """No step lost too much; together they did. Who wants it so names another first version."""
    decision = after(card)
    (broken,) = (each for each in decision.rules if not each.passed)
    assert broken.name == f"total_{rule}" and "gate.first_version" in broken.sentence


def test_together_they_may_lose_twice_what_one_may() -> None:
    """Four points since the first are too much for one step, and not for all; the allowance is a setting."""
    card = scorecard(changes=changes(right_plan=change(-0.04)))
    assert not decide(card, serving(), GateConfig()).accepted
    assert lost(card) == [] and lost(card, total_allowance=1.0) == ["total_right_plan"]
    short = scorecard({"num_tokens": figure(27.0)})
    assert lost(short) == [] and lost(short, total_allowance=1.5) == ["total_length"]


def test_what_cannot_be_measured_against_the_first_is_refused_unless_it_is_waived() -> None:
    """By the name that the rule has for a single step."""
    card = scorecard(risks={"unmeasured": {"even_handedness": "no plans"}, **wording(), **must_pass()})
    assert lost(card) == ["total_fairness", "total_language_fairness"]
    assert lost(card, waived_rules=("fairness", "language_fairness")) == []


def test_a_score_against_the_first_has_that_one_as_base() -> None:
    """Ratios are of what the first version said, not of the version before."""
    rules = {rule.name: rule for rule in after(scorecard(base=policy_figures(num_tokens=figure(50.0)))).rules}
    assert rules["length"].measured == 1.0 and rules["total_length"].measured == pytest.approx(0.8)
