"""Places for model stores: a directory, and a bucket of a real S3 server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store.store import ModelStore
from tests.contract.places import Place, open_store, place_of
from tests.ports import free_port
from tests.s3_server import S3Server, serving_s3


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One server for all tests; each uses a prefix of its own."""
    pytest.importorskip("moto", reason="pip install 'moto[server]'")
    with serving_s3(free_port()) as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """The server, and the environment that tells of it, for this process and those it starts."""
    monkeypatch.setenv("MODEL_CACHE_DIR", str(tmp_path / "copies"))
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty place; whatever it is, the same tests hold."""
    monkeypatch.setenv("MODEL_CACHE_DIR", str(tmp_path / "copies"))
    if request.param == "local":
        return place_of(str(tmp_path / "store"))
    s3: S3Server = request.getfixturevalue("s3")
    return place_of(s3.place())


@pytest.fixture
def store(place: Place) -> ModelStore:
    """An empty store."""
    return open_store(place.location)
