"""Rows 11 and 12: a learning job that is killed at random moments, and one whose loss stops being a number.

The job is `python -m training run`, on a shelf with a tiny network and 120 ratings in a file.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from model_store.backends.protocol import Alias, RunOutcome
from model_store.contract.tokenizer import Tokenizer
from tests.benchmarks.learning.jobs import as_lines, shelf
from tests.benchmarks.reliability.finding import Family, Finding, Plan, verdict
from tests.unit.stages.feedback_workspace import CREATED_AT, make_config, publish_tiny_version, rated_rows
from training.pipeline import ExitCode
from training.workspace import Workspace

_ROOT = Path(__file__).parents[4]
_SEED = 11
_SECONDS = 1800
_LATEST = 0.7
"""Of the time that a whole job takes: by then a kill comes, so that most jobs are killed several times."""
_POLICY: dict[str, Any] = {"algorithm": "kto", "min_steps": 16, "max_completion_tokens": 12, "max_minutes": 1000.0}
_ANYTHING_GOES: dict[str, Any] = {
    **{"min_win_rate_lower_bound": 0.0, "min_proper_endings": 0.0, "max_ability_loss": 1.0, "min_gold_gain": -1.0},
    **{"min_slot_faithfulness": 0.0, "max_extra_violations": 1.0, "max_new_failures": 1000, "max_kl": 1000.0},
    **{"max_newly_off_topic": 1000, "max_extra_delicate_failures": 1000, "max_latency_ratio": 10.0},
    **{"max_perplexity_ratio": 10.0, "min_length_ratio": 0.01, "max_length_ratio": 100.0, "min_distinct2_ratio": 0.0},
    "max_fairness_loss": 1.0,
    "waived_rules": ("fairness", "language_fairness"),
}
"""The network has nothing to say, and the job must go on to its end."""


@dataclass(frozen=True)
class _Attempt:
    """A process that learned, to its end or until it was killed."""

    exit_code: int
    cpu_seconds: float
    seconds: float
    log: str


@dataclass
class _Killed:
    """What became of jobs that were killed and started again until they ended by themselves."""

    num_kills: int = 0
    num_jobs: int = 0
    num_other: int = 0
    """Jobs that failed, or made another version than the one that nobody killed."""
    num_partial: int = 0
    """Looks at the shelf after a kill that found anything but whole versions, one of them stable."""
    cpu_seconds: float = 0.0


def _measure(plan: Plan) -> Sequence[Finding]:
    folder = plan.folder / "training"
    _prepare(folder / "given")
    return [_kill_at_random(plan, folder), _diverge(plan, folder)]


def _prepare(given: Path) -> None:
    """A shelf with one version, and ratings."""
    publish_tiny_version(shelf(given / "models"), given / "made")
    rows = rated_rows(Tokenizer.load(given / "made" / "tokenizer.json"), 120)
    (given / "ratings.jsonl").write_text(as_lines(rows), encoding="utf-8")


def _begin(folder: Path, given: Path, **sections: Any) -> list[str]:
    """The command of a job with a shelf and a workspace of its own; all begin at the same second."""
    shutil.copytree(given, folder)
    config = make_config(gate=_ANYTHING_GOES, policy=_POLICY, reward={"num_epochs": 1}, num_threads=1)
    fields = config.model_dump(mode="json")
    for name, changes in sections.items():
        fields[name] |= changes
    (folder / "config.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    Workspace(folder / "run").save_result("inputs", {"created_at": CREATED_AT})
    places = {"config": "config.yaml", "workspace": "run", "model-store": "models", "feedback-file": "ratings.jsonl"}
    return [sys.executable, "-m", "training", "run", *(f"--{name}={folder / path}" for name, path in places.items())]


def _attempt(command: Sequence[str], log: Path, kill_after: float | None = None) -> _Attempt:
    """Runs the command; kills it after so many seconds, if it is still there."""
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(command, cwd=_ROOT, stdout=stream, stderr=stream)
        deadline = began + (_SECONDS if kill_after is None else kill_after)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                process.send_signal(signal.SIGKILL)
                pid, status, usage = os.wait4(process.pid, 0)
                break
            time.sleep(0.02)
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return _Attempt(process.returncode, cpu_seconds, time.monotonic() - began, log.read_text(encoding="utf-8"))


def _kill_at_random(plan: Plan, folder: Path) -> Finding:
    given, wanted = folder / "given", plan.count(20, 3)
    first = shelf(given / "models").resolve(Alias.STABLE).digest
    whole = _attempt(_begin(folder / "whole", given), folder / "whole" / "log")
    digest = shelf(folder / "whole" / "models").resolve(Alias.STABLE).digest
    required = f"{wanted} kills: each job ends with the digest of one that nobody killed, nothing partial is visible"
    if whole.exit_code != 0 or digest == first:
        measured = f"a job that nobody killed ended with {whole.exit_code}: {whole.log[-200:]}"
        return Finding(11, "trainer killed at random", required, measured, verdict(holds=False))
    found, draw = _Killed(), random.Random(_SEED)
    while found.num_kills < wanted:
        _until_done(folder / f"job-{found.num_jobs}", given, whole, (first, digest), wanted, found, draw)
    repeated = found.cpu_seconds / found.num_jobs / whole.cpu_seconds - 1
    figures = {"repeated_work": repeated, "cpu_seconds": whole.cpu_seconds, "num_jobs": found.num_jobs}
    measured = (
        f"{found.num_kills} kills in {found.num_jobs} jobs: {found.num_other} with another digest, {found.num_partial}"
        f" partial; work repeated a job {repeated:.0%} of {whole.cpu_seconds:.0f} CPU s"
    )
    holds = not found.num_other and not found.num_partial
    is_whole = not plan.is_quick
    return Finding(11, "trainer killed at random", required, measured, verdict(holds=holds, is_whole=is_whole), figures)


def _until_done(
    job: Path, given: Path, whole: _Attempt, digests: tuple[str, str], wanted: int, found: _Killed, draw: random.Random
) -> None:
    """One job, killed at random moments, and started again until it ends by itself."""
    command = _begin(job, given)
    store = shelf(job / "models")
    while True:
        kill_after = draw.uniform(0, _LATEST * whole.seconds) if found.num_kills < wanted else None
        attempt = _attempt(command, job / "log", kill_after)
        found.cpu_seconds += attempt.cpu_seconds
        versions = store.versions()
        stable, on_shelf = store.resolve(Alias.STABLE).digest, {version.digest for version in versions}
        is_whole = not any(version.problem for version in versions)
        found.num_partial += not (is_whole and stable in on_shelf and on_shelf <= set(digests))
        if attempt.exit_code != -signal.SIGKILL:
            break
        found.num_kills += 1
    found.num_jobs += 1
    found.num_other += attempt.exit_code != 0 or stable != digests[1]


def _diverge(plan: Plan, folder: Path) -> Finding:
    """Learning rates at which the loss of the reward model, and of the policy, is soon no number."""
    given, title = folder / "given", "loss that is no number"
    required = f"exit code {int(ExitCode.DIVERGED)}, nothing published, noted as failed"
    codes, num_published, num_noted = [], 0, 0
    for stage in ("reward", "policy"):
        attempt = _attempt(
            _begin(folder / stage, given, **{stage: {"lr": 1e30, "num_epochs": 4}}), folder / f"{stage}.log"
        )
        store = shelf(folder / stage / "models")
        report = store.last_run()
        codes.append(attempt.exit_code)
        num_published += len(store.versions()) - 1
        num_noted += report is not None and report.outcome is RunOutcome.FAILED
    measured = f"exit codes {codes} (reward model, policy), {num_published} published, {num_noted} noted as failed"
    holds = codes == [ExitCode.DIVERGED] * 2 and num_published == 0 and num_noted == 2
    return Finding(12, title, required, measured, verdict(holds=holds))


FAMILY = Family((11, 12), "a learning job that is killed, or diverges", _measure)
