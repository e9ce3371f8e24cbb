"""Feedback as training sees it: rows of the view `training_examples`, and the examples that curation makes of them.

Reading only. Which rows count, and how much, is `stages.curate`'s business. The service is not imported: the view's
columns are the contract.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import ColumnClause, column, create_engine, make_url, select, table
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from model_store.contract.conversation import Message
from model_store.contract.feedback import (
    CONVERSATION_TURNS_COLUMNS,
    CONVERSATION_TURNS_VIEW,
    STAFF_RATER_PREFIX,
    TRAINING_EXAMPLES_COLUMNS,
    TRAINING_EXAMPLES_VIEW,
    Ruling,
)
from training.errors import DataNotFoundError, InvalidFeedbackDataError

ANONYMOUS_RATER = "anonymous"
DEFAULT_TENANT = "default"
Split = Literal["train", "validation", "test"]
Source = Literal["rating", "regeneration", "hand_over", "repeat"]
"""How it is known what somebody thinks of a completion: by a thumb, or by what they did."""
RawRow = dict[str, str | None]
OPTIONAL_COLUMNS = frozenset({"comment", "correction", "tenant", "origin", "gold", "ruling"})
"""Null, or, in exports from before there were such columns, absent."""


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """One standing rating with the completion that it is about. Texts are masked."""

    completion_id: str
    conversation_id: str
    language: str
    messages: tuple[Message, ...]
    completion_text: str
    completion_token_ids: tuple[int, ...]
    is_rule_reply: bool
    rater: str
    is_up: bool
    correction: str | None
    rated_at: str
    comment: str | None = None
    tenant: str = DEFAULT_TENANT
    origin: str = ""
    gold: bool | None = None
    """Whether the staff says that thumbs up is the truth about this completion; None: it has not said."""
    ruling: Ruling | None = None

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody knows who gave it: such ratings come from many people."""
        return self.rater == ANONYMOUS_RATER

    @property
    def is_from_staff(self) -> bool:
        """Whether somebody gave it whom the operator trusts with a key."""
        return self.rater.startswith(STAFF_RATER_PREFIX)


@dataclass(frozen=True, slots=True)
class Turn:
    """A finished completion, rated or not, and whom it was given to. Texts are masked."""

    completion_id: str
    tenant: str
    conversation_id: str
    created_at: str
    language: str
    messages: tuple[Message, ...]
    completion_text: str
    completion_token_ids: tuple[int, ...]
    is_rule_reply: bool
    is_hand_over: bool
    rater: str


@dataclass(frozen=True, slots=True)
class Example:
    """One line of `examples.jsonl`: what reward model, policy and evaluation read."""

    split: Split
    completion_id: str
    conversation_id: str
    language: str
    messages: tuple[Message, ...]
    completion_text: str
    completion_token_ids: tuple[int, ...]
    is_up: bool
    weight: float
    correction: str | None
    source: Source = "rating"

    def as_json(self) -> str:
        """The line, without its end."""
        fields = asdict(self) | {"messages": [message.as_dict() for message in self.messages]}
        return json.dumps(fields, ensure_ascii=False, sort_keys=True)


def read_view(url: str) -> list[RawRow]:
    """Every row of the view `training_examples`. Raises DataNotFoundError; never creates a database."""
    return read_rows(url, TRAINING_EXAMPLES_VIEW, TRAINING_EXAMPLES_COLUMNS)


def read_turns(url: str, *, max_turns: int) -> list[RawRow]:
    """The newest rows of the view `conversation_turns`. Raises as `read_view` does."""
    return read_rows(url, CONVERSATION_TURNS_VIEW, CONVERSATION_TURNS_COLUMNS, max_rows=max_turns)


def read_rows(
    url: str,
    view: str,
    columns: Sequence[str],
    *,
    created_since: str = "",
    max_rows: int | None = None,
    completion_id: str | None = None,
) -> list[Any]:
    """A view's rows about completions that were made then or later, as mappings. Raises as `read_view` does.

    `max_rows` are the newest of them; `completion_id` asks for one completion's alone.
    """
    selected: list[ColumnClause[Any]] = [column(name) for name in columns]
    query = select(*selected).select_from(table(view)).where(column("created_at") >= created_since)
    if completion_id is not None:
        query = query.where(column("completion_id") == completion_id)
    if max_rows is not None:
        query = query.order_by(column("created_at").desc(), column("completion_id").desc()).limit(max_rows)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # No cause and no URL in the message: it may hold a password.
        raise DataNotFoundError(what="The feedback", path="--database-url", remedy="It is not a URL.") from None
    shown = parsed.render_as_string(hide_password=True)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).is_file():
        raise DataNotFoundError(what="The database", path=shown, remedy="Start the service once, or mend the path.")
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    engine = create_engine(parsed)
    try:
        with engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]
    except SQLAlchemyError as error:
        problem = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise DataNotFoundError(what=f"The view {view}", path=shown, remedy=problem) from error
    finally:
        engine.dispose()


def read_export(path: Path) -> list[RawRow]:
    """Every row of a JSON-lines export (`python -m service export-feedback`), or of a snapshot.

    Raises DataNotFoundError, and InvalidFeedbackDataError naming the line that is no object.
    """
    if not path.is_file():
        raise DataNotFoundError(what="The feedback", path=path, remedy="`python -m service export-feedback` makes it.")
    rows: list[RawRow] = []
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                rows.append(_parse_line(number, line))
    return rows


def parse_row(raw: Mapping[str, str | None]) -> FeedbackRow:
    """Reads a row of the view. Raises InvalidFeedbackDataError naming its completion."""
    completion_id = str(raw.get("completion_id"))
    absent = [n for n in TRAINING_EXAMPLES_COLUMNS if n not in OPTIONAL_COLUMNS and not isinstance(raw.get(n), str)]
    if absent:
        raise InvalidFeedbackDataError(completion_id=completion_id, problem=f"{absent[0]} is missing or no text")
    text = {name: str(raw[name]) for name in TRAINING_EXAMPLES_COLUMNS if name not in OPTIONAL_COLUMNS}
    if text["rating"] not in ("up", "down"):
        raise InvalidFeedbackDataError(completion_id=completion_id, problem=f"its rating is {text['rating']!r}")
    try:
        return FeedbackRow(
            completion_id=completion_id,
            conversation_id=text["conversation_id"],
            language=text["language"],
            messages=_parse_messages(text["prompt_messages"]),
            completion_text=text["completion_text"],
            completion_token_ids=_parse_token_ids(text["completion_token_ids"]),
            is_rule_reply="rule" in dict(json.loads(text["sampling"])),
            rater=text["rater"],
            is_up=text["rating"] == "up",
            correction=raw.get("correction") or None,
            rated_at=_check_time(text["rated_at"]),
            comment=raw.get("comment") or None,
            tenant=raw.get("tenant") or DEFAULT_TENANT,
            origin=raw.get("origin") or "",
            gold={"up": True, "down": False, None: None}[raw.get("gold")],
            ruling=_parse_ruling(raw.get("ruling")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidFeedbackDataError(completion_id=completion_id, problem=repr(error)) from error


def parse_turn(raw: Mapping[str, str | None]) -> Turn:
    """Reads a row of the view `conversation_turns`. Raises InvalidFeedbackDataError naming its completion."""
    try:
        text = {name: str(raw[name]) for name in CONVERSATION_TURNS_COLUMNS}
        sampling = dict(json.loads(text["sampling"]))
        return Turn(
            completion_id=text["completion_id"],
            tenant=text["tenant"],
            conversation_id=text["conversation_id"],
            created_at=_check_time(text["created_at"]),
            language=text["language"],
            messages=_parse_messages(text["prompt_messages"]),
            completion_text=text["completion_text"],
            completion_token_ids=_parse_token_ids(text["completion_token_ids"]),
            is_rule_reply="rule" in sampling,
            is_hand_over=text["finish_reason"] == "handover" or sampling.get("rule") == "hand_over",
            rater=text["rater"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidFeedbackDataError(completion_id=str(raw.get("completion_id")), problem=repr(error)) from error


def write_examples(examples: Iterable[Example]) -> str:
    """The text of `examples.jsonl`."""
    return "".join(example.as_json() + "\n" for example in examples)


def read_examples(path: Path) -> Iterator[Example]:
    """Reads `examples.jsonl`. Raises OSError when it is not there."""
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            fields: dict[str, Any] = json.loads(line)
            fields["messages"] = tuple(Message.from_dict(message) for message in fields["messages"])
            fields["completion_token_ids"] = tuple(fields["completion_token_ids"])
            yield Example(**fields)


def _parse_messages(text: str) -> tuple[Message, ...]:
    return tuple(Message.from_dict(message) for message in json.loads(text))


def _parse_token_ids(text: str) -> tuple[int, ...]:
    return tuple(int(token_id) for token_id in json.loads(text))


def _check_time(text: str) -> str:
    """The same text. Raises ValueError for what is no moment: times of which one has no zone cannot be compared."""
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return text


def _parse_ruling(text: str | None) -> Ruling | None:
    rulings: dict[str | None, Ruling | None] = {"count": "count", "set_aside": "set_aside", None: None}
    return rulings[text]


def _parse_line(number: int, line: str) -> RawRow:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InvalidFeedbackDataError(completion_id=f"on line {number}", problem=error) from error
    if not isinstance(row, dict):
        raise InvalidFeedbackDataError(completion_id=f"on line {number}", problem="it is not a JSON object")
    return row
