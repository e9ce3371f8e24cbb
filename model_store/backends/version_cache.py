"""Copies of a distant store's versions on this machine: each verified before it is kept, all together bounded.

They lie as in a store on a directory, with the signatures read last and the moves that were taken up last. So the
folder is such a store itself, for reading only, while the distant one is away.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from uuid import uuid4

from model_store.backends.local import LocalBackend
from model_store.backends.protocol import Alias, AliasMove
from model_store.bundle import open_bundle
from model_store.contract.manifest import Manifest
from model_store.durable import discard, make_directory, replace_file
from model_store.errors import BundleError, StoreError, StoreUnavailableError, VersionNotFoundError
from model_store.signing import Signature
from model_store.trust import AliasState

_ABANDONED_SECONDS = 24 * 3600.0


class VersionCache:
    """A folder of copies; several processes may share it. Methods raise StoreUnavailableError where a disk refuses."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        """Touches nothing on the disk. Versions that serve people stay, even above `max_bytes`."""
        self._root = root
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._read_last: dict[Alias, AliasMove] = {}
        self.shelf = LocalBackend(root)

    def find(self, digest: str) -> Path | None:
        """The copy of a version, every byte of it checked now; one that is damaged is removed."""
        try:
            path = self.shelf.fetch_version(digest)
            open_bundle(path, digest, max_bytes=self._max_bytes_of(path))
        except VersionNotFoundError:
            return None
        except BundleError:
            discard(self._root / "versions" / digest)
            return None
        with suppress(OSError):
            os.utime(path)  # the one used last is removed last
        return path

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """An empty folder on the cache's disk, removed at the block's end; sweeps what was left by those that died."""
        folder = self._root / "downloads"
        with self._disk_errors_named():
            make_directory(folder)
            for path in folder.iterdir():
                with suppress(FileNotFoundError):
                    if time.time() - path.lstat().st_mtime > _ABANDONED_SECONDS:
                        discard(path)
            draft = folder / uuid4().hex
            draft.mkdir()
        try:
            with self._disk_errors_named():
                yield draft
        finally:
            discard(draft)

    def add(self, source: Path, manifest: Manifest) -> Path:
        """Copies an inspected bundle in, verified, and makes room by removing others. Raises BundleError."""
        self.shelf.add_version(source, manifest)
        with self._disk_errors_named():
            self._make_room(keeping={manifest.digest, *self._served()})
        return self.shelf.fetch_version(manifest.digest)

    def note_signatures(self, digest: str, signatures: Sequence[Signature]) -> None:
        """Keeps what was signed of a version, as far as the disk allows."""
        path = self._root / "signatures" / f"{digest}.jsonl"
        data = b"".join(signature.as_line() + b"\n" for signature in signatures)
        with suppress(OSError):
            if signatures and (not path.exists() or path.read_bytes() != data):
                make_directory(path.parent)
                replace_file(path, data)

    def note_read(self, alias: Alias, move: AliasMove | None) -> None:
        """Notes what the distant store says of an alias; a candidate that it no longer names is forgotten."""
        with self._lock:
            if move is not None:
                self._read_last[alias] = move
        path = self._alias_path(alias)
        if alias is Alias.CANDIDATE and path.exists() and self._kept(alias) != move:
            with suppress(OSError):
                path.unlink()

    def take_up(self, alias: Alias, state: AliasState) -> None:
        """Keeps the move that was read last, if it is the one that was taken up."""
        with self._lock:
            move = self._read_last.get(alias)
        is_it = move is not None and (move.to_digest, move.generation) == state
        if move is None or not is_it or self._kept(alias) == move:
            return
        with self._disk_errors_named():
            make_directory(self._root / "aliases")
            replace_file(self._alias_path(alias), move.as_line())

    def _kept(self, alias: Alias) -> AliasMove | None:
        try:
            return self.shelf.read_alias(alias)
        except StoreError:
            return None

    def _served(self) -> set[str]:
        moves = (self._kept(alias) for alias in Alias)
        return {move.to_digest for move in moves if move is not None}

    def _make_room(self, keeping: set[str]) -> None:
        """Removes the copies used longest ago until the rest fits."""
        paths = [self._root / "versions" / digest for digest in self.shelf.list_digests()]
        sizes = {path: _num_bytes(path) for path in paths}
        num_bytes = sum(sizes.values())
        for path in sorted(paths, key=_last_used):
            if num_bytes <= self._max_bytes:
                return
            if path.name not in keeping:
                discard(path)
                discard(self._root / "signatures" / f"{path.name}.jsonl")
                num_bytes -= sizes[path]

    def _max_bytes_of(self, path: Path) -> int:
        """A copy was bounded when it was made; what it takes now is bounded by its manifest."""
        return max(_num_bytes(path), 1)

    def _alias_path(self, alias: Alias) -> Path:
        return self._root / "aliases" / f"{alias}.json"

    @contextmanager
    def _disk_errors_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailableError(store=self._root, problem=error.strerror or error) from error


def _num_bytes(folder: Path) -> int:
    with suppress(OSError):
        return sum(path.lstat().st_size for path in folder.iterdir())
    return 0


def _last_used(folder: Path) -> float:
    with suppress(OSError):
        return folder.lstat().st_mtime
    return 0.0
