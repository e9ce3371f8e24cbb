"""Alerts and dashboard on a real Prometheus that watches a service: a surge of thumbs down reaches who is to be woken.

By a real Alertmanager with the routes of the compose file's example. Debian's finds its templates only where root
installs them; where it was unpacked instead, root shows it them in a name space of its own (`unshare`).
"""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from model_store.backends.protocol import RunOutcome
from tests.chart.conftest import require
from tests.chart.fetch_tools import TOOLS
from tests.chart.make_files import COMPOSE_RULES
from tests.chart.test_alerts import dashboard_expressions, fill_in
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service, say_hello, wait_until
from tests.ports import free_port

_ROUTES = COMPOSE_RULES.with_name("alertmanager.example.yml")
_TEMPLATES = Path("/usr/share/prometheus/alertmanager/default.tmpl")
_NUM_RATINGS = 24
_PATIENCE_SECONDS = 120.0
_EMPTY_WHERE_ALL_IS_WELL = ("canary", "replies_total{", "alias_feedback", "refused_callers", "cache_hits")


def test_a_surge_of_thumbs_down_is_sent_out_and_every_panel_has_data(tmp_path: Path) -> None:
    """Service, Prometheus and Alertmanager, with the compose file's rules: all real but the model and the listener."""
    program, manager = require("prometheus"), _alertmanager_command()
    with ExitStack() as stack:
        service = stack.enter_context(run_fake_service(tmp_path, FakeEngines(say_hello)))
        listener = stack.enter_context(_listener())
        alertmanager = stack.enter_context(_alertmanager(manager, tmp_path, listener.port))
        prometheus = stack.enter_context(_prometheus(program, tmp_path, service, alertmanager))
        service.store.note_run(RunOutcome.TOO_LITTLE_FEEDBACK)
        wait_until(lambda: bool(_query(prometheus, 'up{job="rejoinder"} == 1')), _PATIENCE_SECONDS)
        for _ in range(_NUM_RATINGS):
            _rate_down(service)
        wait_until(lambda: "RejoinderThumbsDownSurge" in listener.alerts, _PATIENCE_SECONDS)
        alert = listener.alerts["RejoinderThumbsDownSurge"]
        assert (alert["labels"]["severity"], alert["receiver"]) == ("critical", "night")
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
def _prometheus(program: str, directory: Path, service: RunningService, alertmanager: str) -> Iterator[str]:
    configuration = yaml.safe_load((COMPOSE_RULES.parent / "prometheus.yml").read_text(encoding="utf-8"))
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(COMPOSE_RULES)]
    (static,) = configuration["scrape_configs"][0]["static_configs"]
    static["targets"] = [service.url.removeprefix("http://")]
    configuration["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    options = [f"--config.file={path}", f"--storage.tsdb.path={directory / 'tsdb'}", f"--web.listen-address={address}"]
    with _running([program, *options], f"http://{address}/-/ready"):
        yield f"http://{address}"


def _alertmanager_command() -> list[str]:
    """How to start it; skips where it would not find its templates."""
    program = require("prometheus-alertmanager")
    if _TEMPLATES.exists():
        return [program]
    if os.geteuid() != 0:
        pytest.skip("Alertmanager finds no templates: apt-get install prometheus-alertmanager, or run this as root")
    script = 'mount --make-rprivate / && mount --bind "$1" /usr/share && shift && exec "$@"'
    return ["unshare", "--mount", "bash", "-c", script, "-", str(TOOLS / "debian" / "usr" / "share"), program]


@contextmanager
def _alertmanager(command: list[str], directory: Path, listener_port: int) -> Iterator[str]:
    """With the example's routes, but at once, and to the listener."""
    configuration = yaml.safe_load(_ROUTES.read_text(encoding="utf-8"))
    configuration["route"]["group_wait"] = "1s"
    for receiver in configuration["receivers"]:
        (hook,) = receiver["webhook_configs"]
        hook["url"] = f"http://127.0.0.1:{listener_port}/"
    path = directory / "alertmanager.yml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    options = [f"--config.file={path}", f"--storage.path={directory / 'alertmanager'}", "--cluster.listen-address="]
    with _running([*command, *options, f"--web.listen-address={address}"], f"http://{address}/-/ready"):
        yield address


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
    """Takes what Alertmanager sends to a webhook, and remembers it by name."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hook)
        self.port = self.server_address[1]
        self.alerts: dict[str, dict[str, Any]] = {}


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert isinstance(self.server, _Listener)
        for alert in told["alerts"]:
            self.server.alerts[alert["labels"]["alertname"]] = {**alert, "receiver": told["receiver"]}
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
