"""Digests: the sha256 of content, as 64 lower-case hex digits. Names of versions and checks of their files."""

import hashlib
import re
from typing import BinaryIO, Protocol

from model_store.contract.manifest import FileEntry

SHORT_DIGEST_LENGTH = 12
_BLOCK_BYTES = 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Readable(Protocol):
    """What can be read piece by piece."""

    def read(self, num_bytes: int, /) -> bytes:
        """The next bytes, as many as asked for or fewer; none at the end."""


def is_digest(name: str) -> bool:
    """Whether a name has the form of a digest."""
    return _DIGEST.fullmatch(name) is not None


def short(digest: str) -> str:
    """The first 12 digits: what people read and type. The store takes any unique prefix of at least 8."""
    return digest[:SHORT_DIGEST_LENGTH]


def digest_bytes(data: bytes) -> str:
    """The digest of bytes in memory."""
    return hashlib.sha256(data).hexdigest()


def digest_stream(source: Readable, max_bytes: int, sink: BinaryIO | None = None) -> FileEntry:
    """Digest and length of what a stream holds, copied to `sink` on the way.

    Reads at most `max_bytes` and one block more, so a file that grows while it is read cannot hold up the reader;
    the entry then has a length above `max_bytes`.
    """
    sha256 = hashlib.sha256()
    num_bytes = 0
    while num_bytes <= max_bytes and (block := source.read(_BLOCK_BYTES)):
        sha256.update(block)
        num_bytes += len(block)
        if sink is not None:
            sink.write(block)
    return FileEntry(sha256=sha256.hexdigest(), num_bytes=num_bytes)
