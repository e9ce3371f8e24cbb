"""Alerts and dashboard on a real Prometheus that watches a service: a surge of thumbs down is sent to who listens.

An Alertmanager is not in it: Debian's finds its templates only where root installs them. Its API is.
"""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx2
import yaml

from model_store.backends.protocol import RunOutcome
from tests.chart.conftest import require
from tests.chart.make_files import COMPOSE_RULES
from tests.chart.test_alerts import dashboard_expressions, fill_in
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service, say_hello, wait_until
from tests.ports import free_port

_NUM_RATINGS = 24
_PATIENCE_SECONDS = 120.0
_EMPTY_WHERE_ALL_IS_WELL = ("canary", "replies_total{", "alias_feedback", "refused_callers", "cache_hits")


def test_a_surge_of_thumbs_down_is_sent_out_and_every_panel_has_data(tmp_path: Path) -> None:
    """Service and Prometheus, with the rules of the compose file: all real but the model and the listener."""
    program = require("prometheus")
    with ExitStack() as stack:
        service = stack.enter_context(run_fake_service(tmp_path, FakeEngines(say_hello)))
        listener = stack.enter_context(_listener())
        prometheus = stack.enter_context(_prometheus(program, tmp_path, service, listener.port))
        service.store.note_run(RunOutcome.TOO_LITTLE_FEEDBACK)
        wait_until(lambda: bool(_query(prometheus, 'up{job="rejoinder"} == 1')), _PATIENCE_SECONDS)
        for _ in range(_NUM_RATINGS):
            _rate_down(service)
        wait_until(lambda: "RejoinderThumbsDownSurge" in listener.alerts, _PATIENCE_SECONDS)
        alert = listener.alerts["RejoinderThumbsDownSurge"]
        assert alert["labels"]["severity"] == "critical"
        assert "rejoinder in compose is 75% above the usual" in alert["annotations"]["summary"]
        assert alert["annotations"]["runbook_url"] == "docs/runbooks/RejoinderThumbsDownSurge.md"
        assert set(listener.alerts) == {"RejoinderThumbsDownSurge"}
        wait_until(lambda: not _panels_without_data(prometheus), _PATIENCE_SECONDS)  # a rate needs two scrapes


def _panels_without_data(prometheus: str) -> list[str]:
    empty = [text for text in dashboard_expressions() if not _query(prometheus, _of_compose(text))]
    return [text for text in empty if not any(word in text for word in _EMPTY_WHERE_ALL_IS_WELL)]


def _rate_down(service: RunningService) -> None:
    body = {"model": "rejoinder", "messages": [{"role": "user", "content": "Hello"}]}
    with service.http as client:
        reply = client.post("/v1/chat/completions", json=body).json()
        about = {"completion_id": reply["id"], "feedback_token": reply["feedback_token"], "rating": "down"}
        assert client.post("/v1/feedback", json=about).status_code == 200


def _of_compose(expression: str) -> str:
    return fill_in(expression).replace('"bots"', '"compose"').replace('"shop-rejoinder"', '"rejoinder"')


def _query(prometheus: str, expression: str) -> list[Any]:
    answer = httpx2.get(f"{prometheus}/api/v1/query", params={"query": expression}).json()
    assert answer["status"] == "success", (expression, answer)
    found: list[Any] = answer["data"]["result"]
    return found


@contextmanager
def _prometheus(program: str, directory: Path, service: RunningService, listener_port: int) -> Iterator[str]:
    configuration = yaml.safe_load((COMPOSE_RULES.parent / "prometheus.yml").read_text(encoding="utf-8"))
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(COMPOSE_RULES)]
    (static,) = configuration["scrape_configs"][0]["static_configs"]
    static["targets"] = [service.url.removeprefix("http://")]
    configuration["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{listener_port}"]}]}]}
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    options = [f"--config.file={path}", f"--storage.tsdb.path={directory / 'tsdb'}", f"--web.listen-address={address}"]
    with _running([program, *options], f"http://{address}/-/ready"):
        yield f"http://{address}"


@contextmanager
def _running(command: list[str], ready: str) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _answers(ready), _PATIENCE_SECONDS)
            yield
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.TransportError:
        return False


class _Listener(HTTPServer):
    """Takes what Prometheus sends to `/api/v2/alerts`, and remembers it by name."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hook)
        self.port = self.server_address[1]
        self.alerts: dict[str, dict[str, Any]] = {}


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert isinstance(self.server, _Listener)
        self.server.alerts.update({alert["labels"]["alertname"]: alert for alert in told})
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silence: pytest shows what fails."""


@contextmanager
def _listener() -> Iterator[_Listener]:
    listener = _Listener()
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        listener.shutdown()
        thread.join()
