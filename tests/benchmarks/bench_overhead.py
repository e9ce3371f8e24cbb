"""What HTTP, checks, masking and recording cost without a model: `python -m tests.benchmarks.bench_overhead`.

The service with a scripted engine that makes its tokens at once, and a bare FastAPI echo, each a process of its own on
one core, in turns (A B A B). Requests come at a fixed rate, whether earlier ones are done or not. Recording is on, in
SQLite, synced to disk; the intent model, which is a model, is off. Printed are the first delta and what the end comes
after the last delta: the wait for one group commit, beside what a commit takes alone; and the CPU time of a request,
which says whether a core can keep the rate up at all. The last line is one JSON object.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.records.sql_store import SqlRecordStore
from tests.benchmarks.bench_records import a_completion
from tests.benchmarks.over_http.cores import Cores, cpu_seconds_of, running_on
from tests.benchmarks.over_http.servers import Server
from tests.benchmarks.over_http.sse_client import Heard, ask
from tests.ports import free_port

_SETTINGS = {"SERVICE_INTENT_WEIGHT": "0", "SERVICE_KEY_REQUESTS_PER_MINUTE": "0", "SERVICE_LOG_LEVEL": "error"}
_BODY = {
    "model": "rejoinder",
    "stream": True,
    "messages": [{"role": "user", "content": "Where is my order A1B2-77345?"}],
}
_CHAT = "/v1/chat/completions"
_NUM_WARM, _NUM_COMMITS = 50, 100
_START_SECONDS = 180


@dataclass(frozen=True, slots=True)
class _Round:
    """What clients heard, and the server's CPU time for a request."""

    heard: list[Heard]
    cpu_seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_overhead", description=__doc__)
    parser.add_argument("--rate", type=float, default=200, help="requests a second; default: 200")
    parser.add_argument("--seconds", type=float, default=10, help="a round; default: 10")
    parser.add_argument("--rounds", type=int, default=3, help="of each; default: 3")
    options = parser.parse_args(arguments)
    cores = Cores.apart()
    print(cores, file=sys.stderr)
    with tempfile.TemporaryDirectory() as directory:
        figures = _measure(Path(directory), cores, options)
    for name, value in figures.items():
        print(f"{name:>36}{value:10.2f}")
    print(json.dumps(figures))
    return 0


def _measure(folder: Path, cores: Cores, options: argparse.Namespace) -> dict[str, float]:
    number = round(options.rate * options.seconds)
    rounds: dict[str, list[_Round]] = {"service": [], "echo": []}
    with running_on(cores.servers), _running("tests.e2e.serve_fake", str(folder / "data"), "PORT", "fast") as service:
        with _running("tests.benchmarks.over_http.echo", "PORT") as echo, running_on(cores.clients):
            for _ in range(options.rounds):
                for name, server in (("service", service), ("echo", echo)):
                    asyncio.run(_load(server.port, options.rate, _NUM_WARM))
                    before = cpu_seconds_of(server.pid)
                    heard = asyncio.run(_load(server.port, options.rate, number))
                    rounds[name].append(_Round(heard, (cpu_seconds_of(server.pid) - before) / number))
    figures = {name: value for who, several in rounds.items() for name, value in _figures(who, several).items()}
    figures["first_delta_p50_over_echo"] = figures["service_first_delta_ms_p50"] / figures["echo_first_delta_ms_p50"]
    return {name: round(value, 3) for name, value in (figures | _commits(folder / "commits.db")).items()}


async def _load(port: int, rate: float, number: int) -> list[Heard]:
    """Open loop: each request is sent when it is due."""
    began = time.perf_counter()
    tasks = []
    for index in range(number):
        await asyncio.sleep(max(0.0, began + index / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(port, _CHAT, _BODY)))
    return list(await asyncio.gather(*tasks))


def _figures(who: str, rounds: Sequence[_Round]) -> dict[str, float]:
    streams = [one for a_round in rounds for one in a_round.heard]
    whole = [one for one in streams if one.is_whole]
    if not whole:
        raise RuntimeError(f"no stream of the {who} came to its end")
    return {
        f"{who}_requests": float(len(streams)),
        f"{who}_refused": float(len(streams) - len(whole)),
        f"{who}_cpu_ms": 1000 * statistics.median(a_round.cpu_seconds for a_round in rounds),
        **_percentiles(f"{who}_first_delta_ms", [one.arrivals[0] for one in whole]),
        **_percentiles(f"{who}_end_after_last_delta_ms", [one.ended - one.arrivals[-1] for one in whole]),
    }


def _commits(path: Path) -> dict[str, float]:
    """One completion recorded after the other: each waits for a commit of its own."""
    store = SqlRecordStore.open(f"sqlite:///{path}")
    seconds = []
    for number in range(_NUM_COMMITS):
        began = time.perf_counter()
        store.record_completion(a_completion(f"bench-{number}"))
        seconds.append(time.perf_counter() - began)
    store.close()
    return _percentiles("commit_alone_ms", seconds)


def _percentiles(name: str, seconds: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {f"{name}_p50": 1000 * cuts[49], f"{name}_p99": 1000 * cuts[98]}


@contextmanager
def _running(module: str, *arguments: str) -> Iterator[Server]:
    """A server whose port is given to it in place of the word PORT. Raises RuntimeError when it does not answer."""
    port = free_port()
    command = [sys.executable, "-m", module, *(str(port) if one == "PORT" else one for one in arguments)]
    environment = {**os.environ, **_SETTINGS, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not _answers(f"http://127.0.0.1:{port}/livez"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{module} does not answer; start it by hand to see why: {' '.join(command)}")
                time.sleep(0.1)
            yield Server(port, process.pid)
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    sys.exit(main())
