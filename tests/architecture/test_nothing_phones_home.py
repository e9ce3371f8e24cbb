"""What is told to nobody: libraries that report to their makers unless they are told not to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _left_behind(code: str, home: Path) -> list[str]:
    """Files that a fresh process leaves in its home folder; as no CI would run it, for there nothing is reported."""
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)
    return [path.name for path in home.rglob("deviceid")]


@pytest.mark.parametrize(
    "module", ["service.engine.ort_session", "model_store.intents.intent_model", "training.export.graph_session"]
)
def test_onnxruntime_reports_nothing_to_its_makers(module: str, tmp_path: Path) -> None:
    """Where it would report it first makes up an identifier of this machine; the control does."""
    if not _left_behind("import onnxruntime", tmp_path / "control"):
        pytest.skip("this build of onnxruntime reports nothing by itself")
    assert _left_behind(f"import {module}; import onnxruntime", tmp_path / "ours") == []
