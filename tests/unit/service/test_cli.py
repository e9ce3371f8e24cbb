"""`python -m service`: commands, exit codes, and where they print."""

import json
from pathlib import Path

import pytest

from service.cli import main
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import run_fake_service, say_hello


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
