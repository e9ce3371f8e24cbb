"""The objects of one bucket under one prefix, by obstore: bounded in time and size, errors named, secrets left out.

No versions and no aliases here; `s3` builds both from these few operations. A conditional write is never tried again by
itself: after an answer that was lost, a second attempt would meet the first one and call it somebody else's.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from model_store.backends.s3_access import S3Access, S3Address
from model_store.errors import StoreAccessDeniedError, StoreUnavailableError

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import ClientConfig, RetryConfig, S3Config

PART_BYTES = 4 << 20
"""Read at once; within the timeout, so that a fetch goes on at any size or fails."""
_UPLOAD_BYTES = 5 << 20
"""Sent at once: the shortest part that S3 takes, so that a slow line gets through within the timeout."""
_MAX_LISTED = 100_000
_MAX_PROBLEM_CHARS = 300
_QUERY = re.compile(r"(https?://[^\s?]*)\?\S*")
_CODE = re.compile(r"<Code>(\w+)</Code>")


class Timeouts(NamedTuple):
    """How long one request may take, in seconds, and how often one that may be repeated is."""

    connect_seconds: float = 3.0
    request_seconds: float = 15.0
    num_retries: int = 2


class StoredObject(NamedTuple):
    """An object's content, and the tag that changes with it."""

    data: bytes
    tag: str


class Bucket:
    """Keys are relative to the prefix. Every method raises StoreUnavailableError."""

    def __init__(self, address: S3Address, access: S3Access, timeouts: Timeouts = Timeouts()) -> None:  # noqa: B008
        """Makes no request."""
        self.location = str(address)
        self._store = _open(address, access, timeouts)
        self._once = _open(address, access, timeouts._replace(num_retries=0))

    def read(self, key: str, max_bytes: int) -> StoredObject | None:
        """A small object; None where there is none."""
        with self._errors_named():
            try:
                found = obstore.get(self._store, key)
                if found.meta["size"] > max_bytes:
                    problem = f"{key} takes {found.meta['size']} bytes, the limit is {max_bytes}"
                    raise StoreUnavailableError(store=self.location, problem=problem)
                return StoredObject(bytes(found.bytes()), found.meta["e_tag"] or "")
            except FileNotFoundError as error:
                _check_bucket_exists(error)
                return None

    def read_part(self, key: str, start: int, num_bytes: int) -> bytes:
        """Bytes from the middle of an object that is there."""
        with self._errors_named():
            return bytes(obstore.get_range(self._store, key, start=start, length=num_bytes))

    def list(self, prefix: str) -> dict[str, int]:
        """Keys below a prefix, and their lengths in bytes."""
        found: dict[str, int] = {}
        with self._errors_named():
            for page in obstore.list(self._store, prefix, chunk_size=1000):
                found |= {one["path"]: one["size"] for one in page}
                if len(found) > _MAX_LISTED:
                    problem = f"more than {_MAX_LISTED} objects lie below {prefix}"
                    raise StoreUnavailableError(store=self.location, problem=problem)
        return found

    def create(self, key: str, data: bytes) -> bool:
        """Writes an object that is not there yet; False where one is."""
        return self._put(key, data, "create")

    def swap(self, key: str, data: bytes, tag: str | None) -> bool:
        """Writes an object if it still has this tag, or is still not there for None; False otherwise."""
        return self._put(key, data, "create" if tag is None else {"e_tag": tag})

    def write(self, key: str, data: bytes) -> None:
        """Writes an object, whatever is there."""
        with self._errors_named():
            obstore.put(self._store, key, data, mode="overwrite", use_multipart=False)

    def upload(self, key: str, file: Path) -> None:
        """Writes a file as an object, in parts if it is long; it is visible when the last one has arrived."""
        with self._errors_named():
            obstore.put(self._store, key, file, mode="overwrite", chunk_size=_UPLOAD_BYTES, max_concurrency=1)

    def delete(self, key: str) -> None:
        """Removes an object."""
        with self._errors_named():
            obstore.delete(self._store, key)

    def _put(self, key: str, data: bytes, mode: "PutMode") -> bool:
        with self._errors_named():
            try:
                obstore.put(self._once, key, data, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            except FileNotFoundError as error:  # what was to be replaced is gone
                _check_bucket_exists(error)
                return False
        return True

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise StoreAccessDeniedError(store=self.location, problem=_told(error)) from None
        except (BaseError, OSError, ValueError) as error:
            raise StoreUnavailableError(store=self.location, problem=_told(error)) from None


def _open(address: S3Address, access: S3Access, timeouts: Timeouts) -> S3Store:
    config: S3Config = {
        "region": access.region,
        "conditional_put": "etag",
        "skip_signature": False,
        "disable_bulk_delete": True,
    }
    if access.endpoint:
        config |= {"endpoint": access.endpoint, "aws_endpoint_url_s3": access.endpoint}
    if access.access_key_id is not None and access.secret_access_key is not None:
        config["access_key_id"] = access.access_key_id.get_secret_value()
        config["secret_access_key"] = access.secret_access_key.get_secret_value()
        if access.session_token is not None:
            config["session_token"] = access.session_token.get_secret_value()
    client: ClientConfig = {
        "allow_http": (access.endpoint or "").startswith("http://"),
        "connect_timeout": timedelta(seconds=timeouts.connect_seconds),
        "timeout": timedelta(seconds=timeouts.request_seconds),
    }
    retry: RetryConfig = {
        "max_retries": timeouts.num_retries,
        "retry_timeout": timedelta(seconds=2 * timeouts.request_seconds),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=2),
            "base": 2,
        },
    }
    prefix = address.prefix or None
    return S3Store(address.bucket, prefix=prefix, config=config, client_options=client, retry_config=retry)


def _check_bucket_exists(error: FileNotFoundError) -> None:
    """Raises the error again where not an object is missing but all of them."""
    if "NoSuchBucket" in str(error):
        raise error


def _told(error: Exception) -> str:
    """What went wrong, in one line: S3's own code for it, and no queries, for a token could stand in them."""
    text = str(error).strip() or type(error).__name__
    first = _QUERY.sub(r"\1", text.splitlines()[0].partition("<?xml")[0]).rstrip(": ")[:_MAX_PROBLEM_CHARS]
    code = _CODE.search(text)
    return f"{first}: {code.group(1)}" if code else first
