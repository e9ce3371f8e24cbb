"""`make lock`: writes down, with hashes, exactly what the images install: `service.lock` and `training.lock`.

From pyproject.toml, for the images' Python on Linux; the hashes are of all files of a version, so service.lock holds
for x86-64 and arm64. training.lock names torch's build for CPUs on x86-64. Needs uv. Run it when dependencies change; a
test tells when.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PYTHON = "3.11"
_PLATFORM = "x86_64-manylinux_2_28"
_HEAD = "# Made by `make lock`. What the image of this name installs, and nothing else.\n"


def requirements(target: str) -> list[str]:
    """What pyproject.toml asks for."""
    project = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    training = extras["training"] if target == "training" else []
    return [*project["dependencies"], *extras["s3"], *training]


def main() -> int:
    """Writes both files and gives the exit code."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if uv is None:
        sys.exit("no uv: pip install uv")
    wheels = os.environ.get("PIP_FIND_LINKS")
    options = ["--quiet", "--no-header", "--no-annotate", "--generate-hashes"]
    options += [f"--python-version={PYTHON}", f"--python-platform={_PLATFORM}"]
    options += [f"--find-links={wheels}"] if wheels else ["--torch-backend=cpu"]
    for target in ("service", "training"):
        command = [uv, "pip", "compile", *options, "-"]
        text = "\n".join(requirements(target))
        locked = subprocess.run(command, input=text, check=True, stdout=subprocess.PIPE, text=True, cwd=FOLDER).stdout
        (FOLDER / f"{target}.lock").write_text(_HEAD + locked, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
