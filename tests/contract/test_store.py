"""The contract of a model store: what every backend must do, whatever it is made of."""

import json
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from model_store.backends.protocol import Alias, RunOutcome
from model_store.backends.s3_access import is_s3
from model_store.contract.manifest import MANIFEST_NAME
from model_store.errors import (
    AliasConflictError,
    AliasNotFoundError,
    BundleTooLargeError,
    DigestMismatchError,
    NoEarlierVersionError,
    StoreError,
    UnknownAliasError,
    UnsafeBundleError,
    VersionNotFoundError,
)
from model_store.store import ModelStore, seed
from tests.bundles import FILES, make_bundle
from tests.contract.places import Place, open_store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def digests(store: ModelStore, tmp_path: Path) -> list[str]:
    """Three published versions, oldest first."""
    return [
        publish(store, tmp_path / name, name, created_at=f"2026-01-0{day}T00:00:00Z")
        for day, name in enumerate(("first", "second", "third"), start=1)
    ]


def publish(store: ModelStore, directory: Path, name: str, **changes: object) -> str:
    """Makes a bundle and publishes it."""
    make_bundle(directory, name, **changes)
    return store.publish(directory)


def spawn(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Another Python process with this project on its path."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_a_published_version_opens_by_digest_prefix_and_alias(store: ModelStore, tmp_path: Path) -> None:
    """All three names give the same verified bundle, which no longer needs the directory it came from."""
    digest = make_bundle(tmp_path / "bundle")
    assert store.publish(tmp_path / "bundle") == digest
    (tmp_path / "bundle" / "model.onnx").write_bytes(b"changed later")
    store.promote("stable", digest)
    for name in (digest, digest[:8], "stable"):
        bundle = store.open(name)
        assert bundle.digest == digest
        assert bundle.read_bytes("model.onnx") == FILES["model.onnx"]


def test_publishing_twice_changes_nothing(store: ModelStore, tmp_path: Path) -> None:
    """The digest is the same, and there is one version."""
    digest = publish(store, tmp_path / "bundle", "tiny")
    before = store.open(digest).path("model.onnx").stat()
    assert store.publish(tmp_path / "bundle") == digest
    assert [version.digest for version in store.versions()] == [digest]
    assert store.open(digest).path("model.onnx").stat().st_ino == before.st_ino


def test_publishing_moves_no_alias(store: ModelStore, digests: list[str]) -> None:
    """Being on the shelf and being used are two things."""
    for alias in Alias:
        with pytest.raises(AliasNotFoundError, match=alias.value):
            store.resolve(alias)
        assert store.history(alias) == []


def test_a_bad_directory_is_refused_and_leaves_nothing(store: ModelStore, tmp_path: Path) -> None:
    """A flipped bit shows only while copying; nothing becomes visible, and a second publish is refused too."""
    digest = make_bundle(tmp_path / "bundle")
    (tmp_path / "bundle" / "model.onnx").write_bytes(FILES["model.onnx"].replace(b"w", b"v", 1))
    for _ in range(2):
        with pytest.raises(DigestMismatchError, match=r"model\.onnx"):
            store.publish(tmp_path / "bundle")
    assert store.versions() == []
    with pytest.raises(VersionNotFoundError):
        store.open(digest)


def test_a_bad_directory_is_refused_even_when_its_version_is_there(store: ModelStore, tmp_path: Path) -> None:
    """Idempotence does not mean that anything with a known manifest is taken for that version."""
    digest = publish(store, tmp_path / "bundle", "tiny")
    (tmp_path / "bundle" / "model.onnx").write_bytes(FILES["model.onnx"].replace(b"w", b"v", 1))
    with pytest.raises(DigestMismatchError):
        store.publish(tmp_path / "bundle")
    assert store.open(digest)


def test_publish_takes_no_links_unless_told(store: ModelStore, tmp_path: Path) -> None:
    """A hard link may be allowed, for its content is copied; a symbolic link never."""
    digest = make_bundle(tmp_path / "bundle")
    weights = tmp_path / "bundle" / "model.onnx"
    (tmp_path / "cache").hardlink_to(weights)
    with pytest.raises(UnsafeBundleError, match="hard link"):
        store.publish(tmp_path / "bundle")
    assert store.publish(tmp_path / "bundle", allow_hard_links=True) == digest
    (tmp_path / "cache").write_bytes(b"changed through the link")
    assert store.open(digest).read_bytes("model.onnx") == FILES["model.onnx"]
    weights.unlink()
    weights.symlink_to(tmp_path / "cache")
    with pytest.raises(UnsafeBundleError, match="symbolic link"):
        store.publish(tmp_path / "bundle", allow_hard_links=True)


def test_a_store_refuses_bundles_above_its_limit(place: Place, tmp_path: Path) -> None:
    """On the way in, and on the way out of a store that others fill."""
    generous, strict = (open_store(place.location, max_bytes=limit) for limit in (1 << 20, 100))
    digest = publish(generous, tmp_path / "bundle", "tiny")
    for refused in (lambda: strict.publish(tmp_path / "bundle"), lambda: strict.open(digest)):
        with pytest.raises(BundleTooLargeError):
            refused()


def test_versions_are_listed_newest_first(store: ModelStore, digests: list[str]) -> None:
    """By the time in the manifest, whatever the order of publishing or the digest."""
    assert [version.digest for version in store.versions()] == digests[::-1]
    assert [version.manifest and version.manifest.name for version in store.versions()] == ["third", "second", "first"]


def test_a_version_without_a_readable_time_is_listed_last(
    store: ModelStore, digests: list[str], tmp_path: Path
) -> None:
    """A bad date is no reason to hide a version."""
    digest = publish(store, tmp_path / "undated", "undated", created_at="yesterday")
    assert [version.digest for version in store.versions()] == [*digests[::-1], digest]


def test_damaged_versions_are_listed_with_the_reason(place: Place, store: ModelStore, digests: list[str]) -> None:
    """A flipped bit needs the full check; a bad manifest shows at once; the rest stays usable."""
    place.write(f"versions/{digests[0]}/model.onnx", FILES["model.onnx"].replace(b"w", b"v", 1))
    place.write(f"versions/{digests[1]}/{MANIFEST_NAME}", b"{")
    problems = {version.digest: version.problem for version in store.versions()}
    assert isinstance(problems[digests[0]], DigestMismatchError)
    assert isinstance(problems[digests[1]], DigestMismatchError)
    assert problems[digests[2]] is None
    quick = {version.digest: version.problem for version in store.versions(verify_contents=False)}
    assert quick[digests[0]] is None
    assert isinstance(quick[digests[1]], DigestMismatchError)
    assert store.open(digests[2]).manifest.name == "third"


@pytest.mark.parametrize("damage", ["missing", "flipped", "too many"])
def test_publishing_again_repairs_a_damaged_version(
    place: Place, store: ModelStore, digests: list[str], tmp_path: Path, damage: str
) -> None:
    """What the error advises works."""
    folder = f"versions/{digests[0]}"
    {
        "missing": lambda: place.delete(f"{folder}/model.onnx"),
        "flipped": lambda: place.write(f"{folder}/model.onnx", FILES["model.onnx"].replace(b"w", b"v", 1)),
        "too many": lambda: place.write(f"{folder}/weights.pkl", b"x"),
    }[damage]()
    with pytest.raises(StoreError, match="publish it again"):
        store.open(digests[0])
    assert store.publish(tmp_path / "first") == digests[0]
    assert store.open(digests[0]).read_bytes("model.onnx") == FILES["model.onnx"]


@pytest.mark.parametrize("length", [0, 1, 7])
def test_a_prefix_below_eight_digits_names_nothing(store: ModelStore, digests: list[str], length: int) -> None:
    """Even when it is unique: a typing error must not choose a model."""
    with pytest.raises(VersionNotFoundError):
        store.open(digests[0][:length])


@pytest.mark.parametrize("name", ["0" * 64, "0" * 8, "Stable", "../../etc", "latest", "*" * 8])
def test_an_unknown_name_names_nothing(store: ModelStore, digests: list[str], name: str) -> None:
    """The error repeats the name and the store."""
    with pytest.raises(VersionNotFoundError, match="store"):
        store.open(name)


def test_an_empty_store_holds_nothing_and_breaks_nothing(store: ModelStore) -> None:
    """Before the first write there is not even a directory."""
    assert store.versions() == []
    assert store.history("stable") == []
    with pytest.raises(AliasNotFoundError):
        store.open("stable")
    assert is_s3(store.location) or not Path(store.location).exists()


def test_promotion_moves_an_alias_and_its_generation(store: ModelStore, digests: list[str]) -> None:
    """Each move is one generation more, and the two aliases count by themselves."""
    assert store.promote("stable", digests[0]) == (digests[0], 1)
    assert store.promote("stable", digests[1]) == (digests[1], 2)
    assert store.promote("candidate", digests[2][:8]) == (digests[2], 1)
    assert store.promote("stable", "candidate") == (digests[2], 3)
    assert store.resolve("stable") == (digests[2], 3)
    assert store.resolve("candidate") == (digests[2], 1)


def test_a_candidate_counts_beside_the_stable_version_that_it_was_named_beside(
    store: ModelStore, digests: list[str]
) -> None:
    """A canary ends by promotion, by pointing the candidate at stable, and by any other move of stable."""
    first, second, third = digests
    with pytest.raises(AliasNotFoundError, match="stable"):
        store.release()
    store.promote("stable", first)
    assert store.release()[:2] == ((first, 1), None)
    for end in (("stable", second), ("candidate", "stable"), ("stable", third)):
        store.promote("stable", first)
        named = store.promote("candidate", second)
        release = store.release()
        assert (release.stable.digest, release.candidate) == (first, named)
        assert release.since == datetime.fromisoformat(store.history("candidate")[-1].time)
        time.sleep(0.002)  # moves are told apart by the millisecond
        store.promote(*end)
        assert store.release().candidate is None
    store.promote("stable", first)
    assert store.release().candidate is None, "an old candidate came back when stable moved on"


def test_history_tells_every_move_with_time_and_reason(store: ModelStore, digests: list[str]) -> None:
    """Oldest first, each starting where the one before ended; long and odd reasons do no harm."""
    store.promote("stable", digests[0], reason="first")
    store.promote("stable", digests[1], reason="better\nby 3 % \ud800" + "x" * 10_000)
    store.rollback("stable", reason="worse")
    history = store.history("stable")
    assert [move.action for move in history] == ["promote", "promote", "rollback"]
    assert [move.generation for move in history] == [1, 2, 3]
    assert [(move.from_digest, move.to_digest) for move in history] == [
        (None, digests[0]),
        (digests[0], digests[1]),
        (digests[1], digests[0]),
    ]
    assert history[1].reason.startswith("better\nby 3 % ?x")
    assert len(history[1].reason) == 500
    assert sorted(move.time for move in history) == [move.time for move in history]


def test_rollbacks_go_further_back_each_time(store: ModelStore, digests: list[str]) -> None:
    """A second rollback does not bring the bad version back; promoting starts a new stack."""
    for digest in digests:
        store.promote("stable", digest)
    assert store.rollback("stable") == (digests[1], 4)
    assert store.rollback("stable") == (digests[0], 5)
    with pytest.raises(NoEarlierVersionError):
        store.rollback("stable")
    assert store.promote("stable", digests[2]) == (digests[2], 6)
    assert store.rollback("stable") == (digests[0], 7)


def test_an_alias_never_set_cannot_be_rolled_back(store: ModelStore, digests: list[str]) -> None:
    """There is nothing to go back from."""
    with pytest.raises(AliasNotFoundError):
        store.rollback("stable")


def test_promoting_what_is_promoted_adds_no_step_to_roll_back(store: ModelStore, digests: list[str]) -> None:
    """It is a generation of its own, but a rollback goes to another version."""
    store.promote("stable", digests[0])
    store.promote("stable", digests[1])
    assert store.promote("stable", digests[1]) == (digests[1], 3)
    assert store.rollback("stable") == (digests[0], 4)


def test_a_stale_expectation_moves_nothing(store: ModelStore, digests: list[str]) -> None:
    """The loser is told which generation it found, forwards and backwards."""
    store.promote("stable", digests[0], expected_generation=0)
    store.promote("stable", digests[1], expected_generation=1)
    for stale in (0, 1, 3):
        with pytest.raises(AliasConflictError, match=f"expected generation {stale}, found 2"):
            store.promote("stable", digests[2], expected_generation=stale)
        with pytest.raises(AliasConflictError, match=f"expected generation {stale}, found 2"):
            store.rollback("stable", expected_generation=stale)
    assert store.resolve("stable") == (digests[1], 2)
    assert len(store.history("stable")) == 2


def test_of_two_plans_from_one_state_the_second_is_refused(store: ModelStore, digests: list[str]) -> None:
    """A plan holds only as long as the alias stays where it was planned from."""
    store.promote("stable", digests[0])
    first, second = store.plan_promotion("stable", digests[1]), store.plan_promotion("stable", digests[2])
    assert store.resolve("stable") == (digests[0], 1)
    store.apply("stable", first)
    for late in (second, first):
        with pytest.raises(AliasConflictError, match="expected generation 1, found 2"):
            store.apply("stable", late)
    assert store.resolve("stable") == (digests[1], 2)


def test_a_damaged_version_is_never_promoted(place: Place, store: ModelStore, digests: list[str]) -> None:
    """Neither forwards nor by a rollback: a bad version never replaces a good one."""
    store.promote("stable", digests[0])
    store.promote("stable", digests[1])
    for digest in (digests[0], digests[2]):
        assert store.open(digest)  # a copy on this machine, where there is one, is no excuse
        place.delete(f"versions/{digest}/tokenizer.json")
    with pytest.raises(StoreError, match=r"tokenizer\.json"):
        store.promote("stable", digests[2])
    with pytest.raises(StoreError, match=r"tokenizer\.json"):
        store.rollback("stable")
    assert store.resolve("stable") == (digests[1], 2)


@pytest.mark.parametrize("alias", ["latest", "STABLE", "", "../stable", "stable.json"])
def test_only_the_two_aliases_exist(store: ModelStore, digests: list[str], alias: str) -> None:
    """A misspelt alias is an error, not a new alias or a path."""
    for use in (
        lambda: store.resolve(alias),
        lambda: store.history(alias),
        lambda: store.promote(alias, digests[0]),
        lambda: store.rollback(alias),
    ):
        with pytest.raises(UnknownAliasError, match="stable, candidate"):
            use()


def test_seeding_publishes_and_sets_stable_once(store: ModelStore, digests: list[str], tmp_path: Path) -> None:
    """The first start sets `stable`; a later one, even with a newer bundle, leaves an operator's choice alone."""
    shipped = make_bundle(tmp_path / "shipped", "shipped")
    (tmp_path / "cache").hardlink_to(tmp_path / "shipped" / "model.onnx")
    assert seed(store, tmp_path / "shipped") == shipped
    assert seed(store, tmp_path / "shipped") == shipped
    assert store.resolve("stable") == (shipped, 1)
    store.promote("stable", digests[0])
    newer = make_bundle(tmp_path / "newer", "newer")
    assert seed(store, tmp_path / "newer") == newer
    assert store.resolve("stable") == (digests[0], 2)
    assert store.open(newer).manifest.name == "newer"


SEEDER = """
import sys
from pathlib import Path
from model_store.store import seed
from tests.contract.places import open_store
print(seed(open_store(sys.argv[1]), Path(sys.argv[2])))
"""


def test_services_that_start_together_seed_one_version_once(store: ModelStore, tmp_path: Path) -> None:
    """Four processes, one bundle: all succeed, `stable` moved once."""
    digest = make_bundle(tmp_path / "shipped", "shipped")
    processes = [spawn(SEEDER, store.location, tmp_path / "shipped") for _ in range(4)]
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == [digest] * 4
    assert store.resolve("stable") == (digest, 1)
    assert [version.problem for version in store.versions()] == [None]


PROMOTER = """
import json, sys
from model_store.errors import AliasConflictError
from tests.contract.places import open_store
place, digest, rounds = sys.argv[1:]
store = open_store(place)
won = []
for generation in range(int(rounds)):
    try:
        won.append(store.promote("stable", digest, expected_generation=generation).generation)
    except AliasConflictError:
        pass
print(json.dumps(won))
"""


def test_of_eight_promoting_processes_one_wins_each_generation(store: ModelStore, tmp_path: Path) -> None:
    """8 processes: every generation has one winner, and the history is one unbroken chain."""
    num_processes, num_rounds = 8, 12 if is_s3(store.location) else 50
    digests = [publish(store, tmp_path / f"v{number}", f"v{number}") for number in range(num_processes)]
    processes = [spawn(PROMOTER, store.location, digest, num_rounds) for digest in digests]
    won = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    winners = {generation: digest for digest, wins in zip(digests, won, strict=True) for generation in wins}
    assert Counter(generation for wins in won for generation in wins) == Counter(range(1, num_rounds + 1))
    history = store.history("stable")
    assert [move.generation for move in history] == list(range(1, num_rounds + 1))
    assert all(winners[move.generation] == move.to_digest for move in history)
    assert [move.from_digest for move in history] == [None, *[move.to_digest for move in history[:-1]]]
    assert store.resolve("stable") == (history[-1].to_digest, num_rounds)


MOVER = """
import sys
from model_store.backends.places import open_backend
from model_store.backends.protocol import Alias
place, moves, *digests = sys.argv[1:]
backend = open_backend(place)
move = backend.read_alias(Alias.STABLE)
for number in range(int(moves)):
    changes = {"generation": move.generation + 1, "from_digest": move.to_digest, "to_digest": digests[number % 2]}
    move = move.model_copy(update=changes)
    backend.move_alias(Alias.STABLE, move)
"""


def test_readers_never_see_half_a_move(store: ModelStore, digests: list[str]) -> None:
    """While another process moves an alias often, each read is whole, of one move, and none goes back."""
    num_moves = 60 if is_s3(store.location) else 500
    store.promote("stable", digests[1])
    mover = spawn(MOVER, store.location, num_moves, digests[0], digests[1])
    seen = [store.resolve("stable")]
    try:
        while mover.poll() is None:
            seen.append(store.resolve("stable"))
    finally:
        mover.kill()
    assert mover.returncode == 0
    assert store.resolve("stable").generation == num_moves + 1
    assert len({state.generation for state in seen}) > num_moves // 10
    assert all(state.digest == digests[state.generation % 2 == 1] for state in seen)
    generations = [state.generation for state in seen]
    assert generations == sorted(generations)


def test_the_last_run_is_remembered_with_how_often_it_ended_so(store: ModelStore) -> None:
    """One report, the last one; a run that ends otherwise begins the count anew."""
    assert store.last_run() is None
    for outcome, num_in_a_row in ((RunOutcome.REFUSED, 1), (RunOutcome.REFUSED, 2), (RunOutcome.PUBLISHED, 1)):
        report = store.note_run(outcome)
        assert (report.outcome, report.num_in_a_row) == (outcome, num_in_a_row)
        assert store.last_run() == report
    assert store.versions() == []


def test_a_report_that_cannot_be_read_is_none(place: Place, store: ModelStore) -> None:
    """Nothing is decided by it, so it stops nobody, and the next run replaces it."""
    store.note_run(RunOutcome.FAILED)
    place.write("last_run.json", b"{")
    assert store.last_run() is None
    assert store.note_run(RunOutcome.FAILED).num_in_a_row == 1
