"""Dialogues in which a person gets a task done: Schema-Guided Dialogue, Taskmaster 1, 2 and 4, CrossWOZ.

All three are JSON lists of messages that name their speaker. Left out: every annotation of the turns (frames, slots,
states, dialogue acts, API calls, segments), the schemas and the databases; the words are what is learned here.
"""

from collections.abc import Iterator
from pathlib import Path

from training.data.importers.reading import Record, file_stem, find_files, read_json_records
from training.data.importers.rows import Origin, Row, Skipped, TurnRole, conversation_row, spoken_turns

_SGD_ROLES: dict[str, TurnRole] = {"user": "user", "system": "agent"}
_TASKMASTER_ROLES: dict[str, TurnRole] = {"user": "user", "assistant": "agent"}
_CROSSWOZ_ROLES: dict[str, TurnRole] = {"usr": "user", "sys": "agent"}
_CROSSWOZ_SPLITS = {"train": "train", "val": "dev", "test": "test"}
_TASKMASTER_LABELS = ("instruction_id", "vertical", "scenario")


def parse_sgd(path: Path) -> Iterator[Row | Skipped]:
    """Rows of a `dialogues_*.json` or of all below a directory; the file's directory names the split.

    Files elsewhere than in `train`, `dev` or `test` get an assigned split. Raises ImportFormatError.
    """
    for file in find_files(path, "dialogues_*.json"):
        split = file.resolve().parent.name
        for _, dialogue in read_json_records(file):
            dialogue_id = dialogue.identifier("dialogue_id")
            if split in ("train", "dev", "test"):
                origin = Origin(f"sgd-{split}-{dialogue_id}", "SGD", "en", split)
            else:
                origin = Origin.assigned(f"sgd-{dialogue_id}", "SGD", "en")
            turns = spoken_turns(dialogue.records("turns"), speaker="speaker", text="utterance", roles=_SGD_ROLES)
            yield conversation_row(origin, turns, {"services": dialogue.texts("services")})


def parse_taskmaster(path: Path, source: str, pattern: str) -> Iterator[Row | Skipped]:
    """Rows of a data file of any edition or of all files of a directory. Raises ImportFormatError.

    Labels are `instruction_id` (Taskmaster 1 and 2) or `vertical` and `scenario` (Taskmaster 4). The lists of ids by
    split that come with Taskmaster-1 are not read: splits are assigned, so that all editions are treated alike.
    """
    for file in find_files(path, pattern):
        for _, dialogue in read_json_records(file):
            dialogue_id = dialogue.identifier("conversation_id")
            utterances = dialogue.records("utterances")
            turns = spoken_turns(utterances, speaker="speaker", text="text", roles=_TASKMASTER_ROLES)
            labels = {name: dialogue.text(name) for name in _TASKMASTER_LABELS if dialogue.fields.get(name) is not None}
            yield conversation_row(Origin.assigned(dialogue_id, source, "en"), turns, labels)


def parse_crosswoz(path: Path) -> Iterator[Row | Skipped]:
    """Rows of `train.json`, `val.json` or `test.json`, or of all three in a directory. Raises ImportFormatError.

    A file of another name gets an assigned split.
    """
    for file in _crosswoz_files(path):
        for dialogue_id, dialogue in read_json_records(file):
            yield _crosswoz_row(f"crosswoz-{dialogue_id}", _CROSSWOZ_SPLITS.get(file_stem(file)), dialogue)


def _crosswoz_files(path: Path) -> list[Path]:
    # By name: the databases lie below the same directory and are JSON too.
    beside = [path / f"{stem}.json" for stem in _CROSSWOZ_SPLITS]
    return [file for file in beside if file.is_file()] or find_files(path, "train.json")


def _crosswoz_row(row_id: str, split: str | None, dialogue: Record) -> Row | Skipped:
    origin = Origin(row_id, "CrossWOZ", "zh", split) if split else Origin.assigned(row_id, "CrossWOZ", "zh")
    turns = spoken_turns(dialogue.records("messages"), speaker="role", text="content", roles=_CROSSWOZ_ROLES)
    labels = {"type": dialogue.text("type"), "goal_text": dialogue.texts("task description")}
    return conversation_row(origin, turns, labels)
