"""The compose file for one box, and the configuration of nginx and Prometheus that it mounts, by the real programs."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import yaml

from service.settings import Settings
from tests.chart.conftest import Helm, require
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import run_fake_service, wait_until
from tests.ports import free_port

_COMPOSE = Path(__file__).resolve().parents[2] / "deploy" / "compose"
_NGINX = (_COMPOSE / "nginx" / "nginx.conf").read_text(encoding="utf-8")


def _services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.safe_load((_COMPOSE / "compose.yaml").read_text("utf-8"))["services"]
    return services


def test_every_variable_of_the_service_is_a_setting() -> None:
    """A name with a typing error would be ignored in silence."""
    known = {f"SERVICE_{field.upper()}" for field in Settings.model_fields} | {"HOST", "PORT", "DATA_DIR"}
    assert set(_services()["service"]["environment"]) - {"<<"} <= known


def test_every_variable_that_an_operator_fills_in_is_in_the_example() -> None:
    """Nothing has a default that would be a secret."""
    text = (_COMPOSE / "compose.yaml").read_text(encoding="utf-8")
    names = set(re.findall(r"\$\{([A-Z_]+)", text))
    example = (_COMPOSE / "env.example").read_text(encoding="utf-8")
    assert names == set(re.findall(r"^([A-Z_]+)=", example, flags=re.MULTILINE))
    assert re.findall(r"\$\{(?:API_KEY|FEEDBACK_SECRET|POSTGRES_PASSWORD):-", text) == []


def test_every_file_that_is_mounted_is_there_and_every_image_has_a_version() -> None:
    """`latest` is another program every month."""
    services = _services()
    for name, service in services.items():
        assert re.search(r":[^/]*\d", service["image"]), name
        for mount in service.get("volumes", []):
            if mount.startswith("."):
                assert (_COMPOSE / mount.split(":")[0]).exists(), mount


def test_only_nginx_and_prometheus_open_ports_and_only_on_this_machine() -> None:
    """The service is reached through nginx, the database by the service alone."""
    open_ports = {name: service["ports"] for name, service in _services().items() if "ports" in service}
    assert open_ports.keys() == {"nginx", "prometheus"}
    assert all(port.startswith("127.0.0.1:") for ports in open_ports.values() for port in ports)
    assert _services()["database"]["networks"] == ["back"]


def test_promtool_takes_the_configuration_of_prometheus(promtool: Helm) -> None:
    """Configuration and rules."""
    done = promtool("check", "config", str(_COMPOSE / "prometheus" / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout


def test_amtool_takes_the_example_of_routes() -> None:
    """And sends what is critical to another receiver than the rest."""
    path = str(_COMPOSE / "prometheus" / "alertmanager.example.yml")
    amtool = require("amtool")
    done = subprocess.run([amtool, "check-config", path], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    for severity, receiver in (("critical", "night"), ("warning", "day")):
        command = [amtool, "config", "routes", "test", f"--config.file={path}", f"severity={severity}"]
        routed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        assert routed.stdout.strip() == receiver


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    """`nginx -t`, with an address in place of the name that only compose knows."""
    command = [require("nginx"), "-t", "-q", "-e", "stderr", "-c", str(_nginx_conf(tmp_path, 8000, 8080))]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_a_stream_comes_through_nginx_as_it_is_made_and_what_is_inside_stays_inside(tmp_path: Path) -> None:
    """The first delta is there before the last is made; /metrics and the probes are not to be had from outside."""
    engines = FakeEngines(lambda bundle, request: "You are welcome. " * 6)
    engines.step_seconds = 0.05
    with run_fake_service(tmp_path, engines) as service, _running_nginx(tmp_path, service.settings.port) as url:
        body = {"model": "rejoinder", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
        times = []
        with httpx2.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=30) as stream:
            for line in stream.iter_lines():
                if line.startswith("data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                    times.append(time.monotonic())
        assert len(times) > 3 and times[-1] - times[0] > 0.1
        assert httpx2.get(f"{url}/").status_code == 200
        for path in ("/metrics", "/readyz", "/livez", "/review", "/openapi.json"):
            assert httpx2.get(url + path).status_code == 404, path
        assert httpx2.post(f"{url}/v1/feedback", content=b"x" * 70_000).status_code == 413


def _nginx_conf(directory: Path, service_port: int, port: int) -> Path:
    text = _NGINX.replace("server service:8000;", f"server 127.0.0.1:{service_port};")
    text = text.replace("listen 8080;", f"listen 127.0.0.1:{port};").replace("/tmp/", f"{directory}/")
    text = text.replace("/dev/stdout", f"{directory}/access.log").replace("error_log /dev/stderr", "error_log stderr")
    path = directory / "nginx.conf"
    path.write_text(text, encoding="utf-8")
    return path


@contextmanager
def _running_nginx(directory: Path, service_port: int) -> Iterator[str]:
    port = free_port()
    configuration = _nginx_conf(directory, service_port, port)
    command = [require("nginx"), "-e", "stderr", "-g", "daemon off;", "-c", str(configuration)]
    with subprocess.Popen(command) as nginx:
        try:
            wait_until(lambda: _answers(f"http://127.0.0.1:{port}/"))
            yield f"http://127.0.0.1:{port}"
        finally:
            nginx.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.TransportError:
        return False
