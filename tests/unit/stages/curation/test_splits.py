"""Splits: by conversation, by time, and without copies on the other side."""

from collections import Counter
from collections.abc import Sequence

from model_store.contract.conversation import Message, Role
from training.data.feedback_rows import Split
from training.stages.curation.splits import Conversation, Said, assign_splits


def said(number: int, question: str = "", *, time: int | None = -1) -> Said:
    """A rated reply in a conversation of its own; numbers are the order of time."""
    moment = number if time == -1 else time
    message = Message(Role.USER, question or f"question {number}")
    return Said(("default", f"conv-{number}"), (message,), "Sure.", None if moment is None else f"{moment:06}")


def split(said: Sequence[Said], seed: int = 1) -> dict[Conversation, Split]:
    """With the usual shares."""
    return assign_splits(said, validation_share=0.15, test_share=0.15, seed=seed)


def test_the_newest_are_for_testing_and_the_others_are_drawn() -> None:
    """The last 600 of 4,000, and about as many for validation, others with another seed."""
    splits = split([said(number) for number in range(4000)])
    assert {name for name, part in splits.items() if part == "test"} == {
        ("default", f"conv-{n}") for n in range(3400, 4000)
    }
    validation = {name for name, part in splits.items() if part == "validation"}
    assert 520 < len(validation) < 680
    assert validation != {
        name for name, part in split([said(n) for n in range(4000)], 2).items() if part == "validation"
    }


def test_a_conversation_stays_where_it_was_drawn_as_ratings_come_in() -> None:
    """Only from the newest does one ever move, when newer ones come."""
    before, after = split([said(number) for number in range(100)]), split([said(number) for number in range(200)])
    assert all(after[name] == part for name, part in before.items() if part != "test")


def test_copies_lie_in_one_split() -> None:
    """Ten customers ask the same: none of them tests what the others taught. A crowd of them tests nothing."""
    alone = [said(number) for number in range(100)]
    twins = [said(100, "Where is it?"), said(101, "where is it")]
    splits = split([*alone, *twins])
    assert splits[twins[0].conversation] == splits[twins[1].conversation] == "test"
    crowd = split([*alone, *(said(number, "Where is it?") for number in range(100, 200))])
    assert len({crowd["default", f"conv-{number}"] for number in range(100, 200)}) == 1
    assert 10 <= Counter(crowd.values())["test"] <= 30


def test_what_nobody_rated_is_for_training_but_for_copies() -> None:
    """It counts in no share."""
    unrated = [said(number, time=None) for number in range(100, 200)]
    copy = said(300, "question 99", time=None)
    splits = split([*(said(number) for number in range(100)), *unrated, copy])
    assert {splits[one.conversation] for one in unrated} == {"train"}
    assert splits[copy.conversation] == splits["default", "conv-99"] == "test"
    assert Counter(splits.values())["test"] == 16


def test_the_same_id_of_two_tenants_is_two_conversations() -> None:
    """Each has a place of its own."""
    mine, theirs = said(1), Said(("bank", "conv-1"), (Message(Role.USER, "other"),), "Sure.", "000002")
    assert set(split([mine, theirs])) == {("default", "conv-1"), ("bank", "conv-1")}
