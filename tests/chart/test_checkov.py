"""Policies: what checkov finds in what the chart renders is justified, each finding by itself, or is not there."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.conftest import CHART, Helm
from tests.chart.fetch_tools import find_checkov
from tests.chart.value_sets import AUTOSCALED, MONITORED, TRAINED_TOGETHER, WITH_ALL_JOBS_SHARED

_JUSTIFIED = yaml.safe_load(Path(__file__).with_name("checkov.yaml").read_text(encoding="utf-8"))
_ROOT = CHART.parents[1]
_OPTIONS = ("--framework", "kubernetes", "dockerfile", "--skip-download", "--compact", "--quiet", "--output", "json")


@pytest.fixture(scope="module")
def checkov() -> str:
    """Path of checkov; skips, saying how to get it, where there is none."""
    found = find_checkov()
    if found is None:
        pytest.skip("no checkov: `python tests/chart/fetch_tools.py` fetches one, or set CHECKOV to an executable")
    return found


def test_checkov_finds_only_what_is_justified(
    helm: Helm, checkov: str, values_file: Callable[[dict[str, Any]], str], tmp_path: Path
) -> None:
    """Every finding has its reason in checkov.yaml, and every reason there still has a finding."""
    folder = tmp_path / "rendered"
    folder.mkdir()
    value_sets = {
        "jobs": WITH_ALL_JOBS_SHARED,
        "monitored": MONITORED,
        "autoscaled": AUTOSCALED,
        "together": TRAINED_TOGETHER,
    }
    for name, values in value_sets.items():
        done = helm("template", "shop", str(CHART), "--namespace", "bots", "--values", values_file(values))
        assert done.returncode == 0, done.stderr
        (folder / f"{name}.yaml").write_text(done.stdout, encoding="utf-8")
    shutil.copy(_ROOT / "Dockerfile", folder)
    done = subprocess.run(
        [checkov, "-d", str(folder), *_OPTIONS], capture_output=True, text=True, check=False, timeout=600
    )
    reports = json.loads(done.stdout)
    assert {report["check_type"] for report in reports} == {"kubernetes", "dockerfile"}
    assert all(report["summary"]["passed"] > 50 and not report["summary"]["parsing_errors"] for report in reports)
    failed = [check for report in reports for check in report["results"]["failed_checks"]]
    found = {check["check_id"] for check in failed}
    unjustified = {(c["check_id"], c["resource"]) for c in failed if c["check_id"] not in _JUSTIFIED}
    assert unjustified == set()
    assert found == _JUSTIFIED.keys(), "a reason whose finding is gone"
    of_the_test = {check["resource"] for check in failed if check["check_id"] in ("CKV_K8S_8", "CKV_K8S_9")}
    assert all(resource.endswith("-test") for resource in of_the_test)
