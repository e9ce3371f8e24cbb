"""Curation: which ratings count, how much, and in which split."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.stages.feedback_workspace import make_config, make_workspace, raw_row
from training.config import FeedbackConfig
from training.data.feedback_rows import parse_row, read_examples
from training.errors import InvalidFeedbackDataError
from training.stages import curate
from training.stages.curate import make_examples, rater_weights, select_rows, split_of, sufficiency


def test_fixed_replies_and_empty_completions_are_left_out() -> None:
    """A safety rule's text is not the model's; a completion without tokens teaches nothing."""
    rows = [raw_row(0), raw_row(1, sampling='{"rule":"crisis"}'), raw_row(2, completion_token_ids="[]")]
    assert [row.completion_id for row in select_rows([parse_row(row) for row in rows])] == ["chatcmpl-0"]


def test_a_raters_latest_word_counts() -> None:
    """Two lines about one completion by one person, as two exports put together give them."""
    rows = [
        raw_row(0, rating="up", rated_at="2026-01-02T00:00:00Z"),
        raw_row(0, rating="down", rated_at="2026-01-01T00:00:00Z"),
    ]
    assert [row.is_up for row in select_rows([parse_row(row) for row in rows])] == [True]


def test_the_same_thing_said_twice_counts_once() -> None:
    """Same conversation, words, rater and rating; another rater's thumb is another opinion."""
    twin = {"conversation_id": "conv-0"}
    rows = [raw_row(0), raw_row(1, **twin), raw_row(2, rater="kim", **twin), raw_row(3, rating="down", **twin)]
    kept = select_rows([parse_row(row) for row in rows])
    assert [row.completion_id for row in kept] == ["chatcmpl-0", "chatcmpl-2", "chatcmpl-3"]


def test_a_named_rater_has_at_most_the_allowed_share_of_all_weight() -> None:
    """90 of 130 ratings by one person weigh 10 against 40 anonymous ones: a fifth."""
    weights = rater_weights({"loud": 90, "anonymous": 40}, 0.2)
    assert weights["anonymous"] == 1.0
    assert weights["loud"] * 90 == pytest.approx(10.0)


def test_with_few_raters_all_have_the_same_say() -> None:
    """Somebody must have more than a fifth when there are only two; then neither drowns the other."""
    weights = rater_weights({"loud": 90, "quiet": 10}, 0.2)
    assert weights["loud"] * 90 == pytest.approx(weights["quiet"] * 10)


@given(
    st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.integers(1, 500), min_size=5, max_size=12),
    st.integers(0, 500),
)
def test_no_named_rater_ever_exceeds_the_share(num_named: dict[str, int], num_anonymous: int) -> None:
    """Whatever the counts; and nobody's rating weighs more than one."""
    counts = {**num_named, **({"anonymous": num_anonymous} if num_anonymous else {})}
    weights = rater_weights(counts, 0.2)
    totals = {rater: weights[rater] * number for rater, number in counts.items()}
    everything = sum(totals.values())
    assert everything > 0 and max(weights.values()) <= 1.0
    assert all(total <= 0.2 * everything * (1 + 1e-6) for rater, total in totals.items() if rater != "anonymous")


def test_a_conversation_lies_in_one_split_and_stays_there() -> None:
    """All its ratings go together; about 15 % of conversations are in each of the small splits."""
    feedback = FeedbackConfig()
    rows = [parse_row(raw_row(number, conversation_id="one")) for number in range(20)]
    assert len({example.split for example in make_examples(rows, feedback, seed=1)}) == 1
    splits = Counter(split_of(f"conv-{number}", feedback, seed=1) for number in range(4000))
    assert 0.12 < splits["validation"] / 4000 < 0.18 and 0.12 < splits["test"] / 4000 < 0.18
    assert any(split_of(f"c{n}", feedback, seed=1) != split_of(f"c{n}", feedback, seed=2) for n in range(50))


def test_too_few_ratings_are_counted_out_loud() -> None:
    """40 of 60 ratings, 5 of 12 thumbs down: 20 more, among them 7 thumbs down."""
    rows = [parse_row(raw_row(number, rating="down" if number < 5 else "up")) for number in range(40)]
    outcome = sufficiency(make_examples(rows, FeedbackConfig(), seed=1), FeedbackConfig())
    assert outcome["enough"] is False and outcome["missing"] == 20
    assert "20 more ratings" in str(outcome["message"]) and "7 more thumbs down" in str(outcome["message"])


def test_exactly_enough_ratings_are_enough() -> None:
    """60 with 12 thumbs down; one thumb down fewer is not."""
    for num_down, is_enough in ((12, True), (11, False)):
        rows = [parse_row(raw_row(number, rating="down" if number < num_down else "up")) for number in range(60)]
        outcome = sufficiency(make_examples(rows, FeedbackConfig(), seed=1), FeedbackConfig())
        assert outcome["enough"] is is_enough


def test_a_run_waits_until_the_gates_judge_has_something_to_judge_by() -> None:
    """Plenty of ratings, but all thumbs down were drawn for training: the run says so before it costs minutes."""
    feedback = FeedbackConfig()
    is_train = [split_of(f"conv-{number}", feedback, seed=1) == "train" for number in range(200)]
    rows = [
        parse_row(raw_row(n, rating="down" if in_train and n < 60 else "up")) for n, in_train in enumerate(is_train)
    ]
    outcome = sufficiency(make_examples(rows, feedback, seed=1), feedback)
    assert outcome["enough"] is False and "10 more thumbs down" in str(outcome["message"])


def test_the_stage_writes_rows_with_every_field_and_counts_broken_ones(tmp_path: Path) -> None:
    """One row that cannot be read does not stop the learning from the others."""
    config = make_config()
    workspace = make_workspace(tmp_path / "w", config)
    rows = [raw_row(number, correction="Better.", rating="up" if number % 2 else "down") for number in range(80)]
    rows.append(raw_row(99, prompt_messages="not JSON"))
    workspace.write_text("snapshot.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    result = curate.run(config, workspace)
    assert result["enough"] is True and result["num_broken"] == 1 and result["num_examples"] == 80
    examples = list(read_examples(workspace.path("examples.jsonl")))
    assert examples[0].correction == "Better." and examples[0].completion_token_ids == (300, 301, 2)
    line = json.loads(workspace.path("examples.jsonl").read_text().splitlines()[0])
    assert set(line) == {
        "split",
        "completion_id",
        "conversation_id",
        "language",
        "messages",
        "completion_text",
        "completion_token_ids",
        "is_up",
        "weight",
        "correction",
    }


@pytest.mark.parametrize(
    "changes", [{"rating": "sideways"}, {"completion_token_ids": '["a"]'}, {"prompt_messages": "[{}]"}, {"rater": None}]
)
def test_a_row_that_cannot_be_read_is_named(changes: dict[str, str | None]) -> None:
    """By its completion."""
    with pytest.raises(InvalidFeedbackDataError, match="chatcmpl-7"):
        parse_row(raw_row(7, **changes))
