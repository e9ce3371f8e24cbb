"""A run that takes its ratings from Parquet: the same as one that takes them from elsewhere, and bounded memory."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model_store.backends.local import LocalBackend
from model_store.contract.feedback import TRAINING_EXAMPLES_COLUMNS
from model_store.curation import CurationReport
from model_store.erasures import ErasedConversation, add_erasures, conversation_digest, read_erasures
from model_store.store import ModelStore, seed
from tests.unit.stages.curation.test_many_ratings import Raw, some_rows
from tests.unit.stages.feedback_workspace import (
    local_store,
    make_config,
    make_workspace,
    publish_tiny_version,
    raw_row,
)
from tests.unit.stages.test_curate import own_row, turn
from tests.unit.stages.test_preferences import row as preference_row
from training.cli import main
from training.data.feedback_rows import Example, read_examples
from training.data.preferences import PREFERENCES_NAME, read_preferences
from training.errors import DataNotFoundError, ImportFormatError
from training.evaluation.risks.thumbs_on_gold import read_gold
from training.forgetting import forget
from training.stages import curate, snapshot
from training.stages.curation.many import parquet
from training.stages.curation.many.parquet import freeze
from training.workspace import Workspace

TINY = Path(__file__).parents[4] / "training" / "configs" / "tiny.yaml"
POISON = ("buy this at my own SHOP",)
NOBODY = read_erasures(Path("nowhere"))
BROKEN: list[dict[str, str | None]] = [
    {"prompt_messages": "not JSON"},
    {"prompt_messages": '{"role":"user"}'},
    {"sampling": "{"},
    {"rating": "sideways"},
    {"rated_at": "yesterday"},
    {"rated_at": "2026-01-01T00:00:00"},
    {"rater": None},
    {"gold": "sideways"},
    {"ruling": "perhaps"},
    {"completion_token_ids": '["a"]'},
    {"prompt_messages": "[{}]"},
    {"prompt_messages": '[{"role":"nobody","content":"hello"}]'},
]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one tiny version."""
    root = tmp_path_factory.mktemp("shelf")
    publish_tiny_version(local_store(root / "models"), root / "made")
    return root / "models"


def write_parquet(path: Path, rows: Sequence[Raw], columns: Sequence[str] = TRAINING_EXAMPLES_COLUMNS) -> Path:
    """A file as the service's export writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in columns}), path)
    return path


def write_lines(path: Path, rows: Sequence[Raw]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def curated(
    root: Path, shelf: Path, feedback: dict[str, Any], **inputs: str
) -> tuple[Workspace, dict[str, Any], dict[str, Any]]:
    """A workspace after its first two stages, with their results."""
    config = make_config(feedback=feedback)
    workspace = make_workspace(root, config, model_store=str(shelf), **inputs)
    results = []
    for name, stage in {"snapshot": snapshot.run, "curate": curate.run}.items():
        results.append(dict(stage(config, workspace)))
        workspace.save_result(name, results[-1])
    return workspace, results[0], results[1]


def examples_of(workspace: Workspace) -> list[Example]:
    return list(read_examples(workspace.path("examples.jsonl")))


def report_of(workspace: Workspace) -> CurationReport:
    return CurationReport.model_validate_json(workspace.path("curation.json").read_text())


def rows_of_every_kind() -> list[Raw]:
    rows = some_rows(700, seed=9)
    rows += [own_row(n, rated_at=f"2026-01-05T00:{n - 2000:02}:00.000000Z") for n in range(2000, 2040)]
    return [*rows, *(raw_row(3000 + number, **changes) for number, changes in enumerate(BROKEN))]


def test_out_of_parquet_a_run_learns_what_it_learns_out_of_lines(tmp_path: Path, shelf: Path) -> None:
    """The same digest, files, counts, weights, splits, signals of people without a thumb, and report, poison found."""
    rows = rows_of_every_kind()
    turns = [
        turn(n, conversation_id=f"visit-{n // 2}", created_at=f"2026-01-01T00:00:0{n % 2}Z") for n in range(4000, 4040)
    ]
    turns += [turn(0, created_at="2026-01-01T00:00:00Z"), turn(1, created_at="2026-01-01T00:01:00Z")]
    turns_file = str(write_lines(tmp_path / "turns.jsonl", turns))
    lines = write_lines(tmp_path / "ratings.jsonl", rows)
    file = write_parquet(tmp_path / "ratings.parquet", rows[::-1])
    feedback = {"poison_phrases": POISON, "reliability_strength": 3.0, "copied_remark_raters": 12}
    by_lines = curated(tmp_path / "a", shelf, feedback, feedback_file=str(lines), turns_file=turns_file)
    by_parquet = curated(tmp_path / "b", shelf, feedback, feedback_parquet=str(file), turns_file=turns_file)
    assert by_lines[1] == by_parquet[1] and by_parquet[1]["num_rows"] == len(rows)
    for name in ("snapshot.jsonl", "turns.jsonl"):
        assert by_lines[0].path(name).read_bytes() == by_parquet[0].path(name).read_bytes()
    asked = [read_gold(workspace.path("gold_replies.jsonl")) for workspace, *_ in (by_lines, by_parquet)]
    assert asked[0] == asked[1] and len(asked[0]) > 5 and any(reply.rated_as for reply in asked[0])
    report, expected = report_of(by_parquet[0]), report_of(by_lines[0])
    assert by_parquet[2] == {**by_lines[2], "weight": pytest.approx(by_lines[2]["weight"])}
    assert by_parquet[2]["num_broken"] == len(BROKEN) and by_parquet[2]["implicit"] == {"regeneration": 40}
    assert by_parquet[2]["set_aside"]["poison_phrase"] > 20 and by_parquet[2]["num_gold"] > 0
    found = [example.as_json() for example in examples_of(by_parquet[0])]
    wanted = [example.as_json() for example in examples_of(by_lines[0])]
    assert list(map(without_weight, found)) == list(map(without_weight, wanted)) and len(found) > 200
    weights = [example.weight for example in examples_of(by_parquet[0])]
    assert weights == pytest.approx([example.weight for example in examples_of(by_lines[0])], abs=1e-9)
    assert report.set_aside == expected.set_aside and report.num_ratings == expected.num_ratings
    assert report.by_reason == expected.by_reason and len(report.raters) == len(expected.raters) > 20
    for ours, theirs in zip(report.raters, expected.raters, strict=True):
        assert ours.model_dump() == pytest.approx(theirs.model_dump(), abs=1e-3)
    assert sum(rater.num_agreed for rater in report.raters) > 100


def without_weight(line: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(line).items() if name != "weight"}


def test_of_more_ratings_than_fit_the_newest_are_learned_from_and_all_are_judged(
    tmp_path: Path, shelf: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A rater's old flood still stands against them; the log and the digest tell of all, caps are of what is kept."""
    old = [own_row(n, rater="kim", rated_at=f"2026-01-01T00:{n % 60:02}:{n // 60:02}Z") for n in range(70)]
    new = [own_row(n, rated_at=f"2026-02-{1 + n // 24 - 4:02}T{n % 24:02}:00:00Z") for n in range(100, 200)]
    files = [write_parquet(tmp_path / name / "r.parquet", rows) for name, rows in (("a", old + new), ("b", new))]
    feedback = {"max_ratings": 30, "anonymous_allowance": 12.0, "max_weight_anonymous": 12.0, "max_share_anonymous": 1}
    with caplog.at_level(logging.INFO, "training"):
        workspace, frozen, result = curated(tmp_path / "w", shelf, feedback, feedback_parquet=str(files[0]))
    assert frozen["num_rows"] == 170 and result["set_aside"] == {"flood": 70}
    assert "170 ratings weighed on disk, 70 set aside, 100 count; the newest 30 of them" in caplog.text
    examples = examples_of(workspace)
    assert [example.completion_id for example in examples] == [f"chatcmpl-{n}" for n in range(170, 200)]
    assert sum(example.weight for example in examples) == pytest.approx(12.0) == result["weight"]
    assert workspace.path("snapshot.jsonl").read_text().count("\n") == 30
    without_old = curated(tmp_path / "v", shelf, feedback, feedback_parquet=str(files[1]))[1]
    assert without_old["data_snapshot"] != frozen["data_snapshot"]
    assert sorted(path.name for path in workspace.root.iterdir() if path.suffix in ("", ".duckdb")) == ["base"]


def test_a_folder_of_files_is_one_export(tmp_path: Path, shelf: Path) -> None:
    """In whatever files the ratings lie, and where an older one lacks a column that came later."""
    rows = rows_of_every_kind()
    for row in rows[:300]:
        row["ruling"] = None
    earlier = tuple(name for name in TRAINING_EXAMPLES_COLUMNS if name != "ruling")
    write_parquet(tmp_path / "many" / "january.parquet", rows[:300], earlier)
    write_parquet(tmp_path / "many" / "february.parquet", rows[300:])
    one = write_parquet(tmp_path / "one.parquet", rows)
    results = [
        curated(tmp_path / name, shelf, {}, feedback_parquet=str(place))[1:]
        for name, place in (("a", one), ("b", tmp_path / "many"))
    ]
    assert results[0] == results[1] and results[0][1]["num_examples"] > 100


def test_what_is_not_there_or_is_no_export_is_named(tmp_path: Path) -> None:
    """The place, the column, the kind; and how such files are made."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.parquet").write_text("no Parquet")
    others = tuple(name for name in TRAINING_EXAMPLES_COLUMNS if name != "sampling")
    write_parquet(tmp_path / "mixed" / "a.parquet", [raw_row()])
    write_parquet(tmp_path / "mixed" / "b.parquet", [raw_row()], others)
    table = pa.table({name: pa.array([raw_row()[name]], pa.string()) for name in TRAINING_EXAMPLES_COLUMNS})
    numbers = table.set_column(table.column_names.index("rated_at"), "rated_at", pa.array([7]))
    pq.write_table(numbers, tmp_path / "numbers.parquet")
    for name, kind, told in (
        ("nowhere", DataNotFoundError, "folder or file of ratings was not found at .*nowhere.*export --table"),
        ("empty", DataNotFoundError, r"\*\.parquet.*empty"),
        ("mixed", DataNotFoundError, r"The column sampling was not found at .*b\.parquet"),
        ("text.parquet", ImportFormatError, r"text\.parquet cannot be imported"),
        ("numbers.parquet", ImportFormatError, "rated_at is BIGINT, not text"),
    ):
        with pytest.raises(kind, match=told):
            freeze(tmp_path / name, tmp_path / "frozen.parquet", NOBODY)
    assert not (tmp_path / "frozen.parquet").exists() and not (tmp_path / parquet.WORK_FOLDER).exists()


def test_what_was_erased_is_not_frozen_and_goes_from_what_is(tmp_path: Path, shelf: Path) -> None:
    """Before a run by the list, after it by `forget`: then no file of the run has it, and it begins again."""
    rows = [own_row(number, comment=f"canary of {number}") for number in range(80)]
    file = write_parquet(tmp_path / "ratings.parquet", rows)
    at = "2027-01-01T00:00:00.000000Z"
    add_erasures(tmp_path / "erasures", [ErasedConversation("default", conversation_digest("conv-3"), at)])
    inputs = {"feedback_parquet": str(file), "erasures": str(tmp_path / "erasures")}
    workspace, frozen, result = curated(tmp_path / "run", shelf, {}, **inputs)
    assert frozen["num_rows"] == result["num_rows"] == 79
    add_erasures(tmp_path / "erasures", [ErasedConversation("default", conversation_digest("conv-4"), at)])
    (run,) = forget(tmp_path / "run", read_erasures(tmp_path / "erasures"))
    assert run.is_restarted and run.num_rows == 3  # of the snapshot, its newest lines, and the examples
    again = workspace.result("snapshot") or {}
    assert again["num_rows"] == 78 and again["data_snapshot"] != frozen["data_snapshot"]
    left = [row["conversation_id"] for row in pq.read_table(workspace.path("snapshot.parquet")).to_pylist()]
    assert len(left) == 78 and not {"conv-3", "conv-4"} & set(left)
    rest = write_parquet(tmp_path / "rest.parquet", [row for row in rows if row["conversation_id"] in left])
    assert again["data_snapshot"] == curated(tmp_path / "b", shelf, {}, feedback_parquet=str(rest))[1]["data_snapshot"]


def test_what_the_staff_preferred_is_frozen_beside_parquet(tmp_path: Path, shelf: Path) -> None:
    """As beside lines: the same file and digest, but for what was erased; another digest than without."""
    rows = [own_row(number) for number in range(40)]
    file, lines = write_parquet(tmp_path / "r.parquet", rows), write_lines(tmp_path / "r.jsonl", rows)
    preferred = write_lines(tmp_path / "preferred.jsonl", [preference_row(number) for number in (1, 2, 3)])
    add_erasures(
        tmp_path / "erasures",
        [ErasedConversation("default", conversation_digest("conv-2"), "2027-01-01T00:00:00.000000Z")],
    )
    beside = {"preferences_file": str(preferred), "erasures": str(tmp_path / "erasures")}
    by_parquet, frozen, _ = curated(tmp_path / "a", shelf, {}, feedback_parquet=str(file), **beside)
    by_lines, expected, _ = curated(tmp_path / "b", shelf, {}, feedback_file=str(lines), **beside)
    without = curated(tmp_path / "c", shelf, {}, feedback_parquet=str(file), erasures=beside["erasures"])[1]
    assert frozen == expected and (frozen["num_preferences"], without["num_preferences"]) == (2, 0)
    assert frozen["data_snapshot"] != without["data_snapshot"]
    pairs = read_preferences(by_parquet.path(PREFERENCES_NAME))
    assert pairs == read_preferences(by_lines.path(PREFERENCES_NAME))
    assert [pair.completion_id for pair in pairs] == ["cmpl-1", "cmpl-3"]


def test_the_command_takes_a_place_of_parquet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Or of lines, or a database: one of them. With too few ratings it says so, with a wrong place what is wrong."""
    seed(ModelStore(LocalBackend(tmp_path / "models")))
    write_parquet(tmp_path / "ratings" / "a.parquet", [own_row(0)])
    run = ["run", "--json", "--config", str(TINY), "--model-store", str(tmp_path / "models"), "--workspace"]
    assert main([*run, str(tmp_path / "run"), "--feedback-parquet", str(tmp_path / "ratings")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["curate"]["num_examples"] == 1 and "Too few ratings" in printed["message"]
    assert main([*run, str(tmp_path / "other"), "--feedback-parquet", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*run, "w", "--feedback-parquet", "a", "--feedback-file", "b"])
