"""A store in a bucket of S3, or of anything that speaks S3 and keeps to If-None-Match and If-Match.

The keys are the paths of a store on a directory (`local`), so that one can be copied to the other:
- `versions/<digest>/…`: the manifest is written last, and only what has one is a version
- `aliases/stable.json`: swapped by its ETag; `aliases/stable.history.jsonl`: grown by its ETag, caught up with by the
  next move where a crash kept a line out
- `signatures/<digest>.jsonl`, `last_run.json`, `curation.json`; `probes/`: made and removed by `check`
Versions are read from copies on this machine (`version_cache`). Requests: `bucket`.
"""

import io
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from pydantic import ValidationError

from model_store.backends.bucket import PART_BYTES, Bucket
from model_store.backends.protocol import Alias, AliasMove, RunReport, StoreBackend, parse_move
from model_store.backends.version_cache import VersionCache
from model_store.bundle import (
    DEFAULT_MAX_BYTES,
    MAX_MANIFEST_BYTES,
    check_entry,
    check_listing,
    check_size,
    copy_bundle,
    read_manifest,
)
from model_store.contract.manifest import MANIFEST_NAME, Manifest
from model_store.curation import CurationReport
from model_store.digest import digest_stream, is_digest
from model_store.errors import (
    AliasConflictError,
    BundleIncompleteError,
    BundleTooLargeError,
    StoreAccessDeniedError,
    StoreUnavailableError,
    UnsafeBundleError,
    UnsafeStoreError,
    VersionNotFoundError,
)
from model_store.signing import Signature
from model_store.trust import AliasState

_MAX_MOVE_BYTES = 65_536
_MAX_REPORT_BYTES = 16 << 20
_MAX_HISTORY_BYTES = 64 << 20
_MAX_SIGNATURE_BYTES = 65_536
_MAX_SWAPS = 5
_MAX_APPENDS = 40
_WRONG_TAG = f'"{"0" * 32}"'


class S3Backend:
    """Versions and aliases below a bucket's prefix. Readers need the right to list and get, writers to put as well."""

    def __init__(self, bucket: Bucket, cache: VersionCache) -> None:
        """Makes no request."""
        self._bucket = bucket
        self._cache = cache
        self._is_checked = False

    @property
    def location(self) -> str:
        """The address, s3://…"""
        return self._bucket.location

    @property
    def mirror(self) -> StoreBackend:
        """What the cache keeps: the versions that served last, and by which moves."""
        return self._cache.shelf

    def check(self) -> None:
        """Tries conditional writes out. Raises UnsafeStoreError where they are ignored, StoreUnavailableError.

        Says nothing about a store that lets its caller only read.
        """
        key = f"probes/{uuid4().hex}"
        try:
            self._bucket.create(key, b"1")
        except StoreAccessDeniedError:
            return
        try:
            problem = self._why_unsafe(key)
        finally:
            with suppress(StoreUnavailableError):
                self._bucket.delete(key)
        if problem:
            raise UnsafeStoreError(store=self.location, problem=problem)
        self._is_checked = True

    def list_digests(self) -> list[str]:
        """Every version with a manifest."""
        keys = (key.split("/") for key in self._bucket.list("versions"))
        return sorted(key[1] for key in keys if len(key) == 3 and key[2] == MANIFEST_NAME and is_digest(key[1]))

    def inspect_version(self, digest: str, max_bytes: int = DEFAULT_MAX_BYTES) -> Manifest:
        """Reads the manifest and compares it with what is listed. Raises VersionNotFoundError, BundleError."""
        found = self._list_files(digest)
        if MANIFEST_NAME not in found:
            raise VersionNotFoundError(name=digest, store=self.location)
        if found[MANIFEST_NAME] > MAX_MANIFEST_BYTES:
            size = found[MANIFEST_NAME]
            raise BundleTooLargeError(digest=digest, path=MANIFEST_NAME, num_bytes=size, max_bytes=MAX_MANIFEST_BYTES)
        stored = self._bucket.read(_key(digest, MANIFEST_NAME), MAX_MANIFEST_BYTES)
        if stored is None:
            raise VersionNotFoundError(name=digest, store=self.location)
        manifest = read_manifest(stored.data, digest, digest)
        check_size(manifest, self.location, max_bytes)
        if nested := [name for name in found if "/" in name]:
            raise UnsafeBundleError(digest=digest, path=min(nested), problem="does not lie in the version's own folder")
        check_listing(manifest, found)
        return manifest

    def verify_version(self, digest: str, max_bytes: int = DEFAULT_MAX_BYTES) -> Manifest:
        """Reads every byte from the bucket, keeping none. Raises VersionNotFoundError, BundleError."""
        manifest = self.inspect_version(digest, max_bytes)
        for name in manifest.files:
            self._read_file(manifest, name)
        return manifest

    def fetch_version(self, digest: str, max_bytes: int = DEFAULT_MAX_BYTES) -> Path:
        """A verified copy on this machine, made now if there is none. Raises VersionNotFoundError, BundleError."""
        if not is_digest(digest):
            raise VersionNotFoundError(name=digest, store=self.location)
        if copy := self._cache.find(digest):
            return copy
        manifest = self.inspect_version(digest, max_bytes)
        with self._cache.draft() as draft:
            for name in manifest.files:
                with (draft / name).open("xb") as sink:
                    self._read_file(manifest, name, sink)
            (draft / MANIFEST_NAME).write_bytes(manifest.canonical_bytes())
            return self._cache.add(draft, manifest)

    def read_file(self, manifest: Manifest, name: str) -> bytes:
        """One file, verified. Raises BundleError."""
        sink = io.BytesIO()
        self._read_file(manifest, name, sink)
        return sink.getvalue()

    def add_version(self, source: Path, manifest: Manifest) -> None:
        """Copies and verifies here, then uploads the copy, its manifest last. Raises BundleError."""
        self._check_once()
        digest = manifest.digest
        with self._cache.draft() as draft:
            copy_bundle(source, manifest, draft)
            for name in manifest.files:
                self._bucket.upload(_key(digest, name), draft / name)
        for name in self._list_files(digest).keys() - manifest.files.keys() - {MANIFEST_NAME}:
            self._bucket.delete(_key(digest, name))
        data = manifest.canonical_bytes()
        if not self._bucket.create(_key(digest, MANIFEST_NAME), data):
            self._bucket.write(
                _key(digest, MANIFEST_NAME), data
            )  # a digest has one manifest: this mends or changes nothing

    def read_alias(self, alias: Alias) -> AliasMove | None:
        """The move that brought the alias where it is; None when it is not set. Raises CorruptAliasError."""
        move, _ = self._read_alias(alias)
        self._cache.note_read(alias, move)
        return move

    def take_up(self, alias: Alias, state: AliasState) -> None:
        """Notes in the cache what serves people, for a start without S3."""
        self._cache.take_up(alias, state)

    def read_history(self, alias: Alias) -> list[AliasMove]:
        """All moves, oldest first. Raises CorruptAliasError."""
        # In this order: a history read after the alias can be ahead of it, never more than one move behind.
        current, _ = self._read_alias(alias)
        moves = [parse_move(self._place(_history_key(alias)), line) for line in self._history_lines(alias)]
        if current is not None and (not moves or moves[-1].generation < current.generation):
            moves.append(current)
        return moves

    def move_alias(self, alias: Alias, move: AliasMove) -> None:
        """Compares, and swaps by the ETag of what was compared. Raises AliasConflictError, CorruptAliasError."""
        self._check_once()
        generation = move.generation
        for _ in range(
            _MAX_SWAPS
        ):  # a store may refuse because another request is under way, not because it came first
            current, tag = self._read_alias(alias)
            generation = self._catch_up_history(alias, current)
            digest = current.to_digest if current else None
            if (generation, digest) != (move.generation - 1, move.from_digest):
                break
            if self._swap_alias(alias, move, tag):
                with suppress(StoreUnavailableError):  # the move is made; the next one writes its line
                    self._append_move(alias, move)
                return
        raise AliasConflictError(alias=alias.value, expected=move.generation - 1, actual=generation)

    def read_signatures(self, digest: str) -> list[Signature]:
        """The signature object's lines; one that is no signature is passed over."""
        if not is_digest(digest):
            raise VersionNotFoundError(name=digest, store=self.location)
        stored = self._bucket.read(f"signatures/{digest}.jsonl", _MAX_SIGNATURE_BYTES)
        signatures = []
        for line in stored.data.splitlines() if stored else ():
            with suppress(ValidationError):
                signatures.append(Signature.model_validate_json(line))
        self._cache.note_signatures(digest, signatures)
        return signatures

    def add_signature(self, digest: str, signature: Signature) -> None:
        """Appends a line, by the object's ETag."""
        if not is_digest(digest):
            raise VersionNotFoundError(name=digest, store=self.location)
        self._check_once()
        line = signature.as_line()
        self._append(f"signatures/{digest}.jsonl", line, _MAX_SIGNATURE_BYTES, lambda lines: line in lines)

    def read_run_report(self) -> RunReport | None:
        """The report written last; None where there is none that can be read."""
        stored = self._bucket.read("last_run.json", _MAX_REPORT_BYTES)
        with suppress(ValidationError):
            return RunReport.model_validate_json(stored.data) if stored else None
        return None

    def write_run_report(self, report: RunReport) -> None:
        """Replaces the object in one step."""
        self._bucket.write("last_run.json", report.model_dump_json().encode())

    def read_curation(self) -> CurationReport | None:
        """What was written last; None where there is nothing that can be read."""
        stored = self._bucket.read("curation.json", _MAX_REPORT_BYTES)
        with suppress(ValidationError):
            return CurationReport.model_validate_json(stored.data) if stored else None
        return None

    def write_curation(self, report: CurationReport) -> None:
        """Replaces the object in one step."""
        self._bucket.write("curation.json", report.model_dump_json().encode())

    def _check_once(self) -> None:
        if not self._is_checked:
            self.check()

    def _why_unsafe(self, key: str) -> str | None:
        if self._bucket.create(key, b"2"):
            return "it ignores If-None-Match, so two publishers could both set an alias"
        if self._bucket.swap(key, b"3", _WRONG_TAG):
            return "it ignores If-Match, so two publishers could both move an alias"
        stored = self._bucket.read(key, _MAX_MOVE_BYTES)
        if stored is None or not stored.tag or not self._bucket.swap(key, b"4", stored.tag):
            return "it refuses a write with the ETag that it gave, so no alias could be moved"
        return None

    def _list_files(self, digest: str) -> dict[str, int]:
        if not is_digest(digest):
            raise VersionNotFoundError(name=digest, store=self.location)
        folder = f"versions/{digest}"
        return {key.removeprefix(f"{folder}/"): size for key, size in self._bucket.list(folder).items()}

    def _read_file(self, manifest: Manifest, name: str, sink: BinaryIO | None = None) -> None:
        """Reads a file part by part, into `sink` if one is given. Raises BundleError for anything but its content."""
        if name not in manifest.files:
            raise BundleIncompleteError(digest=manifest.digest, problem=f"its manifest names no file {name!r}")
        entry = manifest.files[name]
        source = _ObjectStream(self._bucket, _key(manifest.digest, name), entry.num_bytes)
        check_entry(manifest.digest, name, entry, digest_stream(source, entry.num_bytes, sink))

    def _read_alias(self, alias: Alias) -> tuple[AliasMove | None, str | None]:
        """The move, and the tag that the next one must name."""
        stored = self._bucket.read(_alias_key(alias), _MAX_MOVE_BYTES)
        if stored is None:
            return None, None
        return parse_move(self._place(_alias_key(alias)), stored.data), stored.tag

    def _swap_alias(self, alias: Alias, move: AliasMove, tag: str | None) -> bool:
        data = move.as_line()
        try:
            return self._bucket.swap(_alias_key(alias), data, tag)
        except StoreUnavailableError:  # the answer was lost, and whether the move was made is to be looked up
            stored = self._bucket.read(_alias_key(alias), _MAX_MOVE_BYTES)
            if stored is not None and stored.data == data:
                return True
            raise

    def _catch_up_history(self, alias: Alias, current: AliasMove | None) -> int:
        """The last generation; writes the line that is missing when the last mover died between its two writes."""
        lines = self._history_lines(alias)
        generation = self._last_generation(alias, lines)
        if current is None or current.generation <= generation:
            return generation
        self._append_move(alias, current)
        return current.generation

    def _append_move(self, alias: Alias, move: AliasMove) -> None:
        def is_there(lines: list[bytes]) -> bool:
            return self._last_generation(alias, lines) >= move.generation

        self._append(_history_key(alias), move.as_line(), _MAX_HISTORY_BYTES, is_there)

    def _last_generation(self, alias: Alias, lines: list[bytes]) -> int:
        return parse_move(self._place(_history_key(alias)), lines[-1]).generation if lines else 0

    def _history_lines(self, alias: Alias) -> list[bytes]:
        stored = self._bucket.read(_history_key(alias), _MAX_HISTORY_BYTES)
        return stored.data.split(b"\n")[:-1] if stored else []

    def _append(self, key: str, line: bytes, max_bytes: int, is_there: Callable[[list[bytes]], bool]) -> None:
        """Adds a line to an object that others add to as well, unless it is there already."""
        for attempt in range(_MAX_APPENDS):
            stored = self._bucket.read(key, max_bytes)
            whole = stored.data[: stored.data.rfind(b"\n") + 1] if stored else b""
            if is_there(whole.split(b"\n")[:-1]):
                return
            if self._bucket.swap(key, whole + line + b"\n", stored.tag if stored else None):
                return
            time.sleep(random.uniform(0, 0.01 * (attempt + 1)))
        raise StoreUnavailableError(store=self.location, problem=f"others write to {key} all the time")

    def _place(self, key: str) -> str:
        return f"{self.location}/{key}"


class _ObjectStream:
    """An object as a stream, fetched in parts that each fit into one request's time."""

    def __init__(self, bucket: Bucket, key: str, num_bytes: int) -> None:
        self._bucket, self._key, self._num_bytes = bucket, key, num_bytes
        self._position = 0

    def read(self, num_bytes: int = -1) -> bytes:
        """The next part, whatever length is asked for; empty at the end."""
        length = min(PART_BYTES, self._num_bytes - self._position)
        part = self._bucket.read_part(self._key, self._position, length) if length else b""
        self._position += len(part)
        return part


def _key(digest: str, name: str) -> str:
    return f"versions/{digest}/{name}"


def _alias_key(alias: Alias) -> str:
    return f"aliases/{alias}.json"


def _history_key(alias: Alias) -> str:
    return f"aliases/{alias}.history.jsonl"
