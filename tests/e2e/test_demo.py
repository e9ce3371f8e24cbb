"""The demo's circle with a real service and a real run, up to the point where too few have rated."""

import json
from pathlib import Path

import pytest

from tests.unit.stages.feedback_workspace import local_store, publish_tiny_version
from training.evaluation.demo import circle

_ROOT = Path(__file__).resolve().parents[2]


def test_with_too_few_ratings_the_demo_says_so_and_nothing_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Customers talk and rate over HTTP, the run counts what is missing, no request fails, the version stays."""
    digest = publish_tiny_version(local_store(tmp_path / "unused"), tmp_path / "made")
    monkeypatch.setenv("SERVICE_DEFAULT_BUNDLE", str(tmp_path / "made" / "bundle"))
    monkeypatch.chdir(_ROOT)
    config = _ROOT / "training/configs/small.yaml"
    arguments = ["--ratings", "9", "--prompts", "4", "--config", str(config), "--directory", str(tmp_path / "demo")]
    assert circle.main(arguments) == 1
    figures = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert "more ratings" in figures["message"] and figures["exit_code"] == 0
    assert figures["failed_requests"] == 0
    curated = json.loads((tmp_path / "demo/run/curate.result.json").read_text())
    assert curated["num_rows"] == 9 and curated["enough"] is False
    state = local_store(tmp_path / "demo/data/models").resolve("stable")
    assert (state.digest, state.generation) == (digest, 1)
