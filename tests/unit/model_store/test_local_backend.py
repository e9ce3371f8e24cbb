"""The local backend: what crashes, full disks and strange files do to a store on a directory."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from model_store.backends.local import LocalBackend
from model_store.durable import exclusive_lock
from model_store.errors import (
    InvalidManifestError,
    StoreUnavailableError,
    UnsafeBundleError,
    VersionNotFoundError,
)
from model_store.store import ModelStore
from tests.bundles import make_bundle

ROOT = Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the store lies."""
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> ModelStore:
    """An empty store."""
    return ModelStore(LocalBackend(root))


@pytest.fixture
def digest(store: ModelStore, tmp_path: Path) -> str:
    """A published version, `stable` pointing at it."""
    make_bundle(tmp_path / "bundle")
    digest = store.publish(tmp_path / "bundle")
    store.promote("stable", digest)
    return digest


PUBLISHER = """
import sys
from pathlib import Path
from model_store.backends.local import LocalBackend
from model_store.bundle import write_bundle
from model_store.store import ModelStore
from tests.bundles import manifest_fields
root, source = map(Path, sys.argv[1:])
store = ModelStore(LocalBackend(root))
print("ready", flush=True)
number = 0
while True:
    write_bundle(source, manifest_fields(f"v{number}"))
    store.publish(source)
    number += 1
"""


def kill_publisher(root: Path, source: Path, delay_seconds: float) -> None:
    """Starts a process that publishes without end, and kills it after a while."""
    command = [sys.executable, "-c", PUBLISHER, str(root), str(source)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as publisher:
        assert publisher.stdout is not None
        publisher.stdout.readline()
        time.sleep(delay_seconds)
        publisher.send_signal(signal.SIGKILL)


def test_a_publisher_killed_at_any_moment_leaves_only_whole_versions(root: Path, tmp_path: Path) -> None:
    """Ten kills of a process that publishes 8 MB bundles: some hit the middle, none shows."""
    store = ModelStore(LocalBackend(root))
    source = tmp_path / "bundle"
    make_bundle(source)
    (source / "model.onnx").write_bytes(random.Random(0).randbytes(8 << 20))
    for number in range(10):
        kill_publisher(root, source, 0.05 + 0.013 * number)
    assert any((root / "incoming").iterdir()), "no kill hit the middle of a publish: the test proved nothing"
    versions = store.versions()
    assert versions
    assert [version.problem for version in versions] == [None] * len(versions)
    make_bundle(tmp_path / "next", "next")
    assert store.open(store.publish(tmp_path / "next")).manifest.name == "next"


def test_a_refused_bundle_leaves_nothing_behind(root: Path, store: ModelStore, tmp_path: Path) -> None:
    """Drafts of refused bundles are removed at once."""
    make_bundle(tmp_path / "bundle")
    (tmp_path / "bundle" / "tokenizer.json").write_bytes(b'{"version":"2.0"}')
    with pytest.raises(Exception, match=r"tokenizer\.json has digest"):
        store.publish(tmp_path / "bundle")
    assert list((root / "incoming").iterdir()) == []


def test_what_died_a_day_ago_is_swept_and_what_may_live_is_not(root: Path, store: ModelStore, tmp_path: Path) -> None:
    """Killed publishers do not fill the disk for ever, and a slow one is left in peace."""
    for name in ("old", "young"):
        (root / "incoming" / name).mkdir(parents=True)
        (root / "incoming" / name / "model.onnx").write_bytes(b"half")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(root / "incoming" / "old", (two_days_ago, two_days_ago))
    make_bundle(tmp_path / "bundle")
    store.publish(tmp_path / "bundle")
    assert [path.name for path in (root / "incoming").iterdir()] == ["young"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from model_store.backends.local import LocalBackend
from model_store.errors import StoreUnavailableError
from model_store.store import ModelStore
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    ModelStore(LocalBackend(Path(sys.argv[1]))).publish(Path(sys.argv[2]))
except StoreUnavailableError as error:
    print(error)
"""


def test_a_disk_that_takes_no_more_is_named_and_nothing_half_written_stays(
    root: Path, store: ModelStore, tmp_path: Path
) -> None:
    """A file-size limit of the process stands for the full disk; the message names the store, not the source."""
    make_bundle(tmp_path / "bundle")
    command = [sys.executable, "-c", FULL_DISK, str(root), str(tmp_path / "bundle")]
    printed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout
    assert printed.startswith(f"The model store {root} cannot be used: File too large")
    assert store.versions() == []
    assert list((root / "incoming").iterdir()) == []


@pytest.mark.parametrize("use", ["versions", "promote", "resolve", "publish"])
def test_a_store_that_is_a_file_is_unavailable(root: Path, tmp_path: Path, use: str) -> None:
    """A wrong path is told by name, whatever is asked first."""
    make_bundle(tmp_path / "bundle")
    root.write_text("not a directory")
    store = ModelStore(LocalBackend(root))
    calls: dict[str, Callable[[], object]] = {
        "versions": store.versions,
        "promote": lambda: store.promote("stable", "0" * 64),
        "resolve": lambda: store.resolve("stable"),
        "publish": lambda: store.publish(tmp_path / "bundle"),
    }
    with pytest.raises(StoreUnavailableError, match=r"Not a directory|File exists"):
        calls[use]()


def test_a_lock_that_is_never_given_back_is_an_error_after_a_while(root: Path, digest: str, tmp_path: Path) -> None:
    """Writers wait for a bounded time; readers do not wait at all."""
    store = ModelStore(LocalBackend(root, lock_timeout_seconds=0.05))
    make_bundle(tmp_path / "next", "next")
    with exclusive_lock(root / "aliases" / "stable.lock", 1), exclusive_lock(root / "versions.lock", 1):
        assert store.open("stable").digest == digest
        with pytest.raises(StoreUnavailableError, match="locked by another process"):
            store.promote("stable", digest)
        with pytest.raises(StoreUnavailableError, match="locked by another process"):
            store.publish(tmp_path / "next")
    assert store.promote("stable", digest).generation == 2


def test_the_service_can_read_a_store_it_may_not_write(root: Path, store: ModelStore, digest: str) -> None:
    """Reading creates no file and no lock."""
    before = sorted((path, path.lstat().st_mtime_ns) for path in root.rglob("*"))
    assert store.open("stable").digest == digest
    assert store.versions()
    assert store.history("stable")
    assert sorted((path, path.lstat().st_mtime_ns) for path in root.rglob("*")) == before


def test_a_version_that_is_a_link_or_a_file_is_unsafe(root: Path, store: ModelStore, digest: str) -> None:
    """Only directories of the store's own are opened."""
    version = root / "versions" / digest
    version.rename(root / "elsewhere")
    version.symlink_to(root / "elsewhere")
    with pytest.raises(UnsafeBundleError, match="not a plain directory"):
        store.open(digest)
    version.unlink()
    version.write_bytes(b"x")
    with pytest.raises(UnsafeBundleError, match="not a plain directory"):
        store.open("stable")
    assert [type(version.problem) for version in store.versions()] == [UnsafeBundleError]


def test_publishing_replaces_a_link_without_touching_its_target(
    root: Path, store: ModelStore, digest: str, tmp_path: Path
) -> None:
    """What lies elsewhere stays as it is."""
    version = root / "versions" / digest
    version.rename(root / "elsewhere")
    version.symlink_to(root / "elsewhere")
    assert store.publish(tmp_path / "bundle") == digest
    assert store.open(digest).directory.is_dir()
    assert not version.is_symlink()
    assert list((root / "incoming").iterdir()) == []
    assert sorted(path.name for path in (root / "elsewhere").iterdir()) == sorted(
        path.name for path in (tmp_path / "bundle").iterdir()
    )


def test_an_alias_to_a_removed_version_is_told(root: Path, store: ModelStore, digest: str) -> None:
    """Resolving still works, opening names the version."""
    shutil.rmtree(root / "versions" / digest)
    assert store.resolve("stable").digest == digest
    with pytest.raises(VersionNotFoundError, match=digest):
        store.open("stable")


def test_a_prefix_of_two_versions_names_neither(root: Path, store: ModelStore, digest: str) -> None:
    """Guessing which model was meant is no service; a whole digest still decides."""
    twin = digest[:20] + ("0" * 44 if digest[20] != "0" else "1" * 44)
    (root / "versions" / twin).mkdir()
    with pytest.raises(VersionNotFoundError, match=digest[:12]):
        store.open(digest[:12])
    assert store.open(digest).digest == digest
    assert store.open(digest[:21]).digest == digest


def test_what_has_no_digest_for_a_name_is_no_version(root: Path, store: ModelStore, digest: str) -> None:
    """Files of an operator or a file system among the versions are passed over."""
    for name in ("lost+found", "notes.txt", digest.upper(), digest + "0", f".{digest}"):
        (root / "versions" / name).mkdir()
    assert [version.digest for version in store.versions()] == [digest]


def test_a_version_without_a_manifest_is_listed_with_the_reason(root: Path, store: ModelStore, digest: str) -> None:
    """Its folder is there, so it is not passed over."""
    (root / "versions" / digest / "manifest.json").unlink()
    assert [type(version.problem) for version in store.versions()] == [InvalidManifestError]
