"""The real Helm and promtool, as the chart's tests call them."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.fetch_tools import find_debian, find_helm

CHART = Path(__file__).resolve().parents[2] / "helm" / "rejoinder"

Helm = Callable[..., subprocess.CompletedProcess[str]]
Render = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Runs Helm with arguments; skips, saying how to get it, where there is none."""
    executable = find_helm()
    if executable is None:
        pytest.skip("no Helm: `python tests/chart/fetch_tools.py` fetches one, or set HELM to an executable")
    return run_by(executable)


@pytest.fixture(scope="session")
def promtool() -> Helm:
    """Runs promtool with arguments; skips, saying how to get it, where there is none."""
    return run_by(require("promtool"))


def require(program: str) -> str:
    """Path of one of Debian's programs; skips, saying how to get it, where there is none."""
    executable = find_debian(program)
    if executable is None:
        pytest.skip(f"no {program}: `python tests/chart/fetch_tools.py` fetches Debian's")
    return executable


def run_by(executable: str) -> Helm:
    """Runs a program with arguments and gives what it said and its exit code."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([executable, *arguments], check=False, capture_output=True, text=True, timeout=120)

    return run


@pytest.fixture
def values_file(tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    """Writes values to a file and gives its path."""

    def write(values: dict[str, Any]) -> str:
        path = tmp_path / "values.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def render(helm: Helm, values_file: Callable[[dict[str, Any]], str]) -> Render:
    """The manifests that the chart makes of values, for a release called `shop`."""

    def run(values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        done = helm("template", "shop", str(CHART), "--namespace", "bots", "--values", values_file(values or {}))
        assert done.returncode == 0, done.stderr
        return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]

    return run
