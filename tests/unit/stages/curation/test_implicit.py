"""What people meant who gave no thumb, and what must not be taken for it."""

from typing import Any

from model_store.contract.conversation import Message, Role
from training.data.feedback_rows import Turn
from training.stages.curation.implicit import implicit_signals


def turn(name: str, said: tuple[str, ...], reply: str, *, minute: int = 0, **changes: Any) -> Turn:
    """A reply to a conversation that the customer began."""
    values: dict[str, Any] = {
        "completion_id": name,
        "tenant": "default",
        "conversation_id": "conv-1",
        "created_at": f"2026-01-01T00:{minute:02}:00.000000Z",
        "language": "en",
        "messages": tuple(Message(Role.ASSISTANT if n % 2 else Role.USER, text) for n, text in enumerate(said)),
        "completion_text": reply,
        "completion_token_ids": (300, 2),
        "is_rule_reply": False,
        "is_hand_over": False,
        "rater": "kim",
    }
    return Turn(**{**values, **changes})


def meant(*turns: Turn) -> set[tuple[str, str, bool]]:
    """Signals as completion, source, and whether it was liked."""
    return {(signal.turn.completion_id, signal.source, signal.is_up) for signal in implicit_signals(turns)}


def test_of_several_tries_the_last_is_preferred() -> None:
    """Where the conversation ended with it."""
    assert meant(turn("a", ("hi",), "No."), turn("b", ("hi",), "Hello!", minute=1)) == {
        ("a", "regeneration", False),
        ("b", "regeneration", True),
    }


def test_the_try_with_which_the_conversation_went_on_was_kept() -> None:
    """Also when it was not the last one."""
    tries = [turn("a", ("hi",), "Hello!"), turn("b", ("hi",), "No.", minute=1)]
    later = turn("c", ("hi", "Hello!", "my lamp is broken"), "Oh.", minute=2)
    assert meant(*tries, later) == {("a", "regeneration", True), ("b", "regeneration", False)}


def test_choices_of_one_request_and_another_day_are_no_second_try() -> None:
    """Choices are of one moment; who comes back next week has forgotten the first reply."""
    assert meant(turn("a", ("hi",), "No."), turn("b", ("hi",), "Hello!")) == set()
    later = turn("b", ("hi",), "Hello!", created_at="2026-01-08T00:00:00.000000Z")
    assert meant(turn("a", ("hi",), "No."), later) == set()


def test_nameless_people_who_begin_alike_are_not_one() -> None:
    """The service derives one conversation for them."""
    shared = {"rater": "anonymous", "conversation_id": "conv_derived_1"}
    assert meant(turn("a", ("hi",), "No.", **shared), turn("b", ("hi",), "Hello!", minute=1, **shared)) == set()
    own = {"rater": "anonymous"}
    assert len(meant(turn("a", ("hi",), "No.", **own), turn("b", ("hi",), "Hello!", minute=1, **own))) == 2


def test_saying_the_same_again_says_that_the_reply_did_not_help() -> None:
    """Case and punctuation aside; going on with something else says nothing."""
    first = turn("a", ("where is it",), "Hello!")
    assert meant(first, turn("b", ("where is it", "Hello!", "Where is it?!"), "Look.", minute=1)) == {
        ("a", "repeat", False)
    }
    assert meant(first, turn("b", ("where is it", "Hello!", "thanks"), "Sure.", minute=1)) == set()


def test_asking_for_a_person_is_held_against_the_reply_before() -> None:
    """Not against the hand-over, and where it came first against nobody."""
    first = turn("a", ("where is it",), "Hello!")
    asked = ("where is it", "Hello!", "a person please")
    over = turn("b", asked, "A colleague takes over.", minute=1, is_hand_over=True)
    assert meant(first, over) == {("a", "hand_over", False)}
    assert meant(turn("b", ("a person please",), "A colleague takes over.", is_hand_over=True)) == set()


def test_fixed_replies_teach_nothing() -> None:
    """They are not the model's."""
    assert meant(turn("a", ("hi",), "No.", is_rule_reply=True), turn("b", ("hi",), "Hello!", minute=1)) == {
        ("b", "regeneration", True)
    }
