"""What the alerts are made of: metrics that a running service shows, and when they move."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_store.backends.protocol import RunOutcome
from tests.contract.fake_engine import FakeEngines, make_chat_bundle
from tests.e2e.running_service import RunningService, run_fake_service, say_hello, wait_until

BODY: dict[str, Any] = {"model": "rejoinder", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    """A service with the version `tiny`, looking at its store every 50 ms."""
    with run_fake_service(tmp_path, FakeEngines(say_hello)) as running:
        yield running


def rate(service: RunningService, reply: dict[str, Any], rating: str) -> int:
    """Gives a thumb; the answer's status."""
    about = {"completion_id": reply["id"], "feedback_token": reply["feedback_token"], "rating": rating}
    with service.http as client:
        return client.post("/v1/feedback", json=about).status_code


def test_thumbs_count_from_zero_so_that_the_first_one_is_a_rise(service: RunningService) -> None:
    """Prometheus sees no increase in a series that begins at 1."""
    before = service.metric("rejoinder_feedback_total")
    assert before == {'{rating="up"}': 0, '{rating="down"}': 0, '{rating="withdrawn"}': 0}
    with service.http as client:
        reply = client.post("/v1/chat/completions", json=BODY).json()
    assert rate(service, reply, "down") == 200
    assert service.metric("rejoinder_feedback_total")['{rating="down"}'] == 1


def test_a_service_without_a_model_says_that_it_is_not_ready(tmp_path: Path) -> None:
    """Up and not ready is another trouble than down."""
    with run_fake_service(tmp_path, FakeEngines(say_hello), default_bundle=tmp_path / "nowhere") as service:
        assert service.metric("rejoinder_ready") == {"": 0}
        assert service.metric("rejoinder_slots") == {"": 0}


def test_the_version_behind_an_alias_is_shown_and_moves_with_it(service: RunningService, tmp_path: Path) -> None:
    """Replicas that disagree can be told by it; slots are those of the versions that answer."""
    first = service.store.resolve("stable").digest
    assert service.metric("rejoinder_alias_info") == {f'{{alias="stable",digest="{first}"}}': 1}
    assert (service.metric("rejoinder_ready"), service.metric("rejoinder_slots")) == ({"": 1}, {"": 4})
    second = make_chat_bundle(tmp_path / "second", "second")
    service.store.publish(tmp_path / "second")
    service.store.promote("candidate", second)
    both = {f'{{alias="stable",digest="{first}"}}': 1.0, f'{{alias="candidate",digest="{second}"}}': 1.0}
    wait_until(lambda: service.metric("rejoinder_alias_info") == both)
    assert service.metric("rejoinder_slots") == {"": 8}
    service.store.promote("stable", second)
    wait_until(lambda: service.metric("rejoinder_alias_info") == {f'{{alias="stable",digest="{second}"}}': 1})


def test_the_end_of_the_last_learning_run_is_shown(service: RunningService) -> None:
    """Its outcome, when it was, and how often in a row; one series each."""
    assert service.metric("rejoinder_training_last_run") == {}
    service.store.note_run(RunOutcome.REFUSED)
    service.store.note_run(RunOutcome.REFUSED)
    runs = "rejoinder_training_same_outcome_runs"
    wait_until(lambda: service.metric(runs) == {'{outcome="refused"}': 2})
    report = service.store.note_run(RunOutcome.PUBLISHED)
    wait_until(lambda: service.metric(runs) == {'{outcome="published"}': 1})
    when = service.metric("rejoinder_training_last_run_timestamp_seconds")
    assert when == {'{outcome="published"}': pytest.approx(report.finished_at.timestamp(), abs=0.01)}


def test_what_the_database_does_not_take_is_counted(service: RunningService) -> None:
    """Of completions and of thumbs, also where a stream has begun with status 200."""
    with service.http as client:
        reply = client.post("/v1/chat/completions", json=BODY).json()
    database = sqlite3.connect(service.settings.data_dir / "rejoinder.db", isolation_level=None)
    for table in ("feedback", "completions"):
        database.execute(f"ALTER TABLE {table} RENAME TO {table}_gone")
    database.close()
    assert rate(service, reply, "up") == 503
    with service.http as client:
        assert client.post("/v1/chat/completions", json={**BODY, "stream": True}).status_code == 200
    failures = service.metric("rejoinder_record_failures_total")
    assert failures == {'{record="completion"}': 1, '{record="feedback"}': 1}


def test_a_store_on_a_directory_that_goes_away_is_seen_too(service: RunningService) -> None:
    """A volume that is not mounted looks empty; an alias that served people is not taken for one that was never set."""
    read, failures = "rejoinder_model_store_last_read_timestamp_seconds", "rejoinder_model_store_failures_total"
    assert service.metric(failures) == {'{code="store_unavailable"}': 0, '{code="store_access_denied"}': 0}
    began = service.metric(read)[""]
    wait_until(lambda: service.metric(read)[""] > began)
    models = Path(service.settings.model_store_location)
    models.rename(models.with_name("elsewhere"))
    missing = '{code="alias_not_found"}'
    wait_until(lambda: service.metric(failures).get(missing, 0) >= 1)
    stopped = service.metric(read)[""]
    wait_until(lambda: service.metric(failures)[missing] >= 3)
    with service.http as client:
        assert client.post("/v1/chat/completions", json=BODY).status_code == 200
    assert service.metric(read)[""] == stopped
    models.with_name("elsewhere").rename(models)
    wait_until(lambda: service.metric(read)[""] > stopped)


def test_a_store_that_nothing_was_put_into_is_not_away(tmp_path: Path) -> None:
    """The service waits for the first version, which is another alert's news."""
    with run_fake_service(tmp_path, FakeEngines(say_hello), default_bundle=tmp_path / "nowhere") as service:
        began = service.metric("rejoinder_model_store_last_read")["_timestamp_seconds"]
        wait_until(lambda: service.metric("rejoinder_model_store_last_read")["_timestamp_seconds"] > began)
        assert set(service.metric("rejoinder_model_store_failures_total").values()) == {0}
