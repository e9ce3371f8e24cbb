"""What the service must not need."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = ("torch", "transformers", "onnx", "datasets", "training", "peft", "trl")


def test_the_service_imports_nothing_that_only_training_needs() -> None:
    """`import service.app` in a fresh process leaves none of it in `sys.modules`, and onnxruntime is there."""
    program = "import sys, service.app, service.cli; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "onnxruntime" in loaded
    assert not loaded & set(FORBIDDEN)
