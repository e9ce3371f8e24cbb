"""Writing to a local disk so that a power cut leaves the old state or the new one, never half of either.

No bundles and no aliases here; `backends.local` builds both from these few operations.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

_LOCK_POLL_SECONDS = 0.005


def make_directory(path: Path) -> None:
    """Creates a directory and its missing parents, each entry on disk when this returns."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(exist_ok=True)
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Forces a directory's entries (names, renames) to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Makes `data` the content of a file in one step: a reader sees all of the old or all of the new."""
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with draft.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(path.parent)


def append_line(path: Path, line: bytes) -> None:
    """Appends a line to a file, first cutting off a last line that a crash left without its end.

    The caller holds the lock of the file; readers need none if they ignore an unended last line.
    """
    is_new = not path.exists()
    with path.open("a+b") as stream:
        stream.seek(0)
        stream.truncate(stream.read().rfind(b"\n") + 1)
        stream.write(line + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    if is_new:
        sync_directory(path.parent)


def discard(path: Path) -> None:
    """Removes a directory with all in it, a file, or a link without its target, as far as the disk allows."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


@contextmanager
def exclusive_lock(path: Path, timeout_seconds: float) -> Iterator[None]:
    """Holds a lock that processes and threads agree on by its file; it ends with its holder, however that dies.

    Raises TimeoutError when another holder keeps it longer than `timeout_seconds`.
    """
    deadline = time.monotonic() + timeout_seconds
    with path.open("ab") as stream:
        while not _try_lock(stream.fileno()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} was locked by another process for {timeout_seconds} s")
            time.sleep(_LOCK_POLL_SECONDS)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
