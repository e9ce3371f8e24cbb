"""Signed versions: who made one can be shown, and nothing else passes for it."""

import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from model_store.backends.local import LocalBackend
from model_store.bundle import write_bundle
from model_store.cli import main
from model_store.errors import (
    AliasWentBackError,
    CorruptAliasError,
    DigestMismatchError,
    InvalidKeyError,
    InvalidManifestError,
    UnsignedBundleError,
    UntrustedBundleError,
)
from model_store.signing import SigningKey, TrustedKeys
from model_store.store import AliasState, ModelStore
from model_store.trust import Trust
from tests.bundles import FILES, make_bundle, manifest_fields


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    """The key of whoever may make versions."""
    return SigningKey.create(tmp_path / "key.pem")


@pytest.fixture
def shelf(tmp_path: Path) -> ModelStore:
    """The store as its makers see it: nothing is checked."""
    return ModelStore(LocalBackend(tmp_path / "models"))


@pytest.fixture
def trust(tmp_path: Path, key: SigningKey) -> Trust:
    """A service's trust in that key, with its memory on its own disk."""
    return Trust(TrustedKeys.parse(key.public_key), tmp_path / "data" / "trusted_versions.json")


@pytest.fixture
def reader(tmp_path: Path, trust: Trust) -> ModelStore:
    """The same store as such a service sees it."""
    return ModelStore(LocalBackend(tmp_path / "models"), trust=trust)


def publish(shelf: ModelStore, directory: Path, name: str = "tiny", key: SigningKey | None = None) -> str:
    """Publishes a version, signed where a key is given."""
    make_bundle(directory / name, name)
    digest = shelf.publish(directory / name)
    if key is not None:
        shelf.sign(digest, key)
    return digest


def test_a_signed_version_opens_and_keeps_its_digest(
    shelf: ModelStore, reader: ModelStore, key: SigningKey, tmp_path: Path
) -> None:
    """The signature lies beside the version; not a byte of it changes, and nothing is added to it."""
    digest = publish(shelf, tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "models" / "versions" / digest).iterdir()}
    with pytest.raises(UnsignedBundleError, match="nobody has signed it"):
        reader.open(digest)
    shelf.sign(digest, key)
    assert reader.open(digest).digest == digest
    after = {path.name: path.read_bytes() for path in (tmp_path / "models" / "versions" / digest).iterdir()}
    assert before == after


def test_a_wrong_key_and_a_key_beside_it(
    shelf: ModelStore, reader: ModelStore, key: SigningKey, tmp_path: Path
) -> None:
    """A stranger's signature counts for nothing; a second, trusted one does, which is how keys are changed."""
    stranger = SigningKey.create(tmp_path / "stranger.pem")
    digest = publish(shelf, tmp_path, key=stranger)
    with pytest.raises(UntrustedBundleError, match="not in the list") as caught:
        reader.open(digest)
    assert stranger.public_key in str(caught.value)
    with pytest.raises(UntrustedBundleError):
        reader.promote("stable", digest)
    shelf.sign(digest, key)
    assert reader.promote("stable", digest).generation == 1


def test_a_signature_of_another_version_is_none(
    shelf: ModelStore, reader: ModelStore, key: SigningKey, tmp_path: Path
) -> None:
    """Copied from a version that was signed, renamed by its writer to a trusted key, cut short, or no JSON."""
    good = publish(shelf, tmp_path, "good", key)
    bad = publish(shelf, tmp_path, "bad")
    signatures = tmp_path / "models" / "signatures"
    copied = (signatures / f"{good}.jsonl").read_bytes()
    (signatures / f"{bad}.jsonl").write_bytes(copied)
    with pytest.raises(UntrustedBundleError, match="is not of this version"):
        reader.open(bad)
    stranger = SigningKey.create(tmp_path / "stranger.pem")
    forged = {**json.loads(stranger.sign(bad).as_line()), "key": key.public_key}
    (signatures / f"{bad}.jsonl").write_text(json.dumps(forged) + "\n")
    with pytest.raises(UntrustedBundleError, match="is not of this version"):
        reader.open(bad)
    for nothing in (copied[:-20], b"\xff\xfe\n", b"{}\n", b""):
        (signatures / f"{bad}.jsonl").write_bytes(nothing)
        with pytest.raises(UnsignedBundleError):
            reader.open(bad)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_signed_version_that_was_changed_is_refused(
    shelf: ModelStore, reader: ModelStore, key: SigningKey, tmp_path: Path, name: str
) -> None:
    """One byte of any file; the signature stands for all of them."""
    digest = publish(shelf, tmp_path, key=key)
    assert reader.open(digest)
    path = tmp_path / "models" / "versions" / digest / name
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)
    with pytest.raises((DigestMismatchError, InvalidManifestError)):
        reader.open(digest)


def test_a_changed_version_under_a_manifest_of_its_own_is_unsigned(
    shelf: ModelStore, reader: ModelStore, key: SigningKey, tmp_path: Path
) -> None:
    """Who changes a file and counts it in again has made another version, which nobody has signed."""
    publish(shelf, tmp_path, key=key)
    (tmp_path / "tiny" / "model.onnx").write_bytes(b"other weights")
    write_bundle(tmp_path / "tiny", manifest_fields())
    other = shelf.publish(tmp_path / "tiny")
    with pytest.raises(UnsignedBundleError):
        reader.open(other)


def test_an_alias_that_was_put_back_is_noticed(
    shelf: ModelStore, reader: ModelStore, key: SigningKey, tmp_path: Path
) -> None:
    """The old file with an old, signed version: what was taken up last goes on, and the problem is told."""
    old, new = (publish(shelf, tmp_path, name, key) for name in ("old", "new"))
    alias = tmp_path / "models" / "aliases" / "stable.json"
    shelf.promote("stable", old)
    reader.take_up("stable", reader.release().stable)
    kept = alias.read_bytes()
    shelf.promote("stable", new)
    taken = reader.release().stable
    reader.take_up("stable", taken)
    assert taken == AliasState(new, 2)
    alias.write_bytes(kept)
    release = reader.release()
    assert release.stable == taken
    assert [problem.code for problem in release.problems] == [AliasWentBackError.code]
    assert shelf.release().problems == ()  # who trusts nobody in particular is told nothing: as before
    same_generation = json.loads(kept) | {"generation": 2}
    alias.write_text(json.dumps(same_generation))
    assert reader.release().stable == taken and reader.release().problems


def test_a_rollback_is_a_new_generation_and_no_going_back(
    shelf: ModelStore, reader: ModelStore, key: SigningKey, tmp_path: Path
) -> None:
    """The right way to an old version; and a memory that only grows, whichever process writes last."""
    old, new = (publish(shelf, tmp_path, name, key) for name in ("old", "new"))
    for digest in (old, new):
        shelf.promote("stable", digest)
        reader.take_up("stable", reader.release().stable)
    shelf.rollback("stable")
    release = reader.release()
    assert (release.stable, release.problems) == (AliasState(old, 3), ())
    reader.take_up("stable", release.stable)
    reader.take_up("stable", AliasState(new, 2))
    assert reader.release().stable == AliasState(old, 3)


def test_a_candidate_that_was_put_back_is_none(
    shelf: ModelStore, reader: ModelStore, key: SigningKey, trust: Trust, tmp_path: Path
) -> None:
    """The canary ends; the stable version answers everybody."""
    stable, one, two = (publish(shelf, tmp_path, name, key) for name in ("stable", "one", "two"))
    shelf.promote("stable", stable)
    shelf.promote("candidate", one)
    kept = (tmp_path / "models" / "aliases" / "candidate.json").read_bytes()
    shelf.promote("candidate", two)
    reader.take_up("candidate", AliasState(two, 2))
    (tmp_path / "models" / "aliases" / "candidate.json").write_bytes(kept)
    release = reader.release()
    assert release.candidate is None and release.problems
    trust.memory_file.write_text("{")
    with pytest.raises(CorruptAliasError, match="no remembered generations"):
        reader.release()


def test_keys_are_made_shown_and_used_by_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`keys new`, `keys show`, `sign`, `verify --trusted-keys`; the private key is its owner's alone."""
    path, store = tmp_path / "maker.pem", ["--store", str(tmp_path / "models")]
    make_bundle(tmp_path / "bundle")
    assert main(["seed", str(tmp_path / "bundle"), *store]) == 0
    assert main(["keys", "new", str(path)]) == 0
    public = capsys.readouterr().out.splitlines()[-1]
    assert public.startswith("ed25519:") and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert main(["keys", "new", str(path)]) == 1  # never over another one
    assert main(["keys", "show", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["public_key"] == public
    assert main(["verify", "--trusted-keys", public, *store]) == 1
    assert "bundle_unsigned" in capsys.readouterr().out
    assert main(["sign", "stable", "--key", str(path), *store]) == 0
    assert main(["verify", "--trusted-keys", public, *store]) == 0


def test_what_is_no_key_is_refused_by_name(tmp_path: Path, key: SigningKey) -> None:
    """Missing and foreign files; lists that name nobody, or a private key's file, or a key cut short."""
    foreign = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "foreign.pem").write_bytes(foreign)
    (tmp_path / "text.pem").write_text("not a key")
    for name, problem in (("foreign", "Ed25519"), ("text", "PEM"), ("nowhere", "No such file")):
        with pytest.raises(InvalidKeyError, match=problem):
            SigningKey.load(tmp_path / f"{name}.pem")
    for text in ("", " , ", "hello", key.public_key[:-4], key.public_key.removeprefix("ed25519:"), "ed25519:!!!"):
        with pytest.raises(InvalidKeyError):
            TrustedKeys.parse(text)
    assert TrustedKeys.parse(f" {key.public_key} ,").keys == {key.public_key}
