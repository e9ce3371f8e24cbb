"""A learning run of two processes on a real shelf: one of them is killed, then both go on and publish."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from model_store.backends.protocol import RunOutcome
from model_store.contract.tokenizer import Tokenizer
from model_store.store import ModelStore
from tests.ports import free_port
from tests.unit.stages.feedback_workspace import local_store, make_config, publish_tiny_version, rated_rows
from tests.unit.stages.test_evaluate_to_publish import LENIENT

ROOT = Path(__file__).parents[2]
_SECONDS = 600


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What `python -m training` is told; the shelf has one version, and 120 ratings are in a file."""
    root = tmp_path_factory.mktemp("shared")
    publish_tiny_version(local_store(root / "models"), root / "made")
    rows = rated_rows(Tokenizer.load(root / "made" / "tokenizer.json"), 120)
    (root / "ratings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    policy = {"num_steps": 4, "prompts_per_step": 4, "max_completion_tokens": 12, "max_kl": 1000.0, "lr": 1e-6}
    gate = {**LENIENT, "max_kl": 1000.0, "max_perplexity_ratio": 10.0, "min_length_ratio": 0.01}
    gate |= {"max_length_ratio": 100.0, "min_distinct2_ratio": 0.0, "max_extra_delicate_failures": 1000}
    gate |= {"max_replies_per_prompt": 2}
    # A pack of few words: four processes read it and fit their judges to it.
    corpus = {"domain_pack": "card_desk"}
    config = make_config(gate=gate, policy=policy, reward={"num_epochs": 1}, corpus=corpus, num_threads=1)
    (root / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    places = {"config": "config.yaml", "workspace": "run", "model-store": "models", "feedback-file": "ratings.jsonl"}
    return ["training", "run", "--json", *(f"--{name}={root / path}" for name, path in places.items())]


def folder(command: list[str], name: str) -> Path:
    return Path(next(part for part in command if part.startswith(f"--{name}=")).partition("=")[2])


def shelf(command: list[str]) -> ModelStore:
    return local_store(folder(command, "model-store"))


def start(command: list[str], rank: int, port: int) -> "subprocess.Popen[str]":
    """One of two processes, told what torchrun would tell it."""
    environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    environment["MASTER_PORT"] = str(port)
    run = [sys.executable, "-m", *command]
    return subprocess.Popen(run, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_without_one_of_its_processes_a_run_ends_and_publishes_nothing(command: list[str]) -> None:
    """The other says so and exits with 1, the run is noted as failed, and the shelf holds what it held."""
    before = shelf(command).versions()
    port = free_port()
    first, second = (start(command, rank, port) for rank in (0, 1))
    try:
        policy_begins, deadline = folder(command, "workspace") / "policy.settings", time.monotonic() + _SECONDS
        while not policy_begins.exists() and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        second.send_signal(signal.SIGKILL)
        printed, log = first.communicate(timeout=_SECONDS)
    finally:
        first.kill()
        second.kill()
        second.communicate()
    assert policy_begins.exists() and first.returncode == 1, log[-3000:]
    assert "One of the 2 processes of this run ended or cannot be reached" in log and not printed
    assert shelf(command).versions() == before
    report = shelf(command).last_run()
    assert report is not None and report.outcome is RunOutcome.FAILED


def test_started_again_by_torchrun_the_run_goes_on_and_publishes_once(command: list[str]) -> None:
    """What was finished is kept; one JSON object is printed, and one version is new."""
    before = shelf(command).versions()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", *command]
    done = subprocess.run(torchrun, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_SECONDS)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "stage 3/9: reward_model is already done" in done.stderr
    assert json.loads(done.stdout)["publish"]["promoted"]
    assert len(shelf(command).versions()) == len(before) + 1
