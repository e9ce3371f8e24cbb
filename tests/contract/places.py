"""The places that the model store's contract is tested on, and what lies in them as their bytes."""

import os
from pathlib import Path
from typing import Protocol

from model_store.backends.bucket import Bucket
from model_store.backends.places import open_backend
from model_store.backends.s3_access import is_s3, parse_address, read_access
from model_store.store import ModelStore

_MAX_BYTES = 1 << 24


class Place(Protocol):
    """Where a store lies. Keys are paths from its root."""

    location: str

    def read(self, key: str) -> bytes:
        """What lies there."""

    def write(self, key: str, data: bytes) -> None:
        """Puts it there, whatever it was."""

    def delete(self, key: str) -> None:
        """Takes it away."""


class Folder:
    """A directory."""

    def __init__(self, location: str) -> None:
        self.location = location

    def read(self, key: str) -> bytes:
        """A file's content."""
        return (Path(self.location) / key).read_bytes()

    def write(self, key: str, data: bytes) -> None:
        """Replaces a file, also one that may only be read."""
        path = Path(self.location) / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(data)

    def delete(self, key: str) -> None:
        """Removes a file."""
        (Path(self.location) / key).unlink()


class Objects:
    """A prefix of a bucket; the environment says where the bucket is."""

    def __init__(self, location: str) -> None:
        self.location = location
        self._bucket = Bucket(parse_address(location), read_access())

    def read(self, key: str) -> bytes:
        """An object's content."""
        found = self._bucket.read(key, _MAX_BYTES)
        assert found is not None, key
        return found.data

    def write(self, key: str, data: bytes) -> None:
        """Replaces an object."""
        self._bucket.write(key, data)

    def delete(self, key: str) -> None:
        """Removes an object."""
        self._bucket.delete(key)


def place_of(location: str) -> Place:
    """The bytes of a store."""
    return Objects(location) if is_s3(location) else Folder(location)


def open_store(location: str, **options: int) -> ModelStore:
    """A store; a distant one with a cache of this process's own."""
    cache = Path(os.environ["MODEL_CACHE_DIR"]) / str(os.getpid())
    return ModelStore(open_backend(location, cache), **options)
