"""Bundles: what `open_bundle` takes, and every way in which it refuses."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from model_store.bundle import MAX_MANIFEST_BYTES, inspect_bundle, open_bundle, write_bundle
from model_store.contract.manifest import MANIFEST_NAME, parse_manifest
from model_store.digest import digest_bytes
from model_store.errors import (
    BundleError,
    BundleIncompleteError,
    BundleTooLargeError,
    DigestMismatchError,
    InvalidManifestError,
    StoreUnavailableError,
    UnsafeBundleError,
)
from tests.bundles import FILES, make_bundle, manifest_fields

WEIGHTS = "model.onnx"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with an intact bundle."""
    make_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def edit_manifest(directory: Path, edit: Callable[[dict[str, object]], object]) -> None:
    """Changes the manifest as an attacker would: consistently, in its canonical form."""
    path = directory / MANIFEST_NAME
    fields = json.loads(path.read_bytes())
    edit(fields)
    path.write_text(json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def rename_entry(directory: Path, name: str) -> None:
    """Calls the weights by another name in the manifest."""

    def edit(fields: dict[str, object]) -> None:
        files = fields["files"]
        assert isinstance(files, dict)
        files[name] = files.pop(WEIGHTS)

    edit_manifest(directory, edit)


def test_an_intact_bundle_opens_under_the_digest_of_its_manifest(directory: Path) -> None:
    """The digest is the sha256 of the manifest's bytes, and files read back as they were written."""
    bundle = open_bundle(directory)
    assert bundle.digest == digest_bytes((directory / MANIFEST_NAME).read_bytes()) == bundle.manifest.digest
    assert open_bundle(directory, bundle.digest) == bundle
    assert bundle.read_bytes(WEIGHTS) == bundle.path(WEIGHTS).read_bytes() == FILES[WEIGHTS]


def test_the_same_files_and_fields_always_give_the_same_digest(tmp_path: Path) -> None:
    """A digest names content, not a place or a moment; other content has another digest."""
    digests = {make_bundle(tmp_path / place) for place in ("one", "two")}
    assert len(digests) == 1
    assert make_bundle(tmp_path / "three", "other") not in digests


def test_writing_a_bundle_again_replaces_its_manifest(directory: Path) -> None:
    """A changed file gives a new digest, and the directory is intact under it."""
    before = open_bundle(directory).digest
    (directory / WEIGHTS).write_bytes(b"tuned")
    after = write_bundle(directory, manifest_fields()).digest
    assert after != before
    assert open_bundle(directory, after).manifest.files[WEIGHTS].num_bytes == len(b"tuned")


@pytest.mark.parametrize("position", [0, 4095, 8 * 4096 - 1])
def test_one_flipped_bit_is_a_digest_mismatch(directory: Path, position: int) -> None:
    """Wherever the bit is, the error names the file; the length alone would not show it."""
    data = bytearray((directory / WEIGHTS).read_bytes())
    data[position] ^= 1
    (directory / WEIGHTS).write_bytes(data)
    assert inspect_bundle(directory).name == "tiny"
    with pytest.raises(DigestMismatchError, match=WEIGHTS):
        open_bundle(directory)


def test_a_file_that_changes_after_opening_is_refused_when_read(directory: Path) -> None:
    """`read_bytes` checks the bytes that it gives, not those that were there before."""
    bundle = open_bundle(directory)
    (directory / WEIGHTS).write_bytes(b"WEIGHTS " * 4096)
    with pytest.raises(DigestMismatchError, match=WEIGHTS):
        bundle.read_bytes(WEIGHTS)
    (directory / WEIGHTS).write_bytes(b"short")
    with pytest.raises(BundleIncompleteError, match="has 5 bytes"):
        bundle.read_bytes(WEIGHTS)


@pytest.mark.parametrize("num_bytes", [0, 100, 8 * 4096 + 1])
def test_a_truncated_or_grown_file_is_incomplete(directory: Path, num_bytes: int) -> None:
    """Another length than the manifest's is refused without reading the file."""
    os.truncate(directory / WEIGHTS, num_bytes)
    with pytest.raises(BundleIncompleteError, match=f"has {num_bytes} bytes"):
        open_bundle(directory)


def test_a_missing_file_is_incomplete(directory: Path) -> None:
    """The error names what is missing."""
    (directory / WEIGHTS).unlink()
    with pytest.raises(BundleIncompleteError, match=WEIGHTS):
        open_bundle(directory)


@pytest.mark.parametrize("name", ["policy.pkl", ".hidden", "model.onnx.data"])
def test_a_file_that_the_manifest_does_not_name_is_refused(directory: Path, name: str) -> None:
    """Nothing rides along: external weights, pickles, files of an editor."""
    (directory / name).write_bytes(b"x")
    with pytest.raises(BundleIncompleteError, match=name):
        open_bundle(directory)


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "nowhere", "tokenizer.json"])
def test_a_symbolic_link_is_unsafe(directory: Path, target: str) -> None:
    """Even one that stays inside, and even one to content with the right digest."""
    (directory / "../outside").write_bytes(FILES[WEIGHTS])
    (directory / WEIGHTS).unlink()
    (directory / WEIGHTS).symlink_to(target)
    with pytest.raises(UnsafeBundleError, match="symbolic link"):
        open_bundle(directory)


def test_a_manifest_that_is_a_symbolic_link_is_unsafe(directory: Path) -> None:
    """The manifest is opened first, and never through a link."""
    (directory / MANIFEST_NAME).rename(directory / "../elsewhere.json")
    (directory / MANIFEST_NAME).symlink_to("../elsewhere.json")
    with pytest.raises(UnsafeBundleError, match="symbolic link"):
        open_bundle(directory)


def test_a_file_swapped_for_a_link_after_opening_is_refused_when_read(directory: Path) -> None:
    """Reading follows no link either."""
    bundle = open_bundle(directory)
    (directory / WEIGHTS).rename(directory / "../moved")
    (directory / WEIGHTS).symlink_to("../moved")
    with pytest.raises(UnsafeBundleError, match="symbolic link"):
        bundle.read_bytes(WEIGHTS)


def test_a_hard_link_to_an_outside_file_is_unsafe(directory: Path) -> None:
    """Its content is right today and can be changed from outside tomorrow."""
    (directory / "../outside").write_bytes(FILES[WEIGHTS])
    (directory / WEIGHTS).unlink()
    os.link(directory / "../outside", directory / WEIGHTS)
    with pytest.raises(UnsafeBundleError, match="hard link"):
        open_bundle(directory)


def _make_directory(path: Path) -> None:
    path.mkdir()


def _make_pipe(path: Path) -> None:
    os.mkfifo(path)


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize("make", [_make_directory, _make_pipe, _make_socket])
@pytest.mark.parametrize("name", [WEIGHTS, "extra"])
def test_a_special_file_is_unsafe(directory: Path, make: Callable[[Path], None], name: str) -> None:
    """Directories, pipes and sockets are refused, a pipe without waiting for its other end."""
    (directory / name).unlink(missing_ok=True)
    make(directory / name)
    with pytest.raises(UnsafeBundleError, match="not a plain file"):
        open_bundle(directory)


@pytest.mark.parametrize("make", [_make_directory, _make_pipe])
def test_a_manifest_that_is_a_special_file_is_unsafe(directory: Path, make: Callable[[Path], None]) -> None:
    """A pipe in its place does not block the reader."""
    (directory / MANIFEST_NAME).unlink()
    make(directory / MANIFEST_NAME)
    with pytest.raises(UnsafeBundleError, match="not a plain file"):
        open_bundle(directory)


@pytest.mark.parametrize(
    "name",
    [
        "../model.onnx",
        "/etc/passwd",
        "a/b",
        "..",
        ".",
        "",
        "a\\b",
        "C:x",
        "nul\0",
        "line\n",
        "-rf",
        "manifest.json",
        "é",
        "x" * 129,
    ],
)
def test_a_name_that_is_a_path_or_worse_is_unsafe(directory: Path, name: str) -> None:
    """Names are letters, digits, dots, dashes and underscores: nothing that leaves the directory."""
    rename_entry(directory, name)
    with pytest.raises(UnsafeBundleError, match="not allowed as a file's name"):
        open_bundle(directory)


def test_an_unsafe_name_on_the_disk_is_not_written_into_a_manifest(directory: Path) -> None:
    """`write_bundle` makes nothing that `open_bundle` refuses."""
    (directory / "two words").write_bytes(b"x")
    with pytest.raises(UnsafeBundleError, match="two words"):
        write_bundle(directory, manifest_fields())


def test_a_bundle_above_the_limit_is_refused_by_its_manifest_alone(directory: Path) -> None:
    """A byte over the limit is too large; exactly the limit is not."""
    total = sum(len(content) for content in FILES.values())
    assert open_bundle(directory, max_bytes=total)
    with pytest.raises(BundleTooLargeError, match=str(total)):
        open_bundle(directory, max_bytes=total - 1)


def test_a_manifest_above_its_limit_is_not_read_on(directory: Path) -> None:
    """A sparse file of a terabyte in the manifest's place costs the reader four megabytes."""
    os.truncate(directory / MANIFEST_NAME, 1 << 40)
    with pytest.raises(BundleTooLargeError, match=str(MAX_MANIFEST_BYTES)):
        open_bundle(directory)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"name":"\\ud800"}', b"[" * 100_000, b"\x80\x04pickle."],
    ids=["empty", "cut", "null", "list", "utf16", "surrogate", "deep", "pickle"],
)
def test_a_manifest_that_is_no_manifest_is_invalid(directory: Path, data: bytes) -> None:
    """Whatever the bytes are, the answer is the same named error."""
    (directory / MANIFEST_NAME).write_bytes(data)
    with pytest.raises(InvalidManifestError):
        open_bundle(directory)


def test_a_missing_manifest_is_invalid(directory: Path) -> None:
    """Also where the directory itself is missing, or is a file."""
    (directory / MANIFEST_NAME).unlink()
    for path in (directory, directory / "nowhere", directory / WEIGHTS):
        with pytest.raises(InvalidManifestError, match="missing"):
            open_bundle(path)


def test_unknown_fields_and_versions_of_the_format_are_invalid(directory: Path) -> None:
    """A format from the future is refused rather than half understood."""
    edit_manifest(directory, lambda fields: fields.update(extra=1))
    with pytest.raises(InvalidManifestError, match="extra"):
        open_bundle(directory)
    edit_manifest(directory, lambda fields: (fields.pop("extra"), fields.update(format_version=2)))
    with pytest.raises(InvalidManifestError, match="format_version"):
        open_bundle(directory)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_a_metric_that_is_no_number_is_invalid(directory: Path, value: str) -> None:
    """Comparisons with NaN are always false: a gate must never meet one."""
    path = directory / MANIFEST_NAME
    path.write_text(path.read_text().replace("12.5", value))
    with pytest.raises(InvalidManifestError):
        open_bundle(directory)
    with pytest.raises(InvalidManifestError):
        write_bundle(directory, manifest_fields(metrics={"perplexity": float(value)}))


def test_a_manifest_has_one_spelling(directory: Path) -> None:
    """White space or a repeated key would give the same version a second name."""
    path = directory / MANIFEST_NAME
    canonical = path.read_text()
    for spelling in (canonical + "\n", canonical.replace('"name":"tiny"', '"name":"other","name":"tiny"')):
        path.write_text(spelling)
        assert parse_manifest(spelling.encode(), digest="") == parse_manifest(canonical.encode(), digest="")
        with pytest.raises(InvalidManifestError, match="canonical"):
            open_bundle(directory)


def test_fields_that_break_the_schema_write_nothing(directory: Path) -> None:
    """The manifest that was there stays."""
    before = (directory / MANIFEST_NAME).read_bytes()
    with pytest.raises(InvalidManifestError, match="name"):
        write_bundle(directory, manifest_fields("No Such Name"))
    assert (directory / MANIFEST_NAME).read_bytes() == before


def test_another_digest_than_expected_is_a_mismatch(directory: Path) -> None:
    """A perfectly good bundle under a wrong name is refused."""
    with pytest.raises(DigestMismatchError, match="0000"):
        open_bundle(directory, "0" * 64)


def test_a_file_that_the_manifest_does_not_name_has_no_path(directory: Path) -> None:
    """A handle gives verified files only."""
    with pytest.raises(BundleIncompleteError, match=r"\.\./x"):
        open_bundle(directory).path("../x")


def test_a_directory_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    """Where there is no directory to make a bundle of, the error says so."""
    with pytest.raises(StoreUnavailableError, match="No such file"):
        write_bundle(tmp_path / "nowhere", manifest_fields())


def test_every_refusal_is_a_bundle_error_with_a_code_of_its_own() -> None:
    """Callers catch one class; operators search for one code."""
    kinds = [BundleIncompleteError, BundleTooLargeError, DigestMismatchError, InvalidManifestError, UnsafeBundleError]
    assert all(issubclass(kind, BundleError) for kind in kinds)
    assert len({kind.code for kind in kinds}) == len(kinds)
