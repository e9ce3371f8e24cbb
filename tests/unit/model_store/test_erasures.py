"""The list of erased conversations: what it covers, and that it survives crashes and other writers."""

import json
import threading
from pathlib import Path

import pytest

from model_store.erasures import ErasedConversation, ErasureList, add_erasures, conversation_digest, read_erasures
from model_store.errors import InvalidErasuresError

EARLY, LATE = "2026-01-01T00:00:00.000000Z", "2026-06-01T00:00:00.000000Z"


def erased(name: str, at: str = LATE, tenant: str = "default") -> ErasedConversation:
    return ErasedConversation(tenant, conversation_digest(name), at)


def test_rows_from_before_the_erasure_are_covered_and_later_ones_are_not() -> None:
    """A derived id may begin anew; a row that does not say when it was made is covered."""
    known = ErasureList([erased("conv-1")])
    assert known.covers({"conversation_id": "conv-1", "created_at": EARLY})
    assert known.covers({"conversation_id": "conv-1", "created_at": LATE}) and known.covers(
        {"conversation_id": "conv-1"}
    )
    assert not known.covers({"conversation_id": "conv-1", "created_at": "2026-06-01T00:00:00.000001Z"})
    assert not known.covers({"conversation_id": "conv-2", "created_at": EARLY}) and not known.covers({"id": "conv-1"})


def test_the_file_takes_each_erasure_once_and_holds_no_id(tmp_path: Path) -> None:
    """The later of two counts; what is there already is not written again; only its owner may read it."""
    path = tmp_path / "erasures.jsonl"
    assert len(read_erasures(path)) == 0
    assert add_erasures(path, [erased("anna@shop", EARLY), erased("anna@shop", LATE), erased("b", EARLY)]) == 2
    assert add_erasures(path, [erased("anna@shop", EARLY), erased("b", EARLY)]) == 0
    assert add_erasures(path, [erased("b", LATE)]) == 1
    assert {(one.conversation_digest, one.erased_at) for one in read_erasures(path)} == {
        (conversation_digest("anna@shop"), LATE),
        (conversation_digest("b"), LATE),
    }
    assert b"anna" not in path.read_bytes() and path.stat().st_mode & 0o077 == 0


def test_a_line_that_a_crash_cut_is_ignored_and_written_over(tmp_path: Path) -> None:
    """Nobody was told of it; a broken line in the middle is an error that names it."""
    path = tmp_path / "erasures.jsonl"
    add_erasures(path, [erased("a")])
    with path.open("ab") as stream:
        stream.write(b'{"tenant": "def')
    assert len(read_erasures(path)) == 1
    add_erasures(path, [erased("b")])
    assert len(read_erasures(path)) == 2 and all(map(json.loads, path.read_text().splitlines()))
    path.write_text('{"tenant": 1}\n')
    with pytest.raises(InvalidErasuresError, match="line 1"):
        read_erasures(path)


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    """Eight of them, five lines each."""
    path = tmp_path / "erasures.jsonl"

    def write(writer: int) -> None:
        for number in range(5):
            add_erasures(path, [erased(f"{writer}-{number}")])

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_erasures(path)) == 40
