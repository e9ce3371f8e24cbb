"""What is said to a running engine and what it tells, and how that crosses to another process: JSON, never pickle.

Python writes and reads the shortest text that names a float64, so log-probabilities arrive with every bit.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from service.engine.types import CompletionRequest, Delta, EngineOptions

MAX_MESSAGE_BYTES = 64 << 20
"""More than the longest prompt and the most deltas of a step take by far."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """The first thing that a process is told: which engine it is to be."""

    directory: Path
    """Of a version that was verified; the process reads and verifies it once more."""
    digest: str
    options: EngineOptions
    kind: Literal["open"] = "open"


@dataclass(frozen=True, slots=True)
class Submit:
    """Make this completion."""

    request: CompletionRequest
    kind: Literal["submit"] = "submit"


@dataclass(frozen=True, slots=True)
class Cancel:
    """Forget a completion, in whatever state it is."""

    request_id: str
    kind: Literal["cancel"] = "cancel"


@dataclass(frozen=True, slots=True)
class Close:
    """End, whatever is left to do."""

    kind: Literal["close"] = "close"


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine is open and takes completions, after a start or a new start."""

    kind: Literal["ready"] = "ready"


@dataclass(frozen=True, slots=True)
class Stepped:
    """What a step made, and the load after it. Without deltas where only the load has changed."""

    deltas: tuple[Delta, ...]
    num_running: int
    """Completions in a slot."""
    prefix_cache_bytes: int
    """Memory that holds what earlier prompts left."""
    kind: Literal["stepped"] = "stepped"


@dataclass(frozen=True, slots=True)
class Refused:
    """The engine does not take a completion."""

    request_id: str
    code: str
    """Of the EngineError."""
    is_full: bool
    """Whether it might another time."""
    kind: Literal["refused"] = "refused"


@dataclass(frozen=True, slots=True)
class Lost:
    """Everything that was being made is lost. The engine may come back, and says so."""

    failure: str
    kind: Literal["lost"] = "lost"


@dataclass(frozen=True, slots=True)
class Closed:
    """The last thing that an engine tells: it is closed for good, by itself if there was a failure."""

    failure: str | None = None
    kind: Literal["closed"] = "closed"


Command = Submit | Cancel | Close
Report = Ready | Stepped | Refused | Lost | Closed
Message = EngineSpec | Command | Report

# JSON has no infinities; without this a log-probability of -inf would arrive as null.
_messages: TypeAdapter[Message] = TypeAdapter(
    Annotated[Message, Field(discriminator="kind")], config=ConfigDict(ser_json_inf_nan="constants")
)


def encode(message: Message) -> bytes:
    """The message as it crosses to another process."""
    return _messages.dump_json(message)


def decode(data: bytes) -> Message:
    """The message again. Raises ValueError for anything else."""
    return _messages.validate_json(data)
