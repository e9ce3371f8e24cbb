"""The whole circle with a tiny model: train a base, serve it, rate it, learn, and the running service moves on."""

import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from model_store.backends.protocol import RunOutcome
from tests.e2e.tiny_loop import CONFIG, Loop, running_loop
from training.cli import main

ROOT = Path(__file__).parents[2]
NUM_RATINGS = 48
COLOURS = ("red", "blue", "green", "brown", "white", "black", "grey", "yellow")
THINGS = ("parcel", "lamp", "chair", "table", "sofa", "shelf")


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """A base model trained by the command line, published, and served by a real process."""
    with running_loop(tmp_path_factory.mktemp("loop")) as loop:
        yield loop


def command(loop: Loop, workspace: str, *arguments: str) -> list[str]:
    """What `python -m training` is told for one learning run."""
    return ["run", "--json", "--model-store", str(loop.models), "--workspace", str(loop.root / workspace), *arguments]


def train(loop: Loop, workspace: str, *arguments: str) -> tuple[int, dict[str, object]]:
    """One learning run in a process of its own; its exit code and its JSON."""
    run = [sys.executable, "-m", "training", *command(loop, workspace, "--config", str(CONFIG), *arguments)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr[-3000:]
    return done.returncode, json.loads(done.stdout)


def wait_for_more(loop: Loop, workspace: str, *arguments: str) -> tuple[int, dict[str, object]]:
    """A run that finds too few ratings, in this process: to load its libraries would take longer than all the rest."""
    config = loop.root / "patient.yaml"
    config.write_text(CONFIG.read_text(encoding="utf-8").replace("min_ratings: 24", "min_ratings: 9000"))
    printed = io.StringIO()
    with redirect_stdout(printed):
        code = main(command(loop, workspace, "--config", str(config), *arguments))
    return code, json.loads(printed.getvalue())


def test_with_too_few_ratings_a_run_says_how_many_are_missing_and_changes_nothing(loop: Loop) -> None:
    """Exit 0, a sentence with the number, no new version."""
    before = (loop.store.versions(), loop.ask("hello").digest)
    code, report = wait_for_more(loop, "early", "--database-url", loop.database_url)
    assert code == 0 and "9000" in str(report["message"])
    assert (loop.store.versions(), loop.ask("hello").digest) == before


def test_thumbs_become_a_version_that_the_running_service_takes_up(loop: Loop) -> None:
    """Ratings given over HTTP, one run, and replies carry the new digest; no request fails on the way."""
    before = loop.ask("hello")
    for number in range(NUM_RATINGS):
        # Named conversations: which split each falls into, and so whether the judge gets enough, is no chance.
        # Each asks something else: what is the same counts once, and lies in one split.
        question = f"where is my {COLOURS[number % 8]} {THINGS[number // 8]}?"
        reply = loop.ask(question, conversation_id=f"rated-{number}")
        loop.rate(reply, "up" if number % 3 else "down")
    code, report = train(loop, "run", "--database-url", loop.database_url)
    assert code == 0, report["message"]
    assert "publish" in report, report["message"]  # a run that waits for more ratings exits with 0, too
    published = report["publish"]["digest"]  # type: ignore[index]
    deadline = time.monotonic() + 60
    while (reply := loop.ask("hello again")).digest != published and time.monotonic() < deadline:
        assert reply.digest == before.digest
    assert reply.digest == published != before.digest
    lineage = loop.store.open(published).manifest.lineage
    last_run = loop.store.last_run()
    assert last_run is not None and last_run.outcome is RunOutcome.PUBLISHED
    assert lineage.parent == before.digest and lineage.stages == ("reward_model", "rloo")


def test_the_exported_feedback_gives_the_same_snapshot(loop: Loop) -> None:
    """JSON lines from `export-feedback` are what the database says: the snapshot has the same digest."""
    exported = loop.root / "feedback.jsonl"
    with exported.open("wb") as stream:
        export = [sys.executable, "-m", "service", "export-feedback"]
        subprocess.run(export, cwd=ROOT, env=loop.environment, stdout=stream, check=True)
    snapshots = {
        str(wait_for_more(loop, name, *source)[1]["snapshot"]["data_snapshot"])  # type: ignore[index]
        for name, source in (
            ("from-database", ("--database-url", loop.database_url)),
            ("from-file", ("--feedback-file", str(exported))),
        )
    }
    assert len(snapshots) == 1
