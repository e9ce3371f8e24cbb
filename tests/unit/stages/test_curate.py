"""Curation: which ratings count, how much, and in which split."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from model_store.backends.local import LocalBackend
from model_store.contract.feedback import CONVERSATION_TURNS_COLUMNS
from model_store.curation import CurationReport
from model_store.store import ModelStore
from tests.unit.stages.feedback_workspace import CREATED_AT, make_config, make_workspace, raw_row
from training.config import FeedbackConfig
from training.data.feedback_rows import Example, FeedbackRow, parse_row, read_examples
from training.errors import InvalidFeedbackDataError
from training.evaluation.risks.thumbs_on_gold import GoldReply, read_gold
from training.stages import curate
from training.stages.curate import asked_gold, make_examples, select_rows, sufficiency
from training.stages.curation.weighing import weigh


def own_row(number: int, **changes: str | None) -> dict[str, str | None]:
    """A row about words of its own, rated in the order of numbers."""
    own = {
        "prompt_messages": json.dumps([{"role": "user", "content": f"question {number}"}]),
        "completion_text": f"reply {number}",
        "rated_at": f"2026-01-{1 + number // 24:02}T{number % 24:02}:00:00.000000Z",
    }
    return raw_row(number, **{**own, **changes})


def turn(number: int, **changes: str) -> dict[str, str | None]:
    """A finished reply to the same question."""
    row = raw_row(number, **{"rater": f"rater-{number // 2}", **changes})
    return {name: row[name] for name in CONVERSATION_TURNS_COLUMNS}


def examples_of(rows: Sequence[FeedbackRow]) -> list[Example]:
    """What curation makes of ratings alone."""
    return make_examples(weigh(rows, [], FeedbackConfig()), FeedbackConfig(), seed=1)


def test_gold_is_asked_about_with_the_thumbs_that_are_to_be_forgotten_for_it(tmp_path: Path) -> None:
    """Also where every thumb is against it; the words count, whoever heard them. A reply that is both is nobody's."""
    rows = [own_row(number, rater=f"rater-{number % 7}") for number in range(40)]
    rows[0]["gold"] = "up"
    rows[1] |= {"gold": "up", "rating": "down"}
    rows[2] |= {"gold": "down", "rating": "up"}
    twin = {**own_row(0), "completion_id": "twin", "conversation_id": "another", "rater": "zoe"}
    both = [own_row(3, gold="up"), {**own_row(3, gold="down"), "completion_id": "other", "rater": "ann"}]
    path = tmp_path / "w" / "snapshot.jsonl"
    workspace = make_workspace(tmp_path / "w", make_config())
    path.write_text("".join(json.dumps(row) + "\n" for row in (*rows[:3], *rows[4:], twin, *both)), encoding="utf-8")
    result = curate.run(make_config(), workspace)
    found = sorted(read_gold(workspace.path("gold_replies.jsonl")), key=lambda reply: reply.text)
    assert found == [
        GoldReply(text="reply 0", is_up=True, rated_as=("chatcmpl-0", "twin")),
        GoldReply(text="reply 1", is_up=True),
        GoldReply(text="reply 2", is_up=False),
    ]
    assert result["num_gold"] == result["num_gold_asked"] == 3


def test_where_nearly_all_is_gold_half_of_the_thumbs_are_left_to_learn_from() -> None:
    """Who marks everything is not told that there is nothing to try; which half does not change as ratings come in."""

    def asked(count: int) -> list[GoldReply]:
        rows = [parse_row(own_row(n, gold="up", rater=f"rater-{n % 20}")) for n in range(count)]
        return asked_gold(weigh(rows, [], FeedbackConfig()), seed=1)

    few, many = asked(40), asked(80)
    assert (len(few), len(many)) == (20, 40)
    assert len({reply.text for reply in few} & {reply.text for reply in many}) >= 12, "by chance it would be 10"


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


def test_a_conversation_lies_in_one_split() -> None:
    """All its ratings go together."""
    rows = [parse_row(own_row(number, conversation_id="one")) for number in range(20)]
    assert len({example.split for example in examples_of(rows)}) == 1


def test_a_doubted_rating_is_no_example_and_a_lifted_one_is() -> None:
    """The staff's ruling is above the rules, both ways."""
    flood = {"rater": "kim", "rated_at": "2026-01-01T00:00:00.000000Z"}
    rows = [parse_row(own_row(n, **flood, ruling="count" if n < 5 else None)) for n in range(70)]
    rows += [parse_row(own_row(n, rater=f"rater-{n}", ruling="set_aside" if n == 99 else None)) for n in range(70, 100)]
    ids = {example.completion_id for example in examples_of(rows)}
    assert ids == {f"chatcmpl-{n}" for n in (*range(5), *range(70, 99))}


def test_too_few_ratings_are_counted_out_loud() -> None:
    """40 of 60 ratings, 5 of 12 thumbs down: 20 more, among them 7 thumbs down."""
    rows = [parse_row(own_row(number, rating="down" if number < 5 else "up")) for number in range(40)]
    outcome = sufficiency(examples_of(rows), FeedbackConfig())
    assert outcome["enough"] is False and outcome["missing"] == 20
    assert "20 more ratings" in str(outcome["message"]) and "7 more thumbs down" in str(outcome["message"])


def test_exactly_enough_ratings_are_enough() -> None:
    """60 with 12 thumbs down; one thumb down fewer is not."""
    for num_down, is_enough in ((12, True), (11, False)):
        down = {*range(51, 54), *range(num_down - 3)}  # three among the newest, which are held back
        rows = [parse_row(own_row(number, rating="down" if number in down else "up")) for number in range(60)]
        outcome = sufficiency(examples_of(rows), FeedbackConfig())
        assert outcome["enough"] is is_enough


def test_a_run_waits_until_the_gates_judge_has_something_to_judge_by() -> None:
    """Plenty of ratings, but all thumbs down were drawn for training: the run says so before it costs minutes."""
    splits = {
        example.completion_id: example.split for example in examples_of([parse_row(own_row(n)) for n in range(200)])
    }
    down = [name for name, split in splits.items() if split == "train"][:60]
    rows = [parse_row(own_row(n, rating="down" if f"chatcmpl-{n}" in down else "up")) for n in range(200)]
    outcome = sufficiency(examples_of(rows), FeedbackConfig())
    assert outcome["enough"] is False and "10 more thumbs down" in str(outcome["message"])


def test_the_stage_writes_rows_with_every_field_and_counts_broken_ones(tmp_path: Path) -> None:
    """One row that cannot be read does not stop the learning from the others."""
    config = make_config(feedback={"learn_customer_corrections": True})
    workspace = make_workspace(tmp_path / "w", config, model_store=str(tmp_path / "models"))
    rows = [own_row(number, correction="Better.", rating="up" if number % 2 else "down") for number in range(80)]
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
        "source",
    }
    report = CurationReport.model_validate_json(workspace.path("curation.json").read_text())
    assert report.num_ratings == 80 and report.num_set_aside == 0 and report.made_at.isoformat() == CREATED_AT
    assert ModelStore(LocalBackend(tmp_path / "models")).last_curation() == report


def test_a_customers_correction_is_no_reply_to_learn_from_unless_the_operator_says_so() -> None:
    """What goes into the model word for word comes from people with a key; the thumb counts anyway."""
    rows = [parse_row(own_row(n, rater=rater, correction="Better.")) for n, rater in enumerate(("kim", "staff_key"))]
    assert [example.correction for example in examples_of(rows)] == [None, "Better."]
    settings = FeedbackConfig(learn_customer_corrections=True)
    examples = make_examples(weigh(rows, [], settings), settings, seed=1)
    assert [example.correction for example in examples] == ["Better.", "Better."]


def test_what_people_did_becomes_weak_examples_for_training_alone(tmp_path: Path) -> None:
    """A reply that was asked for again and the one that was kept; not where somebody gave a thumb."""
    config = make_config()
    workspace = make_workspace(tmp_path / "w", config)
    rows = [own_row(number, rating="up" if number % 2 else "down") for number in range(80)]
    turns = [
        turn(n, conversation_id=f"visit-{n // 2}", created_at=f"2026-01-01T00:00:0{n % 2}Z") for n in range(200, 240)
    ]
    turns += [turn(0, created_at="2026-01-01T00:00:00Z"), turn(1, created_at="2026-01-01T00:01:00Z")]
    workspace.write_text("snapshot.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    workspace.write_text("turns.jsonl", "".join(json.dumps(row) + "\n" for row in turns))
    result = curate.run(config, workspace)
    assert result["num_examples"] == 80 and result["implicit"] == {"regeneration": 40}
    meant = [example for example in read_examples(workspace.path("examples.jsonl")) if example.source != "rating"]
    assert {example.split for example in meant} == {"train"}
    assert [(example.completion_id, example.is_up) for example in meant[:2]] == [
        ("chatcmpl-200", False),
        ("chatcmpl-201", True),
    ]
    assert {example.weight for example in meant} == {0.3}


@pytest.mark.parametrize(
    "changes",
    [
        {"rating": "sideways"},
        {"completion_token_ids": '["a"]'},
        {"prompt_messages": "[{}]"},
        {"rater": None},
        {"rated_at": "yesterday"},
        {"rated_at": "2026-01-01T00:00:00"},
        {"gold": "sideways"},
        {"ruling": "perhaps"},
    ],
)
def test_a_row_that_cannot_be_read_is_named(changes: dict[str, str | None]) -> None:
    """By its completion."""
    with pytest.raises(InvalidFeedbackDataError, match="chatcmpl-7"):
        parse_row(raw_row(7, **changes))
