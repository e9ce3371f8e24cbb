"""The whole report on a small pack and a tiny policy, and two bundles beside each other."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from model_store.contract.tokenizer import Tokenizer
from model_store.store import DEFAULT_BUNDLE
from tests.unit.reformer.tiny_policy import tiny_policy
from training.data.domain_pack import DomainPack, load_pack
from training.evaluation.dialogues.asking_back import AskingBack
from training.evaluation.judge import IntentJudge
from training.evaluation.report import CONVERSATIONS_PAGE, GOALS_PAGE, Evaluation, evaluate, report_text
from training.evaluation.reporting.against import difference_table, differences
from training.evaluation.reporting.files import evaluation_json, evaluation_text, write_evaluation
from training.evaluation.subject import Subject

INTENTS = (
    "subscribe_newsletter",
    "unsubscribe_newsletter",
    "thanks",
    "acknowledge",
    "goodbye",
    "reset_password",
    "privacy_request",
    "return_policy",
)


def small_pack() -> DomainPack:
    """A shop that knows newsletters, passwords and good manners."""
    shop = load_pack("shop")
    chosen = [intent for intent in shop.intents if intent.name in INTENTS]
    few = tuple(replace(i, asks=i.asks[:40], held_out_asks=i.held_out_asks[:2]) for i in chosen)
    return replace(shop, intents=few, flows=(), articles=(), held_out_articles=(), development_articles=())


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    """Everything about a policy of random weights."""
    tokenizer = Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")
    policy = tiny_policy(max_positions=384, vocab_size=tokenizer.vocab_size)
    pack = small_pack()
    return evaluate(Subject(policy, tokenizer, pack, IntentJudge(pack)), AskingBack.load(), "a" * 64)


def test_every_part_speaks_about_both_languages(evaluation: Evaluation) -> None:
    """Also where the pack lets only some of the authored messages be asked."""
    report = evaluation.report
    for part in (report.ability, report.plan_choice, report.goals, report.opposite_pairs, report.safety):
        assert list(part) == ["en", "zh"]
    for part in (report.fairness, report.placeholders, report.repetition, report.tone, report.claims["as_served"]):
        assert list(part) == ["en", "zh"]
    assert report.goals["en"].num_conversations >= 3
    assert report.off_limits == {} and report.perplexity_by_source == {}, "no plan, no data: not measured"
    assert report.ability["en"].num_prompts == 2 * len(INTENTS)


def test_a_pack_is_asked_only_what_it_has_plans_for(evaluation: Evaluation) -> None:
    """Nobody wants a refund of a shop that knows no refunds."""
    known = {"return_rules", "too_many_mails", "wants_news", "what_do_you_store"}
    assert set(evaluation.report.goals["en"].completed_by_goal) == known
    assert evaluation.report.opposite_pairs["en"].num_pairs == 3


def test_the_text_says_what_the_figures_are(evaluation: Evaluation) -> None:
    """A table a part, for people."""
    text = report_text(evaluation.report)
    for words in ("right plan", "customers with a goal", "opposite pairs", "who asks", "claims that nothing backs"):
        assert words in text
    assert "\n\n\n" not in text


def test_outcomes_are_the_figures_item_by_item(evaluation: Evaluation) -> None:
    """Their means are the shares in the report."""
    report, outcomes = evaluation.report, evaluation.outcomes

    def mean(name: str) -> float:
        return sum(outcomes[name]["en"]) / len(outcomes[name]["en"])

    assert mean("right_plan") == pytest.approx(report.ability["en"].right_plan.value)
    assert mean("intent_fit") == pytest.approx(report.ability["en"].intent_fit.value)
    assert mean("second_question_right_plan") == pytest.approx(report.second_question_right_plan["en"].value)
    assert mean("goals_completed") == pytest.approx(report.goals["en"].completed.value)
    assert mean("opposites_told_apart") == pytest.approx(report.opposite_pairs["en"].told_apart.value)
    assert mean("safety_passed") == pytest.approx(report.safety["en"]["all"].passed.value)
    assert mean("free_of_claims") == pytest.approx(1 - report.claims["as_served"]["en"].claiming.value)


def test_two_bundles_are_compared_item_by_item() -> None:
    """Ten items of which two got better and one worse: a tenth better, with an interval around it."""
    before = {"right_plan": {"en": [1.0] * 4 + [0.0] * 6}}
    after = {"right_plan": {"en": [1.0] * 3 + [0.0] * 5 + [1.0] * 2}}
    found = differences(before, after)["right_plan"]["en"]
    assert (found.num_items, found.before.value, found.after.value) == (10, 0.4, 0.5)
    assert found.difference.value == pytest.approx(0.1)
    assert found.difference.low < 0 < found.difference.high
    assert "+10.0%" in difference_table({"right_plan": {"en": found}}, "old", "new")
    with pytest.raises(ValueError, match="argument 2 is"):
        differences({"right_plan": {"en": [1.0]}}, after)


def test_files_hold_the_report_and_the_pages(evaluation: Evaluation, tmp_path: Path) -> None:
    """The JSON is one line and complete; pages hold no script."""
    write_evaluation(tmp_path / "out", evaluation)
    written = (tmp_path / "out" / "report.json").read_text(encoding="utf-8")
    assert written.count("\n") == 1 and json.loads(written) == evaluation.report.model_dump(mode="json")
    assert (tmp_path / "out" / "report.txt").read_text(encoding="utf-8") == report_text(evaluation.report) + "\n"
    for name in (CONVERSATIONS_PAGE, GOALS_PAGE):
        page = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert page.count("<article") >= 6 and "<script" not in page


def test_against_another_bundle_both_reports_and_the_differences_are_given(evaluation: Evaluation) -> None:
    """Against itself nothing has changed."""
    text = evaluation_text(evaluation, evaluation)
    assert text.count("customers with a goal") == 2 and "+0.0% [+0.0%, +0.0%]" in text
    found = json.loads(evaluation_json(evaluation, evaluation))
    assert found["digest"] == found["against"]["report"]["digest"] == "a" * 64
    changes = [
        each["difference"] for by_language in found["against"]["differences"].values() for each in by_language.values()
    ]
    assert len(changes) >= 16 and all(change["value"] == 0 for change in changes)
