"""The reward benchmark: what it reads, that no group is torn apart, paired intervals, and what it says without data."""

import gzip
import json
from pathlib import Path

import pytest

from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from model_store.store import DEFAULT_BUNDLE
from tests.benchmarks.bench_reward import main, paired_auc
from tests.benchmarks.rewards.public_ratings import FILES, PublicRating, as_examples, read_ratings, split_ratings


def write(folder: Path, name: str, rows: list[dict[str, object]]) -> None:
    """A data set as it is published."""
    with gzip.open(folder / FILES[name], "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_satisfaction_after_a_reply_is_its_thumb(tmp_path: Path) -> None:
    """The votes at the next customer's turn; 3 on average is neither, and the last reply has none."""
    turns = [
        {"role": "user", "text": "Book a table", "sat": [1, 1, 1]},
        {"role": "agent", "text": "Where?"},
        {"role": "user", "text": "In Leeds, I am jane@shop.example", "sat": [2, 3, 3]},
        {"role": "agent", "text": "In Leeds there are nine."},
        {"role": "user", "text": "Fine", "sat": [3, 3, 3]},
        {"role": "agent", "text": "Booked."},
        {"role": "user", "text": "Thanks", "sat": [4, 3, 3]},
        {"role": "agent", "text": "Bye."},
    ]
    write(tmp_path, "USS", [{"id": "uss-1", "turns": turns}])
    found = read_ratings("USS", tmp_path)
    assert [(each.reply, each.is_up) for each in found] == [("Where?", False), ("Booked.", True)]
    assert [message.content for message in found[1].messages][2] == "In Leeds, I am <EMAIL>"
    assert all(each.messages[-1].role is Role.USER for each in found)


def test_a_candidate_turn_is_rated_in_its_context(tmp_path: Path) -> None:
    """Said or called; what the interface answered is left out, but tells contexts apart."""
    context = [
        {"role": "user", "text": "an espresso"},
        {"role": "agent", "api": {"get_menu_items": {"query": "espresso"}}},
        {"role": "api", "response": {"items": [1, 2, 3]}},
    ]
    other = [*context[:-1], {"role": "api", "response": {"items": []}}]
    rows = [
        {"context": context, "candidate": {"role": "agent", "text": "Which size?"}, "labels": {"reward": 0.0}},
        {"context": other, "candidate": {"role": "agent", "api": {"order": {"size": "S"}}}, "labels": {"reward": 1.0}},
    ]
    write(tmp_path, "Taskmaster-4", rows)
    said, called = read_ratings("Taskmaster-4", tmp_path)
    assert (said.reply, said.is_up, called.reply, called.is_up) == ("Which size?", False, "order size S", True)
    assert [message.content for message in said.messages] == ["an espresso", "get menu items query espresso"]
    assert said.group != called.group


def test_groups_stay_whole_and_texts_fit() -> None:
    """No conversation lies in two splits; limits hold; every example ends and is short enough."""
    text = "a rather long message about an order " * 8
    ratings = [
        PublicRating("USS", f"group-{number // 3}", _messages(text), f"{text} {number}", number % 2 == 0)
        for number in range(300)
    ]
    splits = split_ratings(ratings, 1, max_train=80, max_test=40)
    groups = {name: {each.group for each in part} for name, part in splits.items()}
    assert {name: len(part) for name, part in splits.items()} == {"train": 80, "validation": 20, "test": 40}
    assert not groups["train"] & groups["test"] and not groups["train"] & groups["validation"]
    tokenizer = Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")
    examples = as_examples(splits["test"], "test", tokenizer, max_tokens=40)
    assert {len(each.sequence) for each in examples} == {40}
    assert splits["test"] == split_ratings(ratings, 1, max_train=80, max_test=40)["test"]


def _messages(text: str) -> tuple[Message, ...]:
    return (Message(Role.USER, text), Message(Role.ASSISTANT, text), Message(Role.USER, text))


def test_a_difference_is_paired_over_groups() -> None:
    """Perfect scores against constant ones: 1, one half, and an interval of the difference that is just as narrow."""
    is_up = [True, False] * 30
    groups = [str(number // 2) for number in range(60)]
    scores = [1.0 if up else 0.0 for up in is_up]
    ours, theirs, difference = paired_auc(scores, [0.0] * 60, is_up, groups, seed=1)
    assert (ours.value, theirs.value, difference.value) == (1.0, 0.5, 0.5)
    assert (difference.low, difference.high) == (0.5, 0.5)
    with pytest.raises(ValueError, match="one kind"):
        paired_auc(scores, scores, [True] * 60, groups, seed=1)


def test_without_data_it_says_what_it_skips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both data sets are named, with the file that is missing."""
    assert main(["--data", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert all(f"{name} is skipped: {file}" in said for name, file in FILES.items())
