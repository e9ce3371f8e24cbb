"""Bundles: a directory of plain files and the manifest that accounts for every byte of them.

`open_bundle` gives a verified handle or an error that names what is wrong; nothing is ever loaded from a directory that
did not pass. `write_bundle` makes one. Where bundles are kept, and under which alias: `store`.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from model_store.contract.manifest import MANIFEST_NAME, FileEntry, Manifest, parse_manifest
from model_store.digest import digest_bytes, digest_stream
from model_store.durable import replace_file, sync_directory
from model_store.errors import (
    BundleIncompleteError,
    BundleTooLargeError,
    DigestMismatchError,
    InvalidManifestError,
    StoreUnavailableError,
    UnsafeBundleError,
    problems_of,
)

DEFAULT_MAX_BYTES = 1 << 30
MAX_MANIFEST_BYTES = 4 << 20
_READ_ONLY = 0o444
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle. `directory` holds the manifest and the files it names, nothing else."""

    directory: Path
    manifest: Manifest
    digest: str

    def path(self, name: str) -> Path:
        """Where a file lies. Raises BundleIncompleteError when the manifest does not name it."""
        self._entry(name)
        return self.directory / name

    def read_bytes(self, name: str) -> bytes:
        """A file's content, checked once more as it is read. Raises as `open_bundle` does."""
        entry = self._entry(name)
        with _disk_errors_named(self.directory), _open_plain(self.directory / name, self.digest) as stream:
            data = stream.read(entry.num_bytes + 1)
        check_entry(self.digest, name, entry, FileEntry(sha256=digest_bytes(data), num_bytes=len(data)))
        return data

    def _entry(self, name: str) -> FileEntry:
        if name not in self.manifest.files:
            raise BundleIncompleteError(digest=self.digest, problem=f"its manifest names no file {name!r}")
        return self.manifest.files[name]


def open_bundle(directory: Path, expected_digest: str | None = None, *, max_bytes: int = DEFAULT_MAX_BYTES) -> Bundle:
    """Verifies a directory, every byte of it, and gives the handle.

    Raises:
        InvalidManifestError: the manifest is missing, breaks its schema or is not in its canonical form.
        DigestMismatchError: the manifest is not the one that `expected_digest` names, or a file has other content.
        BundleIncompleteError: a file is missing, has another length, or is not named by the manifest.
        BundleTooLargeError: the files take more than `max_bytes` together.
        UnsafeBundleError: a symbolic or hard link, a special file, or a name that is a path.
        StoreUnavailableError: the disk refuses to be read.
    """
    manifest = inspect_bundle(directory, expected_digest, max_bytes=max_bytes)
    check_contents(directory, manifest)
    return Bundle(directory, manifest, manifest.digest)


def inspect_bundle(
    directory: Path,
    expected_digest: str | None = None,
    *,
    max_bytes: int = DEFAULT_MAX_BYTES,
    allow_hard_links: bool = False,
) -> Manifest:
    """Does every check of `open_bundle` but reading the files: fast, and no proof of their content.

    `allow_hard_links` is for a source that is copied: package installers link files to their cache.
    """
    manifest = _read_manifest(directory, expected_digest)
    check_size(manifest, directory, max_bytes)
    check_listing(manifest, _plain_files(directory, manifest.digest, allow_hard_links=allow_hard_links))
    return manifest


def read_manifest(data: bytes, label: str, expected_digest: str | None = None) -> Manifest:
    """The manifest that these bytes are, wherever they were kept; `label` names it in errors.

    Raises InvalidManifestError, DigestMismatchError, and UnsafeBundleError for a file's name that is a path.
    """
    actual = digest_bytes(data)
    if expected_digest is not None and actual != expected_digest:
        raise DigestMismatchError(digest=label, path=MANIFEST_NAME, actual=actual, expected=expected_digest)
    manifest = parse_manifest(data, digest=label)
    if _canonical_bytes(manifest) != data:
        raise InvalidManifestError(digest=label, problem="it is not in its canonical form")
    for name in manifest.files:
        _check_name(manifest.digest, name)
    return manifest


def check_size(manifest: Manifest, place: object, max_bytes: int) -> None:
    """Raises BundleTooLargeError; `place` names it there."""
    num_bytes = bundle_size(manifest)
    if num_bytes > max_bytes:
        raise BundleTooLargeError(digest=manifest.digest, path=place, num_bytes=num_bytes, max_bytes=max_bytes)


def check_listing(manifest: Manifest, found: Mapping[str, int]) -> None:
    """Compares names and lengths of what lies in a version's place with its manifest. Raises BundleIncompleteError."""
    digest = manifest.digest
    if extra := found.keys() - manifest.files.keys() - {MANIFEST_NAME}:
        raise BundleIncompleteError(digest=digest, problem=f"its manifest does not name {min(extra)!r}")
    for name, entry in manifest.files.items():
        if name not in found:
            raise BundleIncompleteError(digest=digest, problem=f"{name!r} is missing")
        _check_length(digest, name, entry, found[name])


def check_entry(digest: str, name: str, expected: FileEntry, actual: FileEntry) -> None:
    """Raises BundleIncompleteError for another length, DigestMismatchError for other content."""
    _check_length(digest, name, expected, actual.num_bytes)
    if actual.sha256 != expected.sha256:
        raise DigestMismatchError(digest=digest, path=name, actual=actual.sha256, expected=expected.sha256)


def bundle_size(manifest: Manifest) -> int:
    """Bytes of all files that a manifest names, itself left out."""
    return sum(entry.num_bytes for entry in manifest.files.values())


def check_contents(directory: Path, manifest: Manifest) -> None:
    """Reads every file and compares it with the manifest. Raises as `open_bundle` does."""
    digest = manifest.digest
    for name, entry in manifest.files.items():
        with _disk_errors_named(directory), _open_plain(directory / name, digest) as source:
            check_entry(digest, name, entry, digest_stream(source, entry.num_bytes))


def copy_bundle(source: Path, manifest: Manifest, target: Path) -> None:
    """Copies an inspected bundle into an empty directory; what is verified is what was written, and it is on disk.

    Raises as `open_bundle` does, and OSError when the target cannot be written.
    """
    digest = manifest.digest
    for name, entry in manifest.files.items():
        with _open_plain(source / name, digest) as original, (target / name).open("xb") as copy:
            actual = digest_stream(original, entry.num_bytes, sink=copy)
            copy.flush()
            os.fsync(copy.fileno())
            os.fchmod(copy.fileno(), _READ_ONLY)
        check_entry(digest, name, entry, actual)
    replace_file(target / MANIFEST_NAME, manifest.canonical_bytes())
    (target / MANIFEST_NAME).chmod(_READ_ONLY)
    sync_directory(target)


def write_bundle(directory: Path, manifest_fields: Mapping[str, object]) -> Manifest:
    """Makes a bundle of a directory: digests the files in it and writes their manifest, replacing one that is there.

    `manifest_fields` are the manifest's fields but `files`. Raises InvalidManifestError when they break its schema,
    UnsafeBundleError for anything that is no plain file.
    """
    label = str(directory)
    entries = {}
    for name, num_bytes in sorted(_plain_files(directory, label).items()):
        if name != MANIFEST_NAME:
            _check_name(label, name)
            with _disk_errors_named(directory), _open_plain(directory / name, label) as stream:
                entries[name] = digest_stream(stream, num_bytes)
    try:
        manifest = Manifest.model_validate({**manifest_fields, "files": entries})
        data = manifest.canonical_bytes()
    except ValidationError as error:
        raise InvalidManifestError(digest=label, problem=problems_of(error)) from error
    except ValueError as error:
        raise InvalidManifestError(digest=label, problem=error) from error
    with _disk_errors_named(directory):
        replace_file(directory / MANIFEST_NAME, data)
    return manifest


def _read_manifest(directory: Path, expected_digest: str | None) -> Manifest:
    label = expected_digest or str(directory)
    path = directory / MANIFEST_NAME
    try:
        with _disk_errors_named(directory), _open_plain(path, label) as stream:
            data = stream.read(MAX_MANIFEST_BYTES + 1)
    except BundleIncompleteError as error:
        raise InvalidManifestError(digest=label, problem=f"{path} is missing") from error
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleTooLargeError(digest=label, path=path, num_bytes=len(data), max_bytes=MAX_MANIFEST_BYTES)
    return read_manifest(data, label, expected_digest)


def _canonical_bytes(manifest: Manifest) -> bytes | None:
    try:
        return manifest.canonical_bytes()
    except ValueError:  # a number that is not finite: Python's parser takes it, JSON does not
        return None


def _check_name(digest: str, name: str) -> None:
    if not _FILE_NAME.fullmatch(name) or name == MANIFEST_NAME:
        raise UnsafeBundleError(digest=digest, path=name, problem="is not allowed as a file's name")


def _check_length(digest: str, name: str, entry: FileEntry, num_bytes: int) -> None:
    if num_bytes != entry.num_bytes:
        raise BundleIncompleteError(digest=digest, problem=f"{name!r} has {num_bytes} bytes, not {entry.num_bytes}")


def _plain_files(directory: Path, digest: str, *, allow_hard_links: bool = False) -> dict[str, int]:
    """Names and lengths of a directory's files. Raises UnsafeBundleError for anything but a plain file."""
    found: dict[str, int] = {}
    with _disk_errors_named(directory), os.scandir(directory) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if problem := _why_unsafe(status, allow_hard_links=allow_hard_links):
                raise UnsafeBundleError(digest=digest, path=entry.name, problem=problem)
            found[entry.name] = status.st_size
    return found


def _why_unsafe(status: os.stat_result, *, allow_hard_links: bool) -> str | None:
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link"
    if not stat.S_ISREG(status.st_mode):
        return "is not a plain file"
    if status.st_nlink > 1 and not allow_hard_links:
        return "is a hard link: its content can be changed from elsewhere"
    return None


def _open_plain(path: Path, digest: str) -> BinaryIO:
    """Opens a plain file, never through a link, never waiting for the other end of a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleIncompleteError(digest=digest, problem=f"{path.name!r} is missing") from error
    except OSError as error:
        if path.is_symlink():
            raise UnsafeBundleError(digest=digest, path=path.name, problem="is a symbolic link") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafeBundleError(digest=digest, path=path.name, problem="is not a plain file")
    return os.fdopen(descriptor, "rb")


@contextmanager
def _disk_errors_named(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailableError(store=directory, problem=error.strerror or error) from error
