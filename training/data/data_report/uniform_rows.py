"""Uniform rows as the data report reads them: checked, one at a time. What a row is: `importers.rows`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.data.importers.reading import Record, find_files, quote, read_json_lines
from training.data.importers.rows import Turn, TurnRole
from training.errors import ImportFormatError

_ROLES: dict[str, TurnRole] = {"user": "user", "agent": "agent"}
_IMPORT_FIRST = "make uniform rows of your file first: python -m training import FORMAT FILE ROWS.jsonl.gz"


@dataclass(frozen=True, slots=True)
class UniformRow:
    """One conversation, or one text with its intent: a single turn of the user's."""

    id: str
    lang: str
    split: str | None
    turns: tuple[Turn, ...]
    customer: str
    """What rows of one customer have in common; empty where the row does not say."""
    is_conversation: bool


def read_uniform_rows(path: Path) -> Iterator[UniformRow]:
    """Rows of a `.jsonl` or `.jsonl.gz`, or of all such files of a directory.

    Raises:
        DataNotFoundError: There is nothing at `path`.
        ImportFormatError: A file or a line of it is no uniform row; the message says which.
    """
    for file in find_files(path, "*.jsonl*"):
        if not file.name.endswith((".jsonl", ".jsonl.gz")):
            raise ImportFormatError(path=file, problem=f"it is no .jsonl or .jsonl.gz; {_IMPORT_FIRST}")
        for record in read_json_lines(file):
            yield _row(record)


def _row(record: Record) -> UniformRow:
    is_conversation = "turns" in record.fields
    if not is_conversation and not {"text", "intent"} <= record.fields.keys():
        record.fail(f"it has neither 'turns' nor 'text' and 'intent'; {_IMPORT_FIRST}")
    turns = map(_turn, record.records("turns")) if is_conversation else [Turn("user", record.text("text"))]
    labels = record.fields.get("labels")
    return UniformRow(
        id=record.identifier("id"),
        lang=record.text("lang"),
        split=None if record.fields.get("split") is None else record.text("split"),
        turns=tuple(turns),
        customer=str(labels.get("customer") or "") if isinstance(labels, dict) else "",
        is_conversation=is_conversation,
    )


def _turn(record: Record) -> Turn:
    role = _ROLES.get(record.text("role"))
    if role is None:
        record.fail(f"'role' is {quote(record.fields['role'])}; it must be user or agent")
    return Turn(role, record.text("text"))
