"""Risks before and after, on authored literals: what is newly broken, who is treated otherwise, what is worth gold."""

import pytest

from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from tests.unit.stages.feedback_workspace import make_tokenizer
from training.evaluation.authored.fairness import Concern, HeardConcern
from training.evaluation.authored.safety_scenarios import Scenario, ScenarioReply
from training.evaluation.held_out import HeldOutPrompt, SampledReply
from training.evaluation.paired_replies import DrawnReplies
from training.evaluation.risks.even_handedness import compare_concerns, language_flips
from training.evaluation.risks.must_pass import compare_scenarios
from training.evaluation.risks.serving_figures import median_ratio
from training.evaluation.risks.wording_risks import gold_by_prompt, measure_wording_risks
from training.evaluation.thumbs_judge import ThumbsJudge


def scenario_reply(message: str, plan: str, text: str) -> ScenarioReply:
    """A reply to a scenario in which only `human_agent` is right."""
    return ScenarioReply(Scenario("probes", "en", message, None, frozenset({"human_agent"}), ()), plan, text)


def test_what_does_harm_now_and_did_not_before_is_a_new_failure() -> None:
    """A number of its own is harm; a wrong plan is not; what was broken before is not new."""
    base = [
        scenario_reply("one", "human_agent", "I hand you over."),
        scenario_reply("two", "human_agent", "I hand you over."),
        scenario_reply("three", "thanks", "Call 5."),
    ]
    candidate = [
        scenario_reply("one", "human_agent", "Call 12345."),
        scenario_reply("two", "thanks", "You are welcome."),
        scenario_reply("three", "thanks", "Call 7."),
    ]
    found = compare_scenarios(base, candidate)
    assert (found.new_failures, found.newly_off_topic) == (("one",), ("two",))
    assert (found.failed_by_base, found.failed_by_candidate, found.num_scenarios) == (1, 3, 3)
    with pytest.raises(ValueError, match="no scenario"):
        compare_scenarios([], [])


def heard(language: str, attribute: str, plan: str, **topics: str) -> HeardConcern:
    """A concern and the topic that each group got."""
    concern = Concern(language, attribute, frozenset({plan}), dict.fromkeys(topics, ("a", "b")))
    return HeardConcern(concern, {group: (topic, topic) for group, topic in topics.items()})


def test_a_candidate_that_hears_groups_differently_flips_more_plans() -> None:
    """Two of three pairs differ in one of four concerns: a sixth more than none; and the language matters as much."""
    plans, languages = ("refund", "track"), {"en": "abc", "zh": "def"}
    base = [
        heard(language, "name", plan, **dict.fromkeys(groups, plan))
        for language, groups in languages.items()
        for plan in plans
    ]
    candidate = [heard("en", "name", "refund", a="refund", b="refund", c="thanks"), *base[1:]]
    found = compare_concerns(base, candidate)
    assert (found.flips_of_base, found.num_concerns, found.num_bilingual) == (0, 4, 2)
    assert found.change.value == pytest.approx(2 / 3 / 4) and found.worst_attribute == "name"
    assert found.language_change.value == pytest.approx(1 / 3 / 2)
    with pytest.raises(ValueError, match="two pairs"):
        compare_concerns(base[:2], candidate[:2])


def test_the_same_concern_in_two_languages_should_get_the_same_plan() -> None:
    """All pairs of groups across the languages count; concerns of one language alone do not."""
    english = heard("en", "age", "refund", a="refund", b="thanks")
    chinese = heard("zh", "age", "refund", c="refund", d="refund")
    assert language_flips([english, chinese, heard("en", "dialect", "refund", a="x", b="y")]) == [0.5]


def test_a_message_counts_once_for_the_language_whatever_is_mentioned_in_it() -> None:
    """Two attributes of one concern are one figure, a dialect another; what nobody in particular says is beside it."""
    topics = {("age", "en"): "refund", ("age", "zh"): "refund", ("name", "en"): "refund", ("name", "zh"): "thanks"}
    topics |= {("dialect", "en"): "x", ("dialect", "zh"): "y"}
    versions = [heard(lang, attribute, "refund", a=topic, b=topic) for (attribute, lang), topic in topics.items()]
    assert sorted(language_flips(versions)) == [0.5, 1.0]
    found = compare_concerns(versions, versions, ([0.0, 1.0], [1.0, 1.0]))
    assert (found.num_bilingual, found.num_concerns) == (4, 6)
    assert found.language_flips_of_base == pytest.approx(2.5 / 4) and found.language_change.value == pytest.approx(0.25)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """The shop's words, without plans."""
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


def drawn(*texts: str, ended: bool = True) -> DrawnReplies:
    """One round of replies, all of which fit their plan."""
    prompt = HeldOutPrompt("refund", "returns", "en", (Message(Role.USER, "About <ORDER_ID>"),), ())
    replies = tuple(SampledReply(prompt, (300, 2), text, ended) for text in texts)
    return DrawnReplies((replies,), (tuple(True for _ in texts),))


def test_liking_is_worth_gold_only_where_the_reply_is_sound(tokenizer: Tokenizer) -> None:
    """A judge without an opinion likes all by half; a reply with a number of its own or without an end is worthless."""
    judge = ThumbsJudge([])
    assert gold_by_prompt(drawn("We look into it.", "It takes 3 days."), judge, tokenizer) == [0.5, 0.0]
    assert gold_by_prompt(drawn("We look into it.", ended=False), judge, tokenizer) == [0.0]


def test_misused_placeholders_and_praise_are_counted(tokenizer: Tokenizer) -> None:
    """`<ORDER_ID>` was given, `<EMAIL_1>` was not."""
    base = drawn("We look into <ORDER_ID>.", "We look into it.")
    candidate = drawn("We write to <EMAIL>.", "What a brilliant question! You are so smart.")
    found = measure_wording_risks(base, candidate, ThumbsJudge([]), tokenizer)
    assert found.slot_faithfulness.value == 0.5 and found.misused == ("We write to <EMAIL>.",)
    assert found.flattery.value == 0.5 and found.bias.value == 0
    assert found.gold_gain.value <= 0


def test_times_are_compared_pair_by_pair_by_their_median() -> None:
    """One slow run does not decide; the interval holds the median."""
    found = median_ratio([1.0] * 5, [1.1, 1.1, 1.1, 9.0, 1.0])
    assert found.value == 1.1 and found.low <= 1.1 <= found.high
    with pytest.raises(ValueError, match="at least one pair"):
        median_ratio([], [])
