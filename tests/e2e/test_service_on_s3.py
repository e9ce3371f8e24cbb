"""A service whose model versions lie in S3, and an S3 that goes away, or that must not be used."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store.backends.bucket import Bucket
from model_store.backends.places import open_backend
from model_store.errors import UnsafeStoreError
from model_store.store import ModelStore
from service.app import create_app
from service.http_server import build_server
from service.settings import Settings
from tests.contract.fake_engine import FakeEngines, make_chat_bundle
from tests.e2e.running_service import DEADLINE_SECONDS, RunningService, run_service, wait_until
from tests.fault_proxy import Fault, FaultProxy, fault_proxy
from tests.ports import free_port
from tests.s3_server import serving_s3

BODY = {"model": "rejoinder", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def engines() -> FakeEngines:
    """Engines that greet."""
    return FakeEngines(lambda bundle, request: "Hello there.")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """The way to an S3, which can fail; the environment tells of it."""
    pytest.importorskip("moto", reason="pip install 'moto[server]'")
    with serving_s3(free_port()) as server, fault_proxy(server.port) as proxy:
        for name, value in server.environment(proxy.url).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MODEL_STORE", server.place())
        yield proxy


@pytest.fixture
def place(network: FaultProxy) -> str:
    """The store's address."""
    return os.environ["MODEL_STORE"]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """What a service puts into an empty store."""
    make_chat_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def ask(service: RunningService) -> tuple[int, str]:
    """The status of a reply, and the digest of the version that made it."""
    with service.http as client:
        response = client.post("/v1/chat/completions", json=BODY)
    return response.status_code, response.headers.get("x-model-digest", "")


def test_a_service_goes_on_and_starts_again_while_s3_is_away(
    network: FaultProxy, place: str, bundle: Path, engines: FakeEngines, tmp_path: Path
) -> None:
    """With the version that it had taken up; when S3 is back, it takes up what was promoted meanwhile."""
    with run_service(tmp_path / "data", engines, bundle, model_store=place) as service:
        served = ask(service)
        assert served[0] == 200
        network.fail(Fault.DOWN)
        assert ask(service) == served
    with run_service(tmp_path / "data", engines, bundle, model_store=place) as service:
        assert ask(service) == served
        network.fail(Fault.NONE)
        store = ModelStore(open_backend(place, tmp_path / "publisher"))
        make_chat_bundle(tmp_path / "next", "next")
        promoted = store.promote("stable", store.publish(tmp_path / "next"))
        wait_until(lambda: ask(service) == (200, promoted.digest))


def last_read(service: RunningService) -> float:
    """When the service read its store last, in seconds since 1970."""
    return service.metric("rejoinder_model_store_last_read_timestamp_seconds")[""]


def num_failures(service: RunningService, code: str = "store_unavailable") -> float:
    """Looks at the store that failed."""
    return service.metric("rejoinder_model_store_failures_total").get(f'{{code="{code}"}}', 0)


def test_operators_see_since_when_s3_is_away_and_that_it_is_back(
    network: FaultProxy, place: str, bundle: Path, engines: FakeEngines, tmp_path: Path
) -> None:
    """Customers notice nothing, so the metrics must tell: failures are counted, and the last success stands still."""
    with run_service(tmp_path / "data", engines, bundle, model_store=place) as service:
        served = ask(service)
        assert (served[0], num_failures(service)) == (200, 0)
        began = last_read(service)
        wait_until(lambda: last_read(service) > began)
        network.fail(Fault.DOWN)
        wait_until(lambda: num_failures(service) >= 1)
        stopped = last_read(service)
        wait_until(lambda: num_failures(service) >= 2)
        assert ask(service) == served
        assert last_read(service) == stopped
        network.fail(Fault.NONE)
        wait_until(lambda: last_read(service) > stopped)
        failures = num_failures(service)
        assert ask(service) == served
        wait_until(lambda: last_read(service) > stopped + 0.2)
        assert num_failures(service) == failures


def test_a_version_that_does_not_arrive_is_a_store_that_is_not_read(
    network: FaultProxy, place: str, bundle: Path, engines: FakeEngines, tmp_path: Path
) -> None:
    """The aliases come through, which are short, and what they name breaks off each time."""
    with run_service(tmp_path / "data", engines, bundle, model_store=place) as service:
        served = ask(service)
        network.fail(Fault.PARTIAL)
        passed = last_read(service)
        wait_until(lambda: last_read(service) > passed)
        make_chat_bundle(tmp_path / "next", "next")
        _promote_behind(network, place, tmp_path)
        failures = num_failures(service)
        wait_until(lambda: num_failures(service) >= failures + 2)
        stopped = last_read(service)
        wait_until(lambda: num_failures(service) >= failures + 4)
        assert (ask(service), last_read(service)) == (served, stopped)
        network.fail(Fault.NONE)
        wait_until(lambda: last_read(service) > stopped)
        assert ask(service)[1] != served[1]


def test_a_service_that_begins_without_s3_has_not_read_it_since_its_start(
    network: FaultProxy, place: str, bundle: Path, engines: FakeEngines, tmp_path: Path
) -> None:
    """What it serves from its copies is no look at the store."""
    with run_service(tmp_path / "data", engines, bundle, model_store=place) as service:
        served = ask(service)
    network.fail(Fault.DOWN)
    with run_service(tmp_path / "data", engines, bundle, model_store=place) as service:
        assert ask(service) == served
        began = last_read(service)
        assert time.time() - DEADLINE_SECONDS * 3 < began < time.time()
        wait_until(lambda: num_failures(service) >= 3)
        assert last_read(service) == began


def _promote_behind(network: FaultProxy, place: str, tmp_path: Path) -> None:
    """Promotes the bundle `next` by a way to the store that does not fail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", network.target_url)
        store = ModelStore(open_backend(place, tmp_path / "publisher"))
        store.promote("stable", store.publish(tmp_path / "next"))


def test_a_service_that_has_no_copies_waits_for_s3(
    network: FaultProxy, place: str, bundle: Path, engines: FakeEngines, tmp_path: Path
) -> None:
    """Alive, not ready, and ready when S3 is there, without a restart."""
    network.fail(Fault.DOWN)
    with run_service(tmp_path / "data", engines, bundle, model_store=place) as service:
        assert ask(service)[0] == 503
        network.fail(Fault.NONE)
        store = ModelStore(open_backend(place, tmp_path / "publisher"))
        digest = store.publish(bundle)
        store.promote("stable", digest)
        wait_until(lambda: ask(service) == (200, digest))


def test_an_s3_that_ignores_conditions_stops_the_start(
    network: FaultProxy,
    place: str,
    bundle: Path,
    engines: FakeEngines,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By name, before anything is put into it."""
    monkeypatch.setattr(Bucket, "swap", lambda self, key, data, tag: self.write(key, data) or True)
    fields = {"data_dir": tmp_path / "data", "model_store": place, "default_bundle": bundle, "port": free_port()}
    settings = Settings.model_validate(fields)
    with pytest.raises(UnsafeStoreError, match="If-Match"):
        build_server(create_app(settings, open_engine=engines), settings).run()
    assert ModelStore(open_backend(place, tmp_path / "publisher")).versions() == []
