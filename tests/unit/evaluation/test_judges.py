"""The judges: of intents, of languages, of numbers, and of what people like."""

import pytest

from model_store.contract.conversation import Message, Role
from training.data.domain_pack import load_pack
from training.data.feedback_rows import Example, Split
from training.evaluation.judge import IntentJudge, has_own_digit, language_of, pack_judge
from training.evaluation.thumbs_judge import ThumbsJudge, independent_examples


@pytest.fixture(scope="module")
def judge() -> IntentJudge:
    """The shop's judge."""
    return pack_judge("shop")


def test_replies_to_another_question_are_found_out(judge: IntentJudge) -> None:
    """Of the authored wrong-intent replies one in twenty may pass, of the good ones one in a hundred may fail."""
    pack = load_pack("shop")
    wrong = [(text, i.name) for i in pack.intents for text, reason in i.bad_replies if reason == "wrong_intent"]
    good = [(text, i.name) for i in pack.intents for text in i.replies]
    num_passed = sum(judge.fits([name for _, name in wrong], [text for text, _ in wrong]))
    num_right = sum(judge.fits([name for _, name in good], [text for text, _ in good]))
    assert num_passed <= 0.05 * len(wrong)
    assert num_right >= 0.99 * len(good)


def test_the_judge_says_how_often_it_is_right_itself(judge: IntentJudge) -> None:
    """Far above chance, which is one in 62, and below perfection: unseen replies are hard, and what is replied to an
    answer of the customer's often does not name the matter.
    """
    assert 0.5 < judge.ceiling() < 0.95


def test_no_reply_has_no_verdict(judge: IntentJudge) -> None:
    """An empty list in, an empty list out."""
    assert judge.intents_of([]) == []


def test_placeholders_do_not_decide_the_language() -> None:
    """Four Chinese characters among two long placeholder names are Chinese."""
    assert language_of("请看<ORDERS_PAGE>或<SUPPORT_EMAIL>。") == "zh"
    assert language_of("Please look at <ORDERS_PAGE>.") == "en"


def test_only_numbers_of_its_own_count_against_a_reply() -> None:
    """`<ORDER_ID_2>` is the customer's; "30 days" is made up."""
    assert not has_own_digit("We look into <ORDER_ID_2>.")
    assert has_own_digit("You can return it within 30 days.")


def example(number: int, text: str, *, is_up: bool, split: Split = "validation") -> Example:
    """A rated reply."""
    messages = (Message(Role.USER, "hi"),)
    return Example(split, f"c{number}", f"v{number}", "en", messages, text, (300, 2), is_up, 1.0, None)


def test_the_thumbs_judge_prefers_what_people_liked() -> None:
    """Liked replies say sorry; the judge lets a new reply that says so win, and calls equal texts a tie."""
    liked = [example(n, f"Sorry about that, let us see, case {n}.", is_up=True) for n in range(15)]
    disliked = [example(n, f"Request recorded. Wait for case {n}.", is_up=False) for n in range(15)]
    judge = ThumbsJudge([*liked, *disliked])
    assert judge.has_opinion
    ours = ["Sorry about the parcel, let us see.", "Request recorded. Wait.", "The same."]
    theirs = ["Request recorded. Wait.", "Sorry about the parcel, let us see.", "The same."]
    assert judge.wins(ours, theirs) == [1.0, 0.0, 0.5]


def test_a_judge_without_thumbs_of_both_kinds_has_no_opinion() -> None:
    """Two thumbs down are not enough to know what people dislike; everything is a tie."""
    examples = [example(number, f"Text {number}", is_up=number > 1) for number in range(20)]
    judge = ThumbsJudge(examples)
    assert not judge.has_opinion and judge.num_ratings == 20
    assert judge.wins(["a"], ["b"]) == [0.5]


def test_the_reward_models_ratings_are_kept_from_the_independent_judge() -> None:
    """The training split stays out."""
    examples = [example(0, "a", is_up=True, split="train"), example(1, "b", is_up=True, split="test")]
    assert [kept.completion_id for kept in independent_examples(examples)] == ["c1"]
