"""An engine in a process of its own: the same tokens as here, and what becomes of it when somebody is killed."""

import os
import queue
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_store.bundle import Bundle, open_bundle
from model_store.contract.control_tokens import ASSISTANT_ID, BOS_ID, EOS_ID, USER_ID
from service.engine.running import engine_process
from service.engine.running.engine_process import EngineProcess
from service.engine.running.engine_thread import EngineThread, RunningEngine
from service.engine.running.messages import Closed, EngineSpec, Lost, Ready, Refused, Report, Stepped
from service.engine.running.opening import open_engine
from service.engine.types import CompletionRequest, Delta, EngineOptions, SamplingParams

DEADLINE_SECONDS = 60.0
OPTIONS = EngineOptions(num_slots=2, prefix_cache_bytes=1 << 20, max_draft_tokens=2)
PROMPT = (BOS_ID, USER_ID, *range(400, 470), ASSISTANT_ID)
_PARENT = """
import sys, time
from pathlib import Path
from service.engine.running.engine_process import EngineProcess
from service.engine.running.messages import EngineSpec, Ready
from service.engine.types import EngineOptions
engine = EngineProcess(
    EngineSpec(Path(sys.argv[1]), sys.argv[2], EngineOptions(num_slots=1)),
    lambda report: print(engine.pid, flush=True) if isinstance(report, Ready) else None,
)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny version that the real engine opens."""
    pytest.importorskip("torch", reason="no torch, to export the tiny model: pip install -e '.[training]'")
    from tests.e2e.tiny_model import make_real_bundle

    directory = tmp_path_factory.mktemp("process") / "bundle"
    make_real_bundle(directory)
    return open_bundle(directory)


class Heard:
    """What an engine tells, in order."""

    def __init__(self) -> None:
        self.reports: queue.SimpleQueue[Report] = queue.SimpleQueue()

    def until(self, is_last: Callable[[Report], bool]) -> list[Report]:
        """What comes up to a report that is waited for. Raises queue.Empty."""
        found: list[Report] = []
        while not found or not is_last(found[-1]):
            found.append(self.reports.get(timeout=DEADLINE_SECONDS))
        return found

    def until_a(self, kind: type[Report]) -> list[Report]:
        """What comes up to a report of a kind."""
        return self.until(lambda report: isinstance(report, kind))

    def completion(self, request_id: str) -> list[Delta]:
        """The deltas up to the end of a completion; of others what came between them is lost."""
        reports = self.until(lambda report: any(delta.finish_reason for delta in deltas_of(report, request_id)))
        return [delta for report in reports for delta in deltas_of(report, request_id)]


def deltas_of(report: Report, request_id: str) -> list[Delta]:
    """A completion's own."""
    return [delta for delta in report.deltas if delta.request_id == request_id] if isinstance(report, Stepped) else []


def ask(request_id: str, max_tokens: int = 12, **sampling: object) -> CompletionRequest:
    """A request that cannot end before its length."""
    params = {"max_tokens": max_tokens, "banned_token_ids": frozenset({EOS_ID}), "num_top_logprobs": 3, **sampling}
    return CompletionRequest(request_id, PROMPT, SamplingParams(**params))  # type: ignore[arg-type]


def spec_of(bundle: Bundle) -> EngineSpec:
    """Where a process finds a version."""
    return EngineSpec(bundle.directory, bundle.digest, OPTIONS)


@pytest.fixture(scope="module")
def running(bundle: Bundle) -> Iterator[tuple[EngineProcess, Heard]]:
    """A process that takes completions; tests leave it as they found it."""
    heard = Heard()
    process = EngineProcess(spec_of(bundle), heard.reports.put)
    assert heard.until_a(Ready) == [Ready()]
    yield process, heard
    process.close()
    heard.until_a(Closed)


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_until(is_true: Callable[[], bool]) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.01)


def all_of(engine: RunningEngine, heard: Heard) -> list[list[Delta]]:
    """A greedy completion, one that is drawn, and the first once more, whose prompt is known by then."""
    found = []
    for number, sampling in enumerate(({"temperature": 0.0}, {"temperature": 1.5, "seed": 3}, {"temperature": 0.0})):
        engine.submit(ask(f"same {number}", **sampling))
        found.append(heard.completion(f"same {number}"))
    return found


def test_a_process_says_what_a_thread_says_to_the_last_bit(
    bundle: Bundle, running: tuple[EngineProcess, Heard]
) -> None:
    """Tokens, log-probabilities and rivals, greedy and drawn; the second reading of a prompt begins behind a chunk."""
    heard = Heard()
    thread = EngineThread(open_engine(bundle, OPTIONS), heard.reports.put)
    expected = all_of(thread, heard)
    thread.close()
    assert heard.until_a(Closed)[-1] == Closed()
    assert all_of(*running) == expected
    assert [len(deltas) for deltas in expected] == [12, 12, 12]
    assert [deltas[0].num_reused for deltas in expected] == [0, 64, 64]


def test_what_an_engine_refuses_is_told_by_its_code(running: tuple[EngineProcess, Heard]) -> None:
    """A prompt that is too long never can, one more than there are places might another time."""
    process, heard = running
    process.submit(CompletionRequest("long", (BOS_ID,) * 9999, SamplingParams()))
    assert heard.until_a(Refused)[-1] == Refused("long", "invalid_prompt", is_full=False)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)  # or it might be done with one before it hears of the last
    for number in range(7):
        process.submit(ask(str(number), max_tokens=100))
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGCONT)
    assert heard.until_a(Refused)[-1] == Refused("6", "engine_overloaded", is_full=True)
    for number in range(6):
        process.cancel(str(number))
    process.submit(ask("last"))
    assert len(heard.completion("last")) == 12


def test_a_cancelled_completion_ends_and_the_load_is_told(running: tuple[EngineProcess, Heard]) -> None:
    """Its neighbour goes on; nothing of it comes once the engine has said that it is gone."""
    process, heard = running
    process.submit(ask("gone", max_tokens=150))
    heard.until(lambda report: bool(deltas_of(report, "gone")))
    process.cancel("gone")
    heard.until(lambda report: isinstance(report, Stepped) and report.num_running == 0)
    process.submit(ask("after"))
    reports = heard.until(lambda report: any(delta.finish_reason for delta in deltas_of(report, "after")))
    assert not any(deltas_of(report, "gone") for report in reports)


def test_a_process_that_is_killed_is_told_as_lost_and_comes_back(
    running: tuple[EngineProcess, Heard], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another number, and the same tokens."""
    monkeypatch.setattr(engine_process, "FIRST_PAUSE_SECONDS", 0.05)
    process, heard = running
    process.submit(ask("before", temperature=0.0))
    before = [delta.token_id for delta in heard.completion("before")]
    process.submit(ask("cut", max_tokens=150))
    heard.until(lambda report: bool(deltas_of(report, "cut")))
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    lost = heard.until_a(Lost)[-1]
    assert isinstance(lost, Lost) and "exit code -9" in lost.failure
    heard.until_a(Ready)
    assert process.pid != pid and not is_there(pid)
    process.submit(ask("again", temperature=0.0))
    assert [delta.token_id for delta in heard.completion("again")] == before


def test_a_stop_of_the_whole_group_leaves_replies_their_time(running: tuple[EngineProcess, Heard]) -> None:
    """systemd sends SIGTERM to every process of a service, a terminal SIGINT; the service drains first."""
    process, heard = running
    assert process.pid is not None
    process.submit(ask("drained", max_tokens=100))
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(process.pid, number)
    assert len(heard.completion("drained")) == 100


def test_no_process_outlives_the_service_that_is_killed(bundle: Bundle) -> None:
    """It hears that nobody is at the other end."""
    command = [sys.executable, "-c", _PARENT, str(bundle.directory), bundle.digest]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_there(pid)
        parent.kill()
    wait_until(lambda: not is_there(pid))


def test_a_process_that_does_not_end_when_it_is_asked_to_is_killed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that hangs, here because it is stopped."""
    monkeypatch.setattr(engine_process, "CLOSE_SECONDS", 0.2)
    heard = Heard()
    process = EngineProcess(spec_of(bundle), heard.reports.put)
    wait_until(lambda: process.pid is not None)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    process.close()
    process.close()
    assert heard.until_a(Closed) == [Closed()]
    assert not is_there(process.pid)


def test_a_version_that_was_changed_meanwhile_is_not_run(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process reads every byte again before it serves; it tries again, and serves once the version is whole."""
    monkeypatch.setattr(engine_process, "FIRST_PAUSE_SECONDS", 0.05)
    copy = tmp_path / "copy"
    shutil.copytree(bundle.directory, copy)
    graph = copy / "model.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    heard = Heard()
    process = EngineProcess(EngineSpec(copy, bundle.digest, OPTIONS), heard.reports.put)
    (lost,) = heard.until_a(Lost)
    assert isinstance(lost, Lost) and lost.failure.startswith("digest_mismatch: ")
    graph.write_bytes(whole)
    heard.until_a(Ready)
    process.close()
    heard.until_a(Closed)
