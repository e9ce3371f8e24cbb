"""From the name of a place to the store that is there: a directory's path, or an address of S3."""

from pathlib import Path

from model_store.backends.local import LocalBackend
from model_store.backends.protocol import StoreBackend
from model_store.backends.s3_access import is_s3, parse_address, read_access
from model_store.errors import InvalidStoreAddressError

_MEBIBYTE = 1 << 20


def check_location(location: str) -> None:
    """Raises InvalidStoreAddressError for an address that is none, or that is not set up; makes no request."""
    if is_s3(location):
        parse_address(location)
        read_access()
    elif "://" in location:
        raise InvalidStoreAddressError(problem="s3:// is the only scheme there is")


def open_backend(location: str, cache_dir: Path | None = None) -> StoreBackend:
    """The store at a place, without looking at it yet. Raises InvalidStoreAddressError.

    `cache_dir` is where copies of a distant store are kept; without it the environment says so.
    """
    check_location(location)
    if not is_s3(location):
        return LocalBackend(Path(location))
    try:
        from model_store.backends.bucket import Bucket
    except ModuleNotFoundError as error:
        raise InvalidStoreAddressError(problem="obstore is not installed: pip install 'rejoinder[s3]'") from error
    from model_store.backends.s3 import S3Backend
    from model_store.backends.version_cache import VersionCache

    access = read_access()
    cache = VersionCache(cache_dir or access.cache_path, access.cache_mib * _MEBIBYTE)
    return S3Backend(Bucket(parse_address(location), access), cache)
