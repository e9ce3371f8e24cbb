"""The list of erased conversations, and how a copy of the records is rid of them.

The service writes it beside its records and beside its backups; whoever brings records back, or keeps a copy of them
for training, reads it. It holds digests and times only. One JSON object a line, the later of two about the same counts.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_store.durable import append_line, exclusive_lock
from model_store.errors import InvalidErasuresError

ERASURES_NAME = "erasures.jsonl"
_LOCK_SECONDS = 10.0
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@dataclass(frozen=True, slots=True)
class ErasedConversation:
    """A conversation that was erased. `erased_at` is ISO 8601 in UTC with microseconds, as the records have times."""

    tenant: str
    conversation_digest: str
    erased_at: str


class ErasureList:
    """What was erased, and when. Immutable."""

    def __init__(self, erased: Iterable[ErasedConversation]) -> None:
        self._erased: dict[tuple[str, str], ErasedConversation] = {}
        self._by_digest: dict[str, str] = {}
        for one in erased:
            key = one.tenant, one.conversation_digest
            if key not in self._erased or self._erased[key].erased_at < one.erased_at:
                self._erased[key] = one
            latest = max(one.erased_at, self._by_digest.get(one.conversation_digest, ""))
            self._by_digest[one.conversation_digest] = latest

    def __iter__(self) -> Iterator[ErasedConversation]:
        return iter(self._erased.values())

    def __len__(self) -> int:
        return len(self._erased)

    def beyond(self, other: "ErasureList") -> tuple[ErasedConversation, ...]:
        """What this list has, and the other one not, or not as late."""
        return tuple(
            one
            for key, one in self._erased.items()
            if key not in other._erased or other._erased[key].erased_at < one.erased_at
        )

    def covers(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of an export or a snapshot was said in a conversation before that was erased.

        Rows name no tenant: of an id that two tenants happened to choose, both go. A row that does not say when it was
        made goes, too.
        """
        conversation_id = row.get("conversation_id")
        if not isinstance(conversation_id, str):
            return False
        erased_at = self._by_digest.get(conversation_digest(conversation_id))
        return erased_at is not None and str(row.get("created_at") or "") <= erased_at


def conversation_digest(conversation_id: str) -> str:
    """What the list has in place of the id, for clients choose ids: SHA-256, in hex."""
    return hashlib.sha256(conversation_id.encode()).hexdigest()


def read_erasures(path: Path) -> ErasureList:
    """The list in a file; an empty one where there is none. Raises InvalidErasuresError."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return ErasureList(())
    except OSError as error:
        raise InvalidErasuresError(path=path, problem=error.strerror) from error
    # A last line without its end was being written in a crash; nobody was told that it is there.
    return ErasureList(_parse(path, number, line) for number, line in enumerate(lines[:-1], 1) if line)


def add_erasures(path: Path, erased: Iterable[ErasedConversation]) -> int:
    """Adds to a file what it has not yet, makes it where it is missing, and returns when it is on disk; gives how many.

    Raises InvalidErasuresError and OSError.
    """
    try:
        with exclusive_lock(path.with_name(f"{path.name}.lock"), _LOCK_SECONDS):
            path.touch(mode=0o600)
            new = ErasureList(erased).beyond(read_erasures(path))
            if new:
                append_line(path, "\n".join(map(_line, new)).encode())
    except TimeoutError as error:
        raise InvalidErasuresError(path=path, problem="another process is writing to it") from error
    return len(new)


def _line(one: ErasedConversation) -> str:
    fields = {"tenant": one.tenant, "conversation_digest": one.conversation_digest, "erased_at": one.erased_at}
    return json.dumps(fields, ensure_ascii=False)


def _parse(path: Path, number: int, line: bytes) -> ErasedConversation:
    try:
        fields = json.loads(line)
        one = ErasedConversation(fields["tenant"], fields["conversation_digest"], fields["erased_at"])
        is_good = _DIGEST.fullmatch(one.conversation_digest) and _TIME.fullmatch(one.erased_at)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidErasuresError(path=path, problem=f"line {number} is none of its lines") from error
    if not is_good or not isinstance(one.tenant, str):
        raise InvalidErasuresError(path=path, problem=f"line {number} is none of its lines")
    return one
