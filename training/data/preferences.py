"""Preferences as training sees them: which of two versions' replies to one prompt somebody of the staff preferred.

Rows of the view `preference_examples`, as preference pairs and as contrasts for the reward model. Reading only; the
service is not imported, for the view's columns are the contract.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_store.contract.chat_template import render
from model_store.contract.conversation import Message
from model_store.contract.feedback import PREFERENCE_EXAMPLES_COLUMNS, PREFERENCE_EXAMPLES_VIEW
from model_store.contract.tokenizer import Tokenizer
from training.data.contrasts import ContrastTokens
from training.data.feedback_rows import RawRow, read_export, read_rows
from training.errors import DataNotFoundError, InvalidFeedbackDataError

STAFF_PREFERENCE = "staff_preference"
"""The reason of a contrast that the staff's choice has made."""
PREFERENCES_NAME = "preferences.jsonl"
"""What a snapshot of them is called in a workspace."""
LEARNED_PREFERENCES_NAME = "learned_preferences.jsonl"
"""And what curation leaves of their prompts."""


@dataclass(frozen=True, slots=True)
class JudgedReply:
    """A reply of a version; masked. No token ids: a rule gave it."""

    model_digest: str
    text: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """A prompt, the reply that was preferred, and the one that was not."""

    completion_id: str
    conversation_id: str
    language: str
    messages: tuple[Message, ...]
    chosen: JudgedReply
    rejected: JudgedReply
    rater: str


def read_preference_view(url: str) -> list[RawRow]:
    """Every row of the view `preference_examples`. Raises DataNotFoundError; never creates a database."""
    return read_rows(url, PREFERENCE_EXAMPLES_VIEW, PREFERENCE_EXAMPLES_COLUMNS)


def read_preference_rows(inputs: Mapping[str, str]) -> list[RawRow]:
    """The preferences of a run: out of its database, or out of an export beside one of ratings.

    None without such an export, and for a database from before there were preferences: who could read the ratings in
    it could read them too. Raises DataNotFoundError and InvalidFeedbackDataError for an export that cannot be read.
    """
    if inputs.get("preferences_file"):
        return read_export(Path(inputs["preferences_file"]))
    if inputs.get("feedback_file") or inputs.get("feedback_parquet"):
        return []
    try:
        return read_preference_view(inputs["database_url"])
    except DataNotFoundError:
        return []


def preferences_text(rows: Iterable[RawRow], *, max_rows: int) -> str:
    """The newest rows as canonical JSON lines, as `snapshot_text` writes ratings: what a run rests on."""
    canonical = [{name: row.get(name) for name in PREFERENCE_EXAMPLES_COLUMNS} for row in rows]
    canonical.sort(key=lambda row: (str(row["chosen_at"]), str(row["pair_id"])))
    lines = [json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":")) for row in canonical]
    return "".join(line + "\n" for line in lines[-max_rows:])


def read_preferences(path: Path) -> list[PreferencePair]:
    """The pairs that a snapshot has frozen; none where there is no file. Raises InvalidFeedbackDataError."""
    return [parse_preference(row) for row in read_export(path)] if path.is_file() else []


def parse_preference(raw: Mapping[str, Any]) -> PreferencePair:
    """Reads a row of the view. Raises InvalidFeedbackDataError naming its completion."""
    completion_id = str(raw.get("completion_id"))
    absent = [name for name in PREFERENCE_EXAMPLES_COLUMNS if not isinstance(raw.get(name), str)]
    if absent:
        raise InvalidFeedbackDataError(completion_id=completion_id, problem=f"{absent[0]} is missing or no text")
    try:
        chosen, rejected = (
            JudgedReply(
                raw[f"{side}_digest"],
                raw[f"{side}_text"],
                tuple(int(token_id) for token_id in json.loads(raw[f"{side}_token_ids"])),
            )
            for side in ("chosen", "rejected")
        )
        messages = tuple(Message.from_dict(message) for message in json.loads(raw["prompt_messages"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidFeedbackDataError(completion_id=completion_id, problem=repr(error)) from error
    return PreferencePair(
        completion_id, raw["conversation_id"], raw["language"], messages, chosen, rejected, raw["rater"]
    )


def contrasts_of(
    pairs: Iterable[PreferencePair],
    tokenizer: Tokenizer,
    *,
    max_positions: int,
    but_not: Collection[tuple[Message, ...]] = (),
) -> list[ContrastTokens]:
    """Pairs as the reward model compares authored replies: prompt and reply, once preferred and once not.

    Replies that a rule gave are no model's doing, and what is longer than `max_positions` does not fit: both are left
    out. So are replies of a version that counted its tokens otherwise, and prompts in `but_not`, which are held back.
    """
    contrasts = []
    for pair in pairs:
        both = (pair.chosen.token_ids, pair.rejected.token_ids)
        if pair.messages in but_not or not all(both) or max(map(max, both)) >= tokenizer.vocab_size:
            continue
        prompt = list(render(pair.messages, tokenizer, for_completion=True).token_ids)
        good, bad = ([*prompt, *token_ids] for token_ids in both)
        if max(len(good), len(bad)) <= max_positions:
            contrasts.append(ContrastTokens(good, bad, STAFF_PREFERENCE))
    return contrasts
