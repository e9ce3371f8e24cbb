"""A model store on S3 for rows of the table: moto's server, and a network before it that fails when told to."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from model_store.backends.bucket import Bucket
from model_store.backends.places import open_backend
from model_store.backends.s3_access import parse_address, read_access
from model_store.store import ModelStore
from tests.benchmarks.reliability.finding import NotRunError
from tests.benchmarks.reliability.service_process import free_port
from tests.fault_proxy import FaultProxy, fault_proxy
from tests.s3_server import S3Server, serving_s3


class DistantStore:
    """A store's address, and what stands behind it. The environment tells this process and its children of it."""

    def __init__(self, server: S3Server, proxy: FaultProxy, cache: Path) -> None:
        self.server = server
        self.proxy = proxy
        self.place = server.place()
        self._cache = cache

    def open(self) -> ModelStore:
        """The store, by the network that can fail, with a cache of this process's own."""
        return ModelStore(open_backend(self.place, self._cache))

    def open_beside(self) -> ModelStore:
        """The store, by a network that does not fail."""
        with patch.dict(os.environ, self.server.environment()):
            return self.open()

    def replace(self, digest: str, folder: Path) -> None:
        """Makes a version's objects those of a folder, as somebody does who has the right to."""
        with patch.dict(os.environ, self.server.environment()):
            bucket = Bucket(parse_address(self.place), read_access())
        files = {f"versions/{digest}/{path.name}": path for path in folder.iterdir()}
        for key in bucket.list(f"versions/{digest}").keys() - files.keys():
            bucket.delete(key)
        for key, path in files.items():
            bucket.upload(key, path)


@contextmanager
def distant_store(folder: Path) -> Iterator[DistantStore]:
    """An empty store until the block ends. Raises NotRunError where there is no moto."""
    try:
        with serving_s3(free_port()) as server, fault_proxy(server.port) as proxy:
            with patch.dict(os.environ, server.environment(proxy.url)):
                yield DistantStore(server, proxy, folder / "cache")
    except RuntimeError as error:
        if "moto" not in str(error):
            raise
        raise NotRunError(str(error)) from error
