"""How a learning run ends is noted on the shelf, whatever the end; jobs for one process are refused to several."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from model_store.backends.local import LocalBackend
from model_store.backends.protocol import RunOutcome, RunReport
from model_store.contract.tokenizer import Tokenizer
from model_store.store import ModelStore, seed
from tests.unit.stages.feedback_workspace import local_store, make_config, publish_tiny_version, rated_rows
from training.cli import main
from training.pipeline import ExitCode

TINY = Path(__file__).parents[3] / "training" / "configs" / "tiny.yaml"


def last_run(store: Path) -> RunReport:
    report = ModelStore(LocalBackend(store)).last_run()
    assert report is not None
    return report


def test_a_run_that_fails_is_noted_as_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A database that is not there ends the run with exit code 1, and the shelf says so, twice the second time."""
    for number in (1, 2):
        run = ["run", "--config", str(TINY), "--workspace", str(tmp_path / f"run{number}")]
        run += ["--model-store", str(tmp_path / "models"), "--database-url", f"sqlite:///{tmp_path}/nowhere.db"]
        assert main(run) == 1
        assert "nowhere.db" in capsys.readouterr().err
        report = last_run(tmp_path / "models")
        assert (report.outcome, report.num_in_a_row) == (RunOutcome.FAILED, number)
        assert datetime.now(UTC) - report.finished_at < timedelta(minutes=1)


def test_a_run_whose_loss_is_no_number_ends_with_a_code_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To try it again would end the same; nothing is published, and the shelf is told that it failed."""
    store = local_store(tmp_path / "models")
    first = publish_tiny_version(store, tmp_path / "made")
    rows = rated_rows(Tokenizer.load(tmp_path / "made" / "tokenizer.json"), 120)
    (tmp_path / "ratings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = make_config(reward={"lr": 1e30})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    run = ["run", "--config", str(tmp_path / "config.yaml"), "--workspace", str(tmp_path / "run")]
    run += ["--model-store", str(tmp_path / "models"), "--feedback-file", str(tmp_path / "ratings.jsonl")]
    assert main(run) == ExitCode.DIVERGED == 5
    assert "Training diverged in reward_model" in capsys.readouterr().err
    assert [version.digest for version in store.versions()] == [first]
    assert last_run(tmp_path / "models").outcome is RunOutcome.FAILED


def test_a_run_with_too_few_ratings_is_noted_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is neither a failure nor a version."""
    seed(ModelStore(LocalBackend(tmp_path / "models")))
    (tmp_path / "none.jsonl").write_text("", encoding="utf-8")
    run = ["run", "--json", "--config", str(TINY), "--workspace", str(tmp_path / "run")]
    run += ["--model-store", str(tmp_path / "models"), "--feedback-file", str(tmp_path / "none.jsonl")]
    assert main(run) == 0
    assert json.loads(capsys.readouterr().out)["exit_code"] == 0
    assert last_run(tmp_path / "models").outcome is RunOutcome.TOO_LITTLE_FEEDBACK


@pytest.mark.parametrize("job", ["base", "intents"])
def test_a_job_for_one_process_does_not_start_several_times_over(
    tmp_path: Path, job: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As torchrun would start it: each process would learn the same, and race for workspace and alias."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = TINY.with_name("intents.yaml") if job == "intents" else TINY
    assert main([job, "--config", str(config), "--workspace", str(tmp_path / "run")]) == 1
    assert "one of 2 processes" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
