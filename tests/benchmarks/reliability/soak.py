"""`make soak`: steady load for an hour; memory, descriptors and latency must not drift.

Eight customers with a pause between their turns, well below saturation. The first tenth of the time warms up; the third
after it is compared with the last third, by medians.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx2

from tests.benchmarks.reliability.finding import percentile
from tests.benchmarks.reliability.machine import is_quiet, remark
from tests.benchmarks.reliability.service_process import ServiceProcess, serving
from tests.benchmarks.reliability.talk import ASKS, FEEDBACK, body, listen, thumb

_NUM_CUSTOMERS = 8
_PAUSE_SECONDS = 1.5
_MAX_MEMORY, _MAX_DESCRIPTORS, _MAX_LATENCY = 1.10, 1.10, 1.25


@dataclass(frozen=True, slots=True)
class _Sample:
    """The process at one moment."""

    at: float
    resident_megabytes: float
    num_descriptors: int


@dataclass(frozen=True, slots=True)
class _Turn:
    """One stream, from `at` on."""

    at: float
    seconds: float
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Drift:
    """The last third over the first one."""

    minutes: float
    num_turns: int
    num_failed: int
    memory: float
    descriptors: float
    latency_p50: float
    latency_p99: float
    megabytes: float
    open_files: int

    def holds(self, *, judges_times: bool = True) -> bool:
        """Whether nothing grew by more than its bound; the 99th percentile is told, not judged."""
        is_steady = self.memory <= _MAX_MEMORY and self.descriptors <= _MAX_DESCRIPTORS
        is_fast = self.latency_p50 <= _MAX_LATENCY or not judges_times
        return is_steady and is_fast and self.num_failed == 0 and self.num_turns > 0

    def sentence(self) -> str:
        """For people."""
        return (
            f"{self.minutes:g} min, {self.num_turns} streams, {self.num_failed} failed; last third / first: "
            f"memory {self.memory:.3f} ({self.megabytes:.0f} MB), descriptors {self.descriptors:.2f} "
            f"({self.open_files}), latency p50 {self.latency_p50:.2f}, p99 {self.latency_p99:.2f}"
        )


def main(arguments: list[str] | None = None) -> int:
    """Soaks, prints the drift, and gives the exit code: 1 where something drifts."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.reliability.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="default: 60")
    parser.add_argument("--output", type=Path, default=Path("runs/reliability"), help="default: runs/reliability")
    options = parser.parse_args(arguments)
    is_quiet()  # before there is a load of one's own
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        with serving(Path(folder), key_requests_per_minute=0) as service:
            turns, samples = _soak(service, 60 * options.minutes)
    drift = compare(turns, samples, 60 * options.minutes)
    holds = drift.holds(judges_times=is_quiet())
    print(f"{'pass' if holds else 'FAIL'}  {drift.sentence()}{remark()}")
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "soak.json"
    report = {**asdict(drift), "holds": holds, "samples": [asdict(sample) for sample in samples]}
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(path, file=sys.stderr)
    return 0 if holds else 1


def _soak(service: ServiceProcess, seconds: float) -> tuple[list[_Turn], list[_Sample]]:
    began, is_over, turns, samples = time.monotonic(), threading.Event(), list[_Turn](), list[_Sample]()
    customers = [
        threading.Thread(target=_talk, args=(service, is_over, began, turns, number))
        for number in range(_NUM_CUSTOMERS)
    ]
    for customer in customers:
        customer.start()
    while (now := time.monotonic() - began) < seconds and service.is_running and not is_over.is_set():
        samples.append(_Sample(round(now, 1), round(service.resident_megabytes, 1), service.num_descriptors))
        time.sleep(max(0.5, min(10, seconds / 60)))
    is_over.set()
    for customer in customers:
        customer.join()
    return turns, samples


def _talk(service: ServiceProcess, is_over: threading.Event, began: float, turns: list[_Turn], number: int) -> None:
    """Conversations of some turns; each reply is rated, and every tenth conversation erased."""
    rng = random.Random(number)
    with service.client() as client:
        while not is_over.is_set():
            conversation = f"soak-{uuid.uuid4().hex}"
            for _ in range(rng.randint(1, 3)):
                at = time.monotonic()
                try:
                    heard = listen(client, body(rng.choice(ASKS), metadata={"conversation_id": conversation}))
                except httpx2.TransportError:
                    turns.append(_Turn(at - began, time.monotonic() - at, is_whole=False))
                    is_over.set()
                    return
                turns.append(_Turn(at - began, time.monotonic() - at, heard.is_whole))
                if heard.is_whole:
                    client.post(FEEDBACK, json=thumb(heard, rng.choice(("up", "down"))))
                is_over.wait(rng.uniform(0.5, 1.5) * _PAUSE_SECONDS)
            if rng.random() < 0.1:
                client.delete(f"/v1/conversations/{conversation}")


def compare(turns: Sequence[_Turn], samples: Sequence[_Sample], seconds: float) -> Drift:
    """The last third of the time after the warm-up against the first."""
    begin = 0.1 * seconds
    third = (seconds - begin) / 3

    def is_early(at: float) -> bool:
        return begin <= at < begin + third

    def is_late(at: float) -> bool:
        return at >= seconds - third

    waits = [[turn.seconds for turn in turns if turn.is_whole and when(turn.at)] for when in (is_early, is_late)]
    memory = [[one.resident_megabytes for one in samples if when(one.at)] for when in (is_early, is_late)]
    files = [[one.num_descriptors for one in samples if when(one.at)] for when in (is_early, is_late)]
    return Drift(
        minutes=seconds / 60,
        num_turns=len(turns),
        num_failed=sum(not turn.is_whole for turn in turns),
        memory=_ratio(memory, 0.5),
        descriptors=_ratio(files, 0.5),
        latency_p50=_ratio(waits, 0.5),
        latency_p99=_ratio(waits, 0.99),
        megabytes=statistics.median(memory[1] or [0]),
        open_files=int(statistics.median(files[1] or [0])),
    )


def _ratio(values: Sequence[Sequence[float]], share: float) -> float:
    """Infinite where nothing was measured, early or late: a service that has gone drifts from none."""
    if not all(values):
        return float("inf")
    early, late = (percentile(one, share) for one in values)
    return late / early if early else float("inf")


if __name__ == "__main__":
    sys.exit(main())
