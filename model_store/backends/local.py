"""A store on a local directory, shared by processes of one machine or over a volume with working `flock`.

- `versions/<digest>/…`: whole and durable before its directory is renamed to this name
- `aliases/stable.json`: the last move, the one file that decides where the alias points
- `aliases/stable.history.jsonl`: all moves; a line that a crash kept out is written with the next move
- `signatures/<digest>.jsonl`: who has signed that version
- `last_run.json`: how the last learning run ended; `curation.json`: what it thought of the ratings
- `incoming/<random>/`: what is being published, or was when its publisher died
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from pydantic import ValidationError

from model_store.backends.protocol import Alias, AliasMove, RunReport, parse_move
from model_store.bundle import DEFAULT_MAX_BYTES, Bundle, bundle_size, copy_bundle, inspect_bundle, open_bundle
from model_store.contract.manifest import Manifest
from model_store.curation import CurationReport
from model_store.digest import is_digest
from model_store.durable import append_line, discard, exclusive_lock, make_directory, replace_file, sync_directory
from model_store.errors import (
    AliasConflictError,
    BundleError,
    StoreUnavailableError,
    UnsafeBundleError,
    VersionNotFoundError,
)
from model_store.signing import Signature
from model_store.trust import AliasState

_LOCK_TIMEOUT_SECONDS = 30.0
_ABANDONED_SECONDS = 24 * 3600.0
_MAX_SIGNATURE_BYTES = 65_536


class LocalBackend:
    """Versions and aliases under one directory, which the first write creates. Readers work on a read-only mount."""

    def __init__(self, root: Path, *, lock_timeout_seconds: float = _LOCK_TIMEOUT_SECONDS) -> None:
        """Touches nothing on the disk."""
        self._root = root
        self._versions = root / "versions"
        self._aliases = root / "aliases"
        self._incoming = root / "incoming"
        self._lock_timeout_seconds = lock_timeout_seconds

    @property
    def location(self) -> str:
        """The directory's path."""
        return str(self._root)

    @property
    def mirror(self) -> None:
        """None: the store is on this machine."""
        return None

    def check(self) -> None:
        """A lock and a rename are all that is needed, so there is nothing to ask."""

    def list_digests(self) -> list[str]:
        """Every version that is visible, intact or not."""
        with self._disk_errors_named():
            try:
                names = os.listdir(self._versions)
            except FileNotFoundError:
                return []
        return sorted(name for name in names if is_digest(name))

    def inspect_version(self, digest: str, max_bytes: int = DEFAULT_MAX_BYTES) -> Manifest:
        """Checks names and lengths. Raises VersionNotFoundError, BundleError."""
        return inspect_bundle(self.fetch_version(digest), digest, max_bytes=max_bytes)

    def verify_version(self, digest: str, max_bytes: int = DEFAULT_MAX_BYTES) -> Manifest:
        """Reads every byte. Raises VersionNotFoundError, BundleError."""
        return open_bundle(self.fetch_version(digest), digest, max_bytes=max_bytes).manifest

    def read_file(self, manifest: Manifest, name: str) -> bytes:
        """One file, verified. Raises VersionNotFoundError, BundleError."""
        return Bundle(self.fetch_version(manifest.digest), manifest, manifest.digest).read_bytes(name)

    def fetch_version(self, digest: str, max_bytes: int = DEFAULT_MAX_BYTES) -> Path:
        """The version's own directory, whatever it takes. Raises VersionNotFoundError, UnsafeBundleError."""
        path = self._versions / digest
        if not is_digest(digest) or not os.path.lexists(path):
            raise VersionNotFoundError(name=digest, store=self.location)
        if path.is_symlink() or not path.is_dir():
            raise UnsafeBundleError(digest=digest, path=digest, problem="is not a plain directory")
        return path

    def add_version(self, source: Path, manifest: Manifest) -> None:
        """Copies into `incoming`, verifies and syncs there, then renames. Raises BundleError, StoreUnavailableError."""
        with self._disk_errors_named():
            draft = self._make_draft()
            try:
                copy_bundle(source, manifest, draft)
                with exclusive_lock(self._root / "versions.lock", self._lock_timeout_seconds):
                    self._reveal(draft, manifest)
            finally:
                discard(draft)

    def read_alias(self, alias: Alias) -> AliasMove | None:
        """The move that brought the alias where it is; None when it is not set. Raises CorruptAliasError."""
        path = self._alias_path(alias)
        with self._disk_errors_named():
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return None
        return parse_move(path, data)

    def take_up(self, alias: Alias, state: AliasState) -> None:
        """There is no mirror to note it in."""

    def read_history(self, alias: Alias) -> list[AliasMove]:
        """All moves, oldest first. Raises CorruptAliasError."""
        # In this order: a history read after the alias can be ahead of it, never more than one move behind.
        current = self.read_alias(alias)
        path = self._history_path(alias)
        moves = [parse_move(path, line) for line in self._history_lines(alias)]
        if current is not None and (not moves or moves[-1].generation < current.generation):
            moves.append(current)
        return moves

    def move_alias(self, alias: Alias, move: AliasMove) -> None:
        """Compares and swaps under the alias's lock. Raises AliasConflictError, CorruptAliasError."""
        with self._disk_errors_named():
            make_directory(self._aliases)
            with exclusive_lock(self._aliases / f"{alias}.lock", self._lock_timeout_seconds):
                current = self.read_alias(alias)
                generation = self._catch_up_history(alias, current)
                digest = current.to_digest if current else None
                if (generation, digest) != (move.generation - 1, move.from_digest):
                    raise AliasConflictError(alias=alias.value, expected=move.generation - 1, actual=generation)
                replace_file(self._alias_path(alias), move.as_line())
                append_line(self._history_path(alias), move.as_line())

    def read_signatures(self, digest: str) -> list[Signature]:
        """The signature file's lines; one that a crash cut off, or that is none, is passed over."""
        with self._disk_errors_named():
            try:
                with self._signature_path(digest).open("rb") as stream:
                    lines = stream.read(_MAX_SIGNATURE_BYTES).split(b"\n")[:-1]
            except FileNotFoundError:
                return []
        signatures = []
        for line in lines:
            with suppress(ValidationError):
                signatures.append(Signature.model_validate_json(line))
        return signatures

    def add_signature(self, digest: str, signature: Signature) -> None:
        """Appends a line under a lock."""
        path = self._signature_path(digest)
        with self._disk_errors_named():
            make_directory(path.parent)
            with exclusive_lock(path.parent / "signatures.lock", self._lock_timeout_seconds):
                append_line(path, signature.as_line())

    def _signature_path(self, digest: str) -> Path:
        if not is_digest(digest):
            raise VersionNotFoundError(name=digest, store=self.location)
        return self._root / "signatures" / f"{digest}.jsonl"

    def read_run_report(self) -> RunReport | None:
        """The report written last; None where there is none that can be read."""
        with self._disk_errors_named():
            try:
                return RunReport.model_validate_json(self._run_report_path.read_bytes())
            except (FileNotFoundError, ValidationError):
                return None

    def write_run_report(self, report: RunReport) -> None:
        """Replaces the file in one step."""
        with self._disk_errors_named():
            make_directory(self._root)
            replace_file(self._run_report_path, report.model_dump_json().encode())

    def read_curation(self) -> CurationReport | None:
        """What was written last; None where there is nothing that can be read."""
        with self._disk_errors_named():
            try:
                return CurationReport.model_validate_json((self._root / "curation.json").read_bytes())
            except (FileNotFoundError, ValidationError):
                return None

    def write_curation(self, report: CurationReport) -> None:
        """Replaces the file in one step."""
        with self._disk_errors_named():
            make_directory(self._root)
            replace_file(self._root / "curation.json", report.model_dump_json().encode())

    @property
    def _run_report_path(self) -> Path:
        return self._root / "last_run.json"

    def _catch_up_history(self, alias: Alias, current: AliasMove | None) -> int:
        """The last generation; writes the line that is missing when the last mover died between its two writes."""
        path = self._history_path(alias)
        lines = self._history_lines(alias)
        generation = parse_move(path, lines[-1]).generation if lines else 0
        if current is None or current.generation <= generation:
            return generation
        append_line(path, current.as_line())
        return current.generation

    def _history_lines(self, alias: Alias) -> list[bytes]:
        """The history's finished lines."""
        with self._disk_errors_named():
            try:
                data = self._history_path(alias).read_bytes()
            except FileNotFoundError:
                return []
        return data.split(b"\n")[:-1]

    def _alias_path(self, alias: Alias) -> Path:
        return self._aliases / f"{alias}.json"

    def _history_path(self, alias: Alias) -> Path:
        return self._aliases / f"{alias}.history.jsonl"

    def _make_draft(self) -> Path:
        """An empty directory on the same disk as the versions; removes what publishers left that died a day ago."""
        make_directory(self._versions)
        make_directory(self._incoming)
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError):  # another publisher sweeps too
                if time.time() - path.lstat().st_mtime > _ABANDONED_SECONDS:
                    discard(path)
        draft = self._incoming / uuid4().hex
        draft.mkdir()
        return draft

    def _reveal(self, draft: Path, manifest: Manifest) -> None:
        """Gives a finished draft its name, unless an intact version bears it already."""
        target = self._versions / manifest.digest
        if os.path.lexists(target):
            if self._is_intact(manifest):
                return
            damaged = self._incoming / uuid4().hex
            os.rename(target, damaged)
            discard(damaged)
        os.rename(draft, target)
        sync_directory(self._versions)

    def _is_intact(self, manifest: Manifest) -> bool:
        try:
            self.verify_version(manifest.digest, bundle_size(manifest))
        except BundleError:
            return False
        return True

    @contextmanager
    def _disk_errors_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailableError(store=self.location, problem=error.strerror or error) from error
