"""What a model store does about aliases that were damaged, torn or put back, whatever the store is made of."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model_store.errors import AliasNotFoundError, CorruptAliasError
from model_store.store import ModelStore
from tests.bundles import make_bundle
from tests.contract.places import Place


@pytest.fixture
def digest(store: ModelStore, tmp_path: Path) -> str:
    """A published version, `stable` pointing at it."""
    make_bundle(tmp_path / "bundle")
    digest = store.publish(tmp_path / "bundle")
    store.promote("stable", digest)
    return digest


@pytest.mark.parametrize("data", [b"", b"{", b"null", b'{"generation":1}', b"\0" * 300], ids=repr)
def test_a_damaged_alias_file_is_named_and_can_be_set_anew(
    place: Place, store: ModelStore, digest: str, data: bytes
) -> None:
    """Nothing is guessed; following the message's advice, generations go on growing."""
    place.write("aliases/stable.json", data)
    uses: list[Callable[[], object]] = [lambda: store.resolve("stable"), lambda: store.promote("stable", digest)]
    for use in uses:
        with pytest.raises(CorruptAliasError, match=r"stable\.json"):
            use()
    place.delete("aliases/stable.json")
    with pytest.raises(AliasNotFoundError):
        store.resolve("stable")
    assert store.promote("stable", digest) == (digest, 2)
    assert [(move.generation, move.from_digest) for move in store.history("stable")] == [(1, None), (2, None)]


def test_a_damaged_history_is_named_and_does_not_stop_readers(place: Place, store: ModelStore, digest: str) -> None:
    """Moved away, it starts again at the present move."""
    place.write("aliases/stable.history.jsonl", b"not a move\n")
    for use in (lambda: store.history("stable"), lambda: store.promote("stable", digest)):
        with pytest.raises(CorruptAliasError, match="history"):
            use()
    assert store.resolve("stable") == (digest, 1)
    place.delete("aliases/stable.history.jsonl")
    assert store.promote("stable", digest) == (digest, 2)
    assert [move.generation for move in store.history("stable")] == [1, 2]


@pytest.mark.parametrize("torn", [b"", b'{"generation":3,"act'], ids=["lost", "torn"])
def test_a_line_of_history_that_a_crash_lost_comes_back(
    place: Place, store: ModelStore, digest: str, torn: bytes
) -> None:
    """The alias file decides; readers see its move in the history at once, the next move writes it down."""
    store.promote("stable", digest, reason="second")
    lines = place.read("aliases/stable.history.jsonl").splitlines(keepends=True)
    place.write("aliases/stable.history.jsonl", lines[0] + torn)
    assert [move.reason for move in store.history("stable")] == ["", "second"]
    store.promote("stable", digest, reason="third")
    assert [move.reason for move in store.history("stable")] == ["", "second", "third"]
    assert len(place.read("aliases/stable.history.jsonl").splitlines()) == 3


def test_an_alias_restored_from_an_old_backup_does_not_reuse_generations(
    place: Place, store: ModelStore, digest: str
) -> None:
    """The history remembers what the alias file has forgotten."""
    old = place.read("aliases/stable.json")
    store.promote("stable", digest)
    store.promote("stable", digest)
    place.write("aliases/stable.json", old)
    assert store.resolve("stable") == (digest, 1)
    assert store.promote("stable", digest) == (digest, 4)
