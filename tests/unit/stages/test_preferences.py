"""Preferences as training reads them: frozen, parsed, and as contrasts for the reward model."""

import json
from pathlib import Path
from typing import Any

import pytest

from model_store.contract.chat_template import render
from model_store.contract.conversation import Message, Role
from tests.contract.fake_engine import train_tokenizer
from training.data.preferences import (
    PREFERENCES_NAME,
    STAFF_PREFERENCE,
    contrasts_of,
    parse_preference,
    preferences_text,
    read_preference_rows,
    read_preferences,
)
from training.errors import DataNotFoundError, InvalidFeedbackDataError

MESSAGES = (Message(Role.USER, "Where is my order <ORDER_ID>?"),)


def row(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A row of the view."""
    return {
        "pair_id": f"pair_{number}",
        "completion_id": f"cmpl-{number}",
        "conversation_id": f"conv-{number}",
        "created_at": "2026-03-01T08:00:00.000000Z",
        "language": "en",
        "prompt_messages": json.dumps([message.as_dict() for message in MESSAGES]),
        "chosen_digest": "02" * 32,
        "chosen_text": "On its way.",
        "chosen_token_ids": "[300,301,2]",
        "rejected_digest": "01" * 32,
        "rejected_text": "What order?",
        "rejected_token_ids": "[300,302,2]",
        "rater": "staff_kim",
        "chosen_at": f"2026-03-02T08:00:0{number}.000000Z",
        **changes,
    }


def test_a_snapshot_holds_the_newest_choices_in_one_order(tmp_path: Path) -> None:
    """However they were read; and reads back as pairs."""
    rows = [row(number) for number in (1, 2, 3)]
    text = preferences_text(rows[::-1], max_rows=2)
    assert text == preferences_text(rows, max_rows=2)
    path = tmp_path / PREFERENCES_NAME
    path.write_text(text, encoding="utf-8")
    pairs = read_preferences(path)
    assert [pair.completion_id for pair in pairs] == ["cmpl-2", "cmpl-3"]
    assert (pairs[0].messages, pairs[0].chosen.token_ids) == (MESSAGES, (300, 301, 2))
    assert read_preferences(tmp_path / "none.jsonl") == []


def test_a_run_without_preferences_freezes_none(tmp_path: Path) -> None:
    """It reads an export, or a database that an older service has made."""
    assert read_preference_rows({"feedback_file": "ratings.jsonl"}) == []
    database = tmp_path / "old.db"
    database.touch()
    assert read_preference_rows({"database_url": f"sqlite:///{database}"}) == []


@pytest.mark.parametrize("ratings", ["feedback_file", "feedback_parquet"])
def test_a_run_out_of_files_reads_preferences_beside_its_ratings(tmp_path: Path, ratings: str) -> None:
    """Every row of the export; one that is named and not there is an error, not a run without them."""
    exported = tmp_path / "preferences.jsonl"
    exported.write_text("".join(json.dumps(row(number)) + "\n" for number in (1, 2)), encoding="utf-8")
    inputs = {ratings: "ratings", "preferences_file": str(exported)}
    assert read_preference_rows(inputs) == [row(1), row(2)]
    assert read_preference_rows({**inputs, "preferences_file": ""}) == []
    exported.unlink()
    with pytest.raises(DataNotFoundError, match="preferences.jsonl"):
        read_preference_rows(inputs)


@pytest.mark.parametrize("broken", [{"chosen_text": None}, {"prompt_messages": "no"}, {"rejected_token_ids": '["x"]'}])
def test_a_row_that_cannot_be_read_is_named(broken: dict[str, Any]) -> None:
    """By its completion."""
    with pytest.raises(InvalidFeedbackDataError, match="cmpl-1"):
        parse_preference(row(**broken))


def test_pairs_become_contrasts_of_what_two_models_said(tmp_path: Path) -> None:
    """Prompt and tokens as drawn; a rule's reply, foreign tokens and what is too long are left out."""
    tokenizer = train_tokenizer(tmp_path / "tokenizer.json")
    prompt = list(render(MESSAGES, tokenizer, for_completion=True).token_ids)
    good = parse_preference(row())
    useless = [row(chosen_token_ids="[]"), row(rejected_token_ids=f"[{tokenizer.vocab_size},2]")]
    pairs = [good, *map(parse_preference, useless)]
    (contrast,) = contrasts_of(pairs, tokenizer, max_positions=len(prompt) + 3)
    assert (contrast.good, contrast.bad) == ([*prompt, 300, 301, 2], [*prompt, 300, 302, 2])
    assert contrast.reason == STAFF_PREFERENCE
    assert contrasts_of([good], tokenizer, max_positions=len(prompt) + 2) == []
    assert contrasts_of([good], tokenizer, max_positions=99, but_not={MESSAGES}) == []
