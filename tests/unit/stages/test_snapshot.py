"""The snapshot: the same ratings give the same bytes, and the base is the verified version behind `stable`."""

import json
from pathlib import Path

import pytest

from model_store.contract.feedback import CONVERSATION_TURNS_COLUMNS
from model_store.errors import AliasNotFoundError
from model_store.replies import load_replies
from service.records.sql_store import SqlRecordStore
from tests.bundles import make_bundle
from tests.unit.stages.feedback_workspace import (
    local_store,
    make_config,
    make_database,
    make_workspace,
    publish_tiny_version,
    raw_row,
)
from training.data.feedback_rows import read_export, read_view
from training.errors import DataNotFoundError, InvalidFeedbackDataError
from training.evaluation.held_out import known_phrases
from training.reformer.model import load_policy
from training.stages import snapshot
from training.stages.rewording import reword
from training.stages.snapshot import snapshot_text


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store with one tiny version, and its digest."""
    root = tmp_path_factory.mktemp("shelf")
    return root / "models", publish_tiny_version(local_store(root / "models"), root / "made")


def test_a_snapshot_from_the_database_and_one_from_its_export_are_the_same(
    tmp_path: Path, shelf: tuple[Path, str]
) -> None:
    """The digest of the data does not depend on how it was read, nor on the order of the rows."""
    rows = [raw_row(number) for number in range(5)]
    url = make_database(tmp_path / "records.db", rows)
    export = tmp_path / "export.jsonl"
    export.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    config = make_config()
    by_url = make_workspace(tmp_path / "a", config, database_url=url, model_store=str(shelf[0]))
    by_file = make_workspace(tmp_path / "b", config, feedback_file=str(export), model_store=str(shelf[0]))
    first, second = snapshot.run(config, by_url), snapshot.run(config, by_file)
    assert first == second
    assert first["num_rows"] == 5 and first["parent"] == shelf[1] and first["generation"] == 1
    assert by_url.path("snapshot.jsonl").read_bytes() == by_file.path("snapshot.jsonl").read_bytes()


def test_the_base_that_training_starts_from_is_the_stable_version(tmp_path: Path, shelf: tuple[Path, str]) -> None:
    """Its weights load, and they are the ones on the shelf."""
    config = make_config()
    url = make_database(tmp_path / "records.db", [raw_row()])
    workspace = make_workspace(tmp_path / "w", config, database_url=url, model_store=str(shelf[0]))
    snapshot.run(config, workspace)
    stored = local_store(shelf[0]).open("stable").path("model.safetensors").read_bytes()
    assert workspace.path("base/model.safetensors").read_bytes() == stored
    assert load_policy(workspace.path("base")).config.hidden_size == 64


def test_the_first_version_of_a_line_is_frozen_where_the_stable_one_was_made_of_it(tmp_path: Path) -> None:
    """As far back as the shelf holds them; a first step has no other first version than its base."""
    store = local_store(tmp_path / "models")
    line = [publish_tiny_version(store, tmp_path / "made")]
    config, url = make_config(), make_database(tmp_path / "records.db", [raw_row()])
    workspace = make_workspace(tmp_path / "w", config, database_url=url, model_store=str(tmp_path / "models"))
    taken = snapshot.run(config, workspace)
    assert (taken["first_version"], taken["versions_since_first"]) == (None, 0)
    assert not workspace.path("first").exists()
    for number in (1, 2):
        newer = reword(store.open(line[-1]).directory, tmp_path / f"newer{number}", "shop")
        line.append(store.publish(tmp_path / f"newer{number}"))
        assert newer.digest == line[-1]
    store.promote("stable", line[-1])
    taken = snapshot.run(config, workspace)
    assert (taken["first_version"], taken["versions_since_first"]) == (line[0], 2)
    assert load_policy(workspace.path("first")).config.hidden_size == 64
    named = make_config(gate={"first_version": line[1][:12]})
    taken = snapshot.run(named, workspace)
    assert (taken["first_version"], taken["versions_since_first"]) == (line[1], 1)
    with pytest.raises(DataNotFoundError, match=r"gate\.first_version"):
        snapshot.run(make_config(gate={"first_version": "0" * 8}), workspace)


def test_what_the_stable_version_keeps_its_wording_to_is_frozen_with_it(
    tmp_path: Path, shelf: tuple[Path, str]
) -> None:
    """The gate then measures replies as they are served, and what corrections taught goes on into the next version."""
    config = make_config()
    url = make_database(tmp_path / "records.db", [raw_row()])
    workspace = make_workspace(tmp_path / "w", config, database_url=url, model_store=str(shelf[0]))
    snapshot.run(config, workspace)
    policy, stable = load_policy(workspace.path("base")), local_store(shelf[0]).open("stable")
    frozen = list(load_replies(workspace.path("base"), policy.config.vocab_size))
    assert frozen == list(load_replies(stable.directory, policy.config.vocab_size)) and len(frozen) > 100
    assert known_phrases(workspace.path("base"), policy) is not None


def test_what_was_said_without_a_thumb_is_frozen_too(tmp_path: Path, shelf: tuple[Path, str]) -> None:
    """From the database or from a file, the newest so many; ratings from a file alone have none beside them."""
    config = make_config(feedback={"max_turns": 2})
    names = CONVERSATION_TURNS_COLUMNS
    turns = [{n: raw_row(k, created_at=f"2026-01-0{k}T00:00:00Z")[n] for n in names} for k in (1, 2, 3)]
    url = make_database(tmp_path / "records.db", [raw_row()], turns)
    (tmp_path / "feedback.jsonl").write_text(json.dumps(raw_row()) + "\n")
    (tmp_path / "turns.jsonl").write_text("".join(json.dumps(turn) + "\n" for turn in turns))
    feedback_file, turns_file = str(tmp_path / "feedback.jsonl"), str(tmp_path / "turns.jsonl")
    results = {}
    for name, inputs in (
        ("database", {"database_url": url}),
        ("files", {"feedback_file": feedback_file, "turns_file": turns_file}),
        ("file", {"feedback_file": feedback_file}),
    ):
        workspace = make_workspace(tmp_path / name, config, model_store=str(shelf[0]), **inputs)
        result = snapshot.run(config, workspace)
        results[name] = (result["num_turns"], result["data_snapshot"], workspace.path("turns.jsonl").read_text())
    assert results["database"] == results["files"] and results["database"][0] == 2
    assert '"chatcmpl-3"' in results["files"][2] and '"chatcmpl-1"' not in results["files"][2]
    assert results["file"][0] == 0 and results["file"][1] == results["files"][1]


def test_only_the_newest_ratings_are_kept_when_there_are_too_many() -> None:
    """The bound is on rows, and it is the oldest that go."""
    rows = [raw_row(number, rated_at=f"2026-01-0{number + 1}T00:00:00Z") for number in range(4)]
    kept = [json.loads(line)["completion_id"] for line in snapshot_text(rows, max_rows=2).splitlines()]
    assert kept == ["chatcmpl-2", "chatcmpl-3"]


def test_the_services_own_database_can_be_read(tmp_path: Path) -> None:
    """The view that the service's migrations make has the columns that training asks for."""
    url = f"sqlite:///{tmp_path / 'records.db'}"
    SqlRecordStore.open(url).close()
    assert read_view(url) == []


def test_a_database_that_is_not_there_is_named_and_not_created(tmp_path: Path) -> None:
    """A mistyped path must not become an empty database, and so an empty lesson."""
    with pytest.raises(DataNotFoundError, match="none.db"):
        read_view(f"sqlite:///{tmp_path / 'none.db'}")
    assert not (tmp_path / "none.db").exists()


def test_a_database_without_the_view_is_an_error(tmp_path: Path) -> None:
    """The message names the view."""
    (tmp_path / "empty.db").touch()
    with pytest.raises(DataNotFoundError, match="training_examples"):
        read_view(f"sqlite:///{tmp_path / 'empty.db'}")


def test_what_is_no_url_is_refused_without_repeating_it() -> None:
    """A broken URL may hold a password."""
    with pytest.raises(DataNotFoundError) as caught:
        read_view("hunter2 is no url")
    assert "hunter2" not in str(caught.value)


def test_a_broken_line_of_an_export_is_named(tmp_path: Path) -> None:
    """A cut-off file is found out, not silently shortened."""
    (tmp_path / "export.jsonl").write_text(json.dumps(raw_row()) + '\n{"completion_id": "chatcm')
    with pytest.raises(InvalidFeedbackDataError, match="line 2"):
        read_export(tmp_path / "export.jsonl")


def test_an_export_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error says which command makes one."""
    with pytest.raises(DataNotFoundError, match="export-feedback"):
        read_export(tmp_path / "export.jsonl")


def test_a_shelf_without_a_stable_version_stops_the_run(tmp_path: Path) -> None:
    """There is nothing to start from."""
    config = make_config()
    url = make_database(tmp_path / "records.db", [raw_row()])
    workspace = make_workspace(tmp_path / "w", config, database_url=url, model_store=str(tmp_path / "models"))
    with pytest.raises(AliasNotFoundError):
        snapshot.run(config, workspace)


def test_a_version_without_weights_cannot_be_trained_further(tmp_path: Path) -> None:
    """The error says which file is missing."""
    store = local_store(tmp_path / "models")
    make_bundle(tmp_path / "bundle")
    store.promote("stable", store.publish(tmp_path / "bundle"))
    config = make_config()
    url = make_database(tmp_path / "records.db", [raw_row()])
    workspace = make_workspace(tmp_path / "w", config, database_url=url, model_store=str(tmp_path / "models"))
    with pytest.raises(DataNotFoundError, match=r"config\.json"):
        snapshot.run(config, workspace)
