"""`python -m service`: commands, exit codes, and where they print."""

import json
import sqlite3
from pathlib import Path

import pytest

from service.cli import main
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import run_fake_service, say_hello, wait_until


def test_an_open_address_without_a_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1, before anything is opened, and the message says what to do."""
    monkeypatch.setenv("HOST", "0.0.0.0")
    assert main(["serve"]) == 1
    assert "SERVICE_API_KEY" in capsys.readouterr().err


def test_a_bad_setting_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The value could be a secret."""
    monkeypatch.setenv("SERVICE_API_KEY", "tooshort")
    assert main(["check-facts"]) == 1
    captured = capsys.readouterr()
    assert "api_key" in captured.err.lower() and "tooshort" not in captured.err


def test_facts_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sample is complete; a short file is good and its gaps are named; a broken one is an error."""
    assert main(["check-facts"]) == 0
    assert "every fact is given" in capsys.readouterr().out
    path = tmp_path / "facts.yaml"
    path.write_text("BRAND: Shop\n")
    assert main(["check-facts", str(path)]) == 0
    assert "WEBSITE" in capsys.readouterr().out
    path.write_text("NOPE: x\n")
    assert main(["check-facts", str(path)]) == 1
    assert "NOPE" in capsys.readouterr().err


def test_rated_completions_are_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One JSON object a line on stdout, the count on stderr."""
    with run_fake_service(tmp_path, FakeEngines(say_hello)) as service:
        body = {"model": "rejoinder", "messages": [{"role": "user", "content": "我忘记了我的账户密码"}]}
        completion = service.http.post("/v1/chat/completions", json=body).json()
        right = {"completion_id": completion["id"], "feedback_token": completion["feedback_token"]}
        service.http.post("/v1/feedback", json={**right, "rating": "down"})
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    output = tmp_path / "rated.jsonl"
    assert main(["export-feedback", "--output", str(output)]) == 0
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [(row["completion_id"], row["rating"], row["language"]) for row in rows] == [
        (completion["id"], "down", "zh")
    ]
    assert "1 rated completions" in capsys.readouterr().err


def recorded(directory: Path, **changes: object) -> str:
    """A stopped service's data directory with one rated completion; the completion's id."""
    with run_fake_service(directory, FakeEngines(say_hello), **changes) as service:
        body = {"model": "rejoinder", "messages": [{"role": "user", "content": "Where is my order A1B2-77345?"}]}
        completion = service.http.post("/v1/chat/completions", json=body).json()
        right = {"completion_id": completion["id"], "feedback_token": completion["feedback_token"]}
        service.http.post("/v1/feedback", json={**right, "rating": "up", "reasons": ["helpful"]})
    return str(completion["id"])


def test_records_are_exported_and_purged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parquet holds the values of the JSON lines, of every table; a purge says first what it would do."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is missing: pip install pyarrow")
    completion_id = recorded(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    for table in ("training_examples", "completions", "feedback", "conversations"):
        lines, columns = tmp_path / f"{table}.jsonl", tmp_path / f"{table}.parquet"
        for form, path in (("jsonl", lines), ("parquet", columns)):
            assert main(["export", "--table", table, "--format", form, "--output", str(path)]) == 0
        rows = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
        assert len(rows) == 1 and parquet.read_table(columns).to_pylist() == rows
        assert "A1B2-77345" not in repr(rows)
    assert json.loads((tmp_path / "completions.jsonl").read_text())["id"] == completion_id
    assert not list(tmp_path.glob("*.part"))
    capsys.readouterr()
    assert main(["purge", "--older-than-days", "1"]) == 0
    assert capsys.readouterr().out.startswith("deleted 0 completions, 0 ratings and 0 conversations")
    with sqlite3.connect(tmp_path / "data" / "rejoinder.db") as connection:
        for name in ("completions", "conversations"):
            connection.execute(f"UPDATE {name} SET created_at = '2026-01-31T08:15:00.000000Z'")
    assert main(["purge", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("would delete 1 completions, 1 ratings and 1 conversations")
    assert main(["purge"]) == 0
    assert capsys.readouterr().out.startswith("deleted 1 completions, 1 ratings and 1 conversations")


def test_a_service_deletes_what_is_too_old_by_itself(tmp_path: Path) -> None:
    """At its start already; with retention off nothing goes."""
    completion_id = recorded(tmp_path)
    (tmp_path / "bundle").rename(tmp_path / "earlier")
    with sqlite3.connect(tmp_path / "data" / "rejoinder.db") as connection:
        connection.execute("UPDATE completions SET created_at = '2026-01-31T08:15:00.000000Z'")
    for days, is_kept in ((0, True), (90, False)):
        with run_fake_service(tmp_path, FakeEngines(say_hello), retention_days=days) as service:
            (tmp_path / "bundle").rename(tmp_path / f"after-{days}")
            with service.records() as records:
                if is_kept:
                    assert records.get_completion(completion_id).id == completion_id
                else:
                    wait_until(lambda: sum(records.count_feedback()) == 0)


def test_tables_are_migrated_by_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the chart's hook runs: on nothing, and once more on what is there; a newer program's tables are refused."""
    monkeypatch.setenv("SERVICE_DATABASE_URL", f"sqlite:///{tmp_path / 'records.db'}")
    for _ in range(2):
        assert main(["migrate"]) == 0
    with sqlite3.connect(tmp_path / "records.db") as connection:
        assert connection.execute("SELECT count(*) FROM completions").fetchone() == (0,)
        connection.execute("UPDATE alembic_version SET version_num = 'v9999'")
    capsys.readouterr()
    assert main(["migrate"]) == 1
    assert "v9999" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["export", "--format", "parquet"], "--output"),
        (["export"], "no such file"),
        (["purge"], "no such file"),
    ],
)
def test_what_cannot_be_exported_or_purged_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    problem: str,
) -> None:
    """Exit 1; no database is made where there was none."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert main(arguments) == 1
    assert problem in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_purge_without_any_age_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Retention is off and no age is given."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SERVICE_RETENTION_DAYS", "0")
    assert main(["purge"]) == 1
    assert "--older-than-days" in capsys.readouterr().err


def test_an_erasure_reaches_exports_and_names_those_that_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside a running service: the conversation goes from the records and from the files; stdout cannot be reached."""
    with run_fake_service(tmp_path, FakeEngines(say_hello)) as service:
        bodies = [{"model": "rejoinder", "messages": [{"role": "user", "content": text}]} for text in ("one", "two")]
        one, two = (service.http.post("/v1/chat/completions", json=body).json() for body in bodies)
        monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
        output, moved, hidden = tmp_path / "all.jsonl", tmp_path / "moved.jsonl", tmp_path / "hidden.jsonl"
        export = ["export", "--table", "completions", "--output"]
        assert main([*export, str(output)]) == main([*export, str(moved)]) == 0
        assert main([*export, str(hidden), "--unregistered"]) == main(["export-feedback"]) == 0
        moved.rename(tmp_path / "away.jsonl")
        capsys.readouterr()
        assert main(["erase", one["conversation_id"], "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert service.http.get(f"/v1/conversations/{one['conversation_id']}").status_code == 404
        again = service.http.delete(f"/v1/conversations/{one['conversation_id']}").json()
    assert report["conversations"][0]["num_completions"] == 1 and report["conversations"][0]["model_versions"] == []
    found = {export["path"]: (export["state"], export.get("num_rows")) for export in report["exports"]}
    assert found == {str(output): ("cleaned", 1), str(moved): ("unreachable", None), None: ("unreachable", None)}
    assert [row["id"] for row in map(json.loads, output.read_text().splitlines())] == [two["id"]]
    assert one["id"] in hidden.read_text()
    assert [export["table"] for export in again["exports"]] == ["completions", "completions", "training_examples"]
    assert main(["erase", "--export", "completions", str(hidden)]) == 0
    assert one["id"] not in hidden.read_text() and two["id"] in hidden.read_text()
    hidden.write_text("no export")
    assert main(["erase", "--export", "completions", str(hidden)]) == 1
    assert "left as it is" in capsys.readouterr().out
