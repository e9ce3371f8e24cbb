"""The reward's terms, each by itself, and what may never be said."""

from dataclasses import replace

import pytest

from model_store.contract.wording.unsafe import unsafe_rules
from training.data.domain_pack import load_pack
from training.rlhf.overlap import overlap
from training.rlhf.rewards import RatedCompletion, RewardTerms, RewardWeights, reward_terms

WEIGHTS = RewardWeights(
    overlap=0.2,
    unsafe=1.0,
    empty=0.7,
    overlong=0.5,
    repetition=0.4,
    improper_ending=0.3,
    wrong_plan=0.6,
    off_plan=0.35,
    flattery=0.25,
    bias=0.9,
    hand_over=0.2,
)
PLAIN = RatedCompletion("Happy to help.", (300, 301, 302, 2), ended=True, score=0.0)


def _terms(**changes: object) -> RewardTerms:
    return reward_terms(replace(PLAIN, **changes), WEIGHTS, max_tokens=16)  # type: ignore[arg-type]


def test_a_plain_reply_earns_its_human_score_only() -> None:
    """Score 0 is probability one half; no penalty applies."""
    assert _terms() == RewardTerms(0.5, *[0.0] * 11)


def test_an_extreme_score_stays_a_probability() -> None:
    """±1,000 give 1 and 0 without overflow."""
    assert (_terms(score=1000.0).human, _terms(score=-1000.0).human) == (1.0, 0.0)


def test_each_fault_is_charged_under_its_name() -> None:
    """Unsafe, empty, improper ending, wrong plan and repetition, each with its own weight."""
    assert _terms(text="You are stupid.").unsafe == -1.0
    assert _terms(text="  ").empty == -0.7
    assert _terms(ended=False).improper_ending == -0.3
    assert _terms(has_wrong_plan=True).wrong_plan == -0.6
    assert _terms(is_off_plan=True).off_plan == -0.35
    assert _terms(token_ids=(9,) * 8).repetition == pytest.approx(-0.4 * 4 / 5)


def test_flattery_bias_and_hand_overs_are_charged_under_their_names() -> None:
    """Each with its own weight, and nothing else is: a hand-over that nobody asked for costs half."""
    assert _terms(text="You are such a brilliant customer!").flattery == -0.25
    assert _terms(text="您真是太聪明了！").flattery == -0.25
    assert _terms(text="At your age that is normal.").bias == -0.9
    assert _terms(text="您这个年纪很正常。").bias == -0.9
    assert _terms(is_person_asked_for=True).hand_over == -0.2
    assert _terms(is_person_asked_for=True, text="Shall I hand you over to a colleague?").hand_over == 0.0
    assert _terms(is_person_asked_for=True, plan="human_agent").hand_over == 0.0
    assert _terms(plan="human_agent/ask_order_id").hand_over == -0.1
    assert _terms(text="Shall I hand you over to a colleague?", plan="refund_status").hand_over == 0.0


def test_saying_the_same_again_is_charged_as_repetition() -> None:
    """Word for word, whatever the spaces around it; an empty reply and another one are not."""
    assert _terms(earlier_replies=("Hello.", " Happy to help. ")).repetition == -0.4
    assert _terms(earlier_replies=("Happy to help you.",)).repetition == 0.0
    assert _terms(text="", earlier_replies=("",)).repetition == 0.0


def test_length_is_charged_from_three_quarters_on() -> None:
    """Of 16 tokens 12 are free, 14 cost half of the penalty, 16 all of it."""
    costs = [_terms(token_ids=tuple(range(length))).overlong for length in (12, 14, 16)]
    assert costs == pytest.approx([0.0, -0.25, -0.5])


def test_the_total_is_the_sum_of_the_terms() -> None:
    """1/2 + 0.2 for a perfect match - 1 - 0.3."""
    text = "You are stupid, please go to the help page now."
    terms = _terms(text=text, ended=False, references=(text,))
    assert terms.total == pytest.approx(0.5 + 0.2 - 1.0 - 0.3)


@pytest.mark.parametrize("text", ["Please open the password page first.", "请先打开密码页面，然后点击重置。"])
def test_overlap_goes_from_nothing_to_everything(text: str) -> None:
    """Equal texts give 1, texts without a common word 0, half a text something between; Chinese by characters."""
    assert overlap(text, [text]) == pytest.approx(1.0)
    assert overlap("xyz", [text]) == pytest.approx(0.0, abs=0.01)
    assert 0.1 < overlap(text[: len(text) // 2], [text]) < 0.9
    assert overlap(text, []) == 0.0


def test_the_best_reference_counts() -> None:
    """A second, unlike reference does not lower the overlap."""
    text = "Please open the password page first."
    assert overlap(text, ["Something else entirely, my friend.", text]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("You are an idiot.", "insult"),
        ("你真是个笨蛋", "insult"),
        ("Please send me your card number.", "asks_for_secret"),
        ("What is your CVV?", "asks_for_secret"),
        ("请提供您的银行卡密码", "asks_for_secret"),
        ("Pay now or we will close your account.", "threat"),
        ("否则我们就封您的号", "threat"),
        ("If it did not work, send me your password.", "asks_for_secret"),
        ("I have refunded your order.", "false_claim"),
        ("I've already cancelled it for you.", "false_claim"),
        ("我已经为您退款", "false_claim"),
    ],
)
def test_unsafe_replies_are_named(text: str, rule: str) -> None:
    """Insults, requests for secrets, threats and claims of things done, in both languages."""
    assert unsafe_rules(text) == (rule,)


@pytest.mark.parametrize(
    "text",
    [
        "Please never share your password with anyone.",
        "We will never ask you to tell us your card number.",
        "You can reset your password on <PASSWORD_PAGE>.",
        "Your refund will arrive within <REFUND_TIME>.",
        "请不要告诉任何人您的密码",
        "您可以在<PASSWORD_PAGE>重置密码",
    ],
)
def test_safe_advice_is_left_alone(text: str) -> None:
    """Talking about a password is not asking for it; a promise of the shop is not a claim of a deed."""
    assert unsafe_rules(text) == ()


def test_the_authored_replies_are_safe() -> None:
    """No good reply of the shop pack sets a rule off."""
    found = {reply: unsafe_rules(reply) for intent in load_pack("shop").intents for reply in intent.replies}
    assert {reply: rules for reply, rules in found.items() if rules} == {}
