"""`python -m model_store`: what operators type, and what they and their scripts read."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from model_store.backends.local import LocalBackend
from model_store.cli import main
from model_store.store import ModelStore
from tests.bundles import make_bundle

ROOT = Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the store lies; the environment names it, as in a container."""
    monkeypatch.setenv("MODEL_STORE", str(tmp_path / "the store"))
    return tmp_path / "the store"


@pytest.fixture
def store(root: Path) -> ModelStore:
    """The store that the commands work on."""
    return ModelStore(LocalBackend(root))


@pytest.fixture
def digests(store: ModelStore, tmp_path: Path) -> list[str]:
    """Two versions, the second the child of the first; `stable` points at the first."""
    first = make_bundle(tmp_path / "first", "first")
    store.publish(tmp_path / "first")
    lineage = {"parent": first, "config": "c" * 64, "stages": ["rloo"]}
    second = make_bundle(tmp_path / "second", "second", created_at="2026-02-01T00:00:00Z", lineage=lineage)
    store.publish(tmp_path / "second")
    store.promote("stable", first)
    return [first, second]


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str, exit_code: int = 0) -> dict[str, object]:
    """Runs a command with --json and gives what it printed on stdout."""
    assert main([*arguments, "--json"]) == exit_code
    printed: dict[str, object] = json.loads(capsys.readouterr().out)
    return printed


def test_list_shows_versions_newest_first_for_people(digests: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One line each: short digest, name, time, size, aliases, metrics, parent, state."""
    assert main(["list"]) == 0
    header, second, first = capsys.readouterr().out.splitlines()
    assert header.split() == [
        "DIGEST",
        "NAME",
        "CREATED",
        "MB",
        "ALIASES",
        "THUMBS-UP",
        "PERPLEXITY",
        "PARENT",
        "STATE",
    ]
    assert second.split() == [
        digests[1][:12], "second", "2026-02-01T00:00:00Z", "0.0", "-", "0.750", "12.500", digests[0][:12], "ok",
    ]  # fmt: skip
    assert first.split()[4] == "stable"


def test_list_gives_scripts_the_same_as_json(digests: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Whole digests, bytes, aliases with generations."""
    printed = run_json(capsys, "list")
    assert printed["aliases"] == {"stable": {"digest": digests[0], "generation": 1}}
    versions = printed["versions"]
    assert isinstance(versions, list)
    assert [version["digest"] for version in versions] == digests[::-1]
    assert versions[0]["parent"] == digests[0]
    assert versions[1]["aliases"] == ["stable"]
    assert versions[1]["problem"] is None
    assert versions[1]["num_bytes"] == 8 * 4096 + 17


def test_list_shows_damaged_versions_with_the_reason(
    store: ModelStore, digests: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A version without a readable manifest still has its line."""
    (store.open(digests[1]).directory / "manifest.json").unlink()
    assert main(["list"]) == 0
    assert f"{digests[1][:12]}  -" in (out := capsys.readouterr().out)
    assert "REFUSED invalid_manifest" in out
    versions = run_json(capsys, "list")["versions"]
    assert isinstance(versions, list)
    assert versions[-1]["digest"] == digests[1]
    assert versions[-1]["problem"]["code"] == "invalid_manifest"


def test_an_empty_store_is_an_empty_table_and_a_word_on_stderr(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Looking creates nothing."""
    assert main(["list"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("DIGEST")
    assert f"no version in {root}" in printed.err
    assert not root.exists()


def test_show_prints_the_manifest_and_an_aliass_moves(
    store: ModelStore, digests: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """By prefix the version alone, by alias also how the alias came there."""
    store.promote("stable", digests[1], reason="better by a third")
    assert main(["show", digests[0][:8]]) == 0
    out = capsys.readouterr().out
    assert digests[0] in out
    assert '"name": "first"' in out
    assert "GENERATION" not in out
    assert main(["show", "stable"]) == 0
    out = capsys.readouterr().out
    assert digests[1] in out
    assert "better by a third" in out
    printed = run_json(capsys, "show", "stable")
    assert printed["digest"] == digests[1]
    assert printed["manifest"] == json.loads(store.open(digests[1]).manifest.canonical_bytes())
    assert isinstance(printed["history"], list)
    assert len(printed["history"]) == 2


def test_verify_checks_all_or_some_and_exits_1_for_a_refused_one(
    store: ModelStore, digests: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is about the versions asked for."""
    assert main(["verify"]) == 0
    assert capsys.readouterr().out.count(" ok") == 2
    weights = store.open(digests[1]).directory / "model.onnx"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes().replace(b"w", b"v", 1))
    assert main(["verify", "stable"]) == 0
    assert main(["verify", digests[1][:12]]) == 1
    assert "REFUSED digest_mismatch" in capsys.readouterr().out
    printed = run_json(capsys, "verify", exit_code=1)
    assert printed["is_verified"] is False


def test_promote_says_what_moved_and_how_to_undo_it(
    store: ModelStore, digests: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The undo that is printed, typed into a shell, puts the alias back."""
    assert main(["promote", "stable", digests[1][:12], "--reason", "new"]) == 0
    moved, undo = capsys.readouterr().out.splitlines()
    assert moved == f"moved stable: {digests[0][:12]} -> {digests[1][:12]}, generation 2"
    assert store.resolve("stable") == (digests[1], 2)
    words = shlex.split(undo.removeprefix("undo: "))
    assert words[:3] == ["python", "-m", "model_store"]
    assert main(words[3:]) == 0
    assert store.resolve("stable") == (digests[0], 3)


def test_rollback_can_be_undone_too(store: ModelStore, digests: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Its undo promotes what was rolled back, and only if nobody has moved the alias since."""
    store.promote("stable", digests[1])
    undo = run_json(capsys, "rollback", "stable", "--reason", "worse")["undo"]
    assert store.resolve("stable") == (digests[0], 3)
    assert isinstance(undo, str)
    words = shlex.split(undo)[3:]
    assert main(words) == 0
    assert store.resolve("stable") == (digests[1], 4)
    assert main(words) == 1
    assert "alias_conflict: " in capsys.readouterr().err


@pytest.mark.parametrize("command", [["promote", "stable"], ["rollback", "stable"]])
def test_a_dry_run_checks_and_moves_nothing(
    store: ModelStore, digests: list[str], capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """It prints the move and its undo; a refusal is a refusal in a dry run too."""
    store.promote("stable", digests[1])
    arguments = [*command, digests[0]] if command[0] == "promote" else command
    assert main([*arguments, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"would move stable: {digests[1][:12]} -> {digests[0][:12]}, generation 3\nundo: python")
    assert store.resolve("stable") == (digests[1], 2)
    assert run_json(capsys, *arguments, "--dry-run")["is_dry_run"] is True
    assert main([*arguments, "--dry-run", "--expected-generation", "1"]) == 1
    assert len(store.history("stable")) == 2


def test_a_first_promotion_has_no_undo(digests: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Said plainly instead of offering a command that fails."""
    assert main(["promote", "candidate", digests[1]]) == 0
    assert "undo: none" in capsys.readouterr().out


def test_seed_publishes_and_sets_stable_unless_it_is_set(
    store: ModelStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run says what would happen and leaves an empty store empty; running it again changes nothing."""
    digest = make_bundle(tmp_path / "shipped", "shipped")
    assert main(["seed", str(tmp_path / "shipped"), "--dry-run"]) == 0
    assert f"would be published {digest[:12]}; stable would be set" in capsys.readouterr().out
    assert store.versions() == []
    assert run_json(capsys, "seed", str(tmp_path / "shipped"))["sets_stable"] is True
    assert store.resolve("stable") == (digest, 1)
    assert main(["seed", str(tmp_path / "shipped")]) == 0
    assert "stable stays where it is" in capsys.readouterr().out
    assert store.resolve("stable") == (digest, 1)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "stable"], "alias_not_found"),
        (["show", "0123456789"], "version_not_found"),
        (["promote", "latest", "0123456789"], "unknown_alias"),
        (["rollback", "candidate"], "alias_not_found"),
        (["seed", "/nowhere"], "invalid_manifest"),
        (["seed", "/nowhere", "--dry-run"], "invalid_manifest"),
        (["verify", "0123456789"], "version_not_found"),
    ],
)
def test_a_refusal_is_one_named_line_on_stderr(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: str
) -> None:
    """Exit code 1, nothing on stdout, no traceback."""
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"{code}: ")
    assert printed.err.count("\n") == 1


def test_the_module_runs_and_options_may_stand_before_the_command(digests: list[str], root: Path) -> None:
    """`python -m model_store --store PATH list`; a wrong command line exits 2."""
    environment = {name: value for name, value in os.environ.items() if name != "MODEL_STORE"}
    command = [sys.executable, "-m", "model_store", "--json", "--store", str(root), "list"]
    finished = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(finished.stdout)["store"] == str(root)
    wrong = subprocess.run([*command[:-1], "delete"], cwd=ROOT, env=environment, capture_output=True, timeout=60)
    assert wrong.returncode == 2
