"""What a second engine process brings: `python -m tests.benchmarks.bench_engines`.

The model that ships, served by one engine in the service's process and by that and another in a process of its own, in
turns (A B A B): at the worker, which hands completions out, with replies that never end by themselves; and over HTTP,
by people in conversations of two turns. All cores that may be used are used by all, clients among them: on two cores
there is none left for the second engine over HTTP. Medians of rounds; the last line is one JSON object.
"""

import argparse
import asyncio
import json
import logging
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path

import httpx
import structlog

from model_store.bundle import Bundle, open_bundle
from model_store.contract.control_tokens import EOS_ID
from model_store.sampling import DEFAULT_TEMPERATURE, DEFAULT_TOP_P
from model_store.store import DEFAULT_BUNDLE
from service.chat.engine_worker import EngineWorker
from service.engine.running.engine_process import EngineProcess
from service.engine.running.messages import EngineSpec
from service.engine.running.opening import open_engine
from service.engine.types import CompletionRequest, Delta, EngineOptions, SamplingParams
from service.errors import ServiceError
from tests.benchmarks.engines.shapes import Shape, customers_asks, shipped_shape
from tests.benchmarks.over_http.conversations import ServiceAsker, draw_conversations, hold
from tests.benchmarks.over_http.servers import Server, running_service

_NUM_SLOTS = 64
_OPTIONS = EngineOptions(num_slots=_NUM_SLOTS, prefix_cache_bytes=64 << 20, max_draft_tokens=3, knows_phrases=True)
_PROMPT_TOKENS, _REPLY_TOKENS = 64, 128
_NUM_ENGINES = (1, 2)
_START_SECONDS = 120


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_engines", description=__doc__)
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 4, 16, 64], help="default: 1 4 16 64")
    parser.add_argument("--http-streams", type=int, nargs="*", default=[2, 16], help="default: 2 16; none: no HTTP")
    parser.add_argument("--rounds", type=int, default=5, help="of each; default: 5")
    parser.add_argument("--conversations", type=int, default=32, help="of a round over HTTP; default: 32")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(f"cores: {sorted(os.sched_getaffinity(0))}; rounds: {options.rounds}")
    found = asyncio.run(_at_the_worker(options.streams, options.rounds))
    if options.http_streams:
        found |= _over_http(options.http_streams, options.rounds, options.conversations)
    print(json.dumps(found))
    return 0


async def _at_the_worker(streams: Sequence[int], rounds: int) -> dict[str, float]:
    bundle = open_bundle(DEFAULT_BUNDLE.absolute())
    workers = {number: _open_worker(bundle, number) for number in _NUM_ENGINES}
    while any(worker.num_engines < number for number, worker in workers.items()):
        await asyncio.sleep(0.05)
    found: dict[str, float] = {}
    for num_streams in streams:
        await asyncio.gather(*(_round(worker, num_streams, seed=0) for worker in workers.values()))
        speeds: dict[int, list[float]] = {number: [] for number in _NUM_ENGINES}
        for seed in range(1, rounds + 1):
            for number, worker in workers.items():
                speeds[number].append(await _round(worker, num_streams, seed))
        found |= _told(f"worker_{num_streams}_streams", speeds)
    for worker in workers.values():
        worker.retire()
        await worker.wait_closed()
    return found


def _open_worker(bundle: Bundle, num_engines: int) -> EngineWorker:
    spec = EngineSpec(bundle.directory, bundle.digest, _OPTIONS)
    further = [partial(EngineProcess, spec)] * (num_engines - 1)
    return EngineWorker(open_engine(bundle, _OPTIONS), _NUM_SLOTS, further=further)


async def _round(worker: EngineWorker, num_streams: int, seed: int) -> float:
    """Tokens a second of as many replies of one length, from their prompts on."""
    requests = [_request(seed * 1000 + number) for number in range(num_streams)]
    worker.reserve(num_streams)
    started = time.perf_counter()
    await asyncio.gather(*(_reply(worker, request) for request in requests))
    return num_streams * _REPLY_TOKENS / (time.perf_counter() - started)


@cache
def _shape() -> Shape:
    """It tokenises all that people ask, once."""
    return shipped_shape()


def _request(seed: int) -> CompletionRequest:
    sampling = SamplingParams(
        temperature=DEFAULT_TEMPERATURE,
        top_p=DEFAULT_TOP_P,
        seed=seed,
        max_tokens=_REPLY_TOKENS,
        banned_token_ids=frozenset({EOS_ID}),
    )
    return CompletionRequest(str(seed), _shape().prompt(_PROMPT_TOKENS, seed), sampling)


async def _reply(worker: EngineWorker, request: CompletionRequest) -> None:
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(item: Delta | ServiceError) -> None:
        if isinstance(item, ServiceError):
            ended.set_exception(item)
        elif item.finish_reason is not None:
            ended.set_result(None)

    worker.submit(request, take)
    await ended


def _over_http(streams: Sequence[int], rounds: int, conversations: int) -> dict[str, float]:
    found: dict[str, float] = {}
    with ExitStack() as stack:
        servers = {number: stack.enter_context(_serving(number)) for number in _NUM_ENGINES}
        for num_streams in streams:
            speeds: dict[int, list[float]] = {number: [] for number in _NUM_ENGINES}
            firsts: dict[int, list[float]] = {number: [] for number in _NUM_ENGINES}
            for seed in range(rounds + 1):
                for number, server in servers.items():
                    talk = draw_conversations(customers_asks(), max(conversations, num_streams), seed)
                    heard = asyncio.run(hold(server.port, ServiceAsker(), talk, num_streams))
                    if heard.num_failed:
                        raise RuntimeError(f"{heard.num_failed} requests failed")
                    if seed:  # the first round warms up
                        speeds[number].append(heard.tokens_per_second)
                        firsts[number].append(1000 * statistics.median(heard.first_token_seconds(0)))
            found |= _told(f"http_{num_streams}_streams", speeds)
            found |= _told(f"http_{num_streams}_streams_first_token_ms", firsts)
        for number, server in servers.items():
            found[f"http_{number}_engines_megabytes"] = _megabytes(server.pid)
            print(f"memory with {number} engines: {found[f'http_{number}_engines_megabytes']:.0f} MB")
    return found


@contextmanager
def _serving(num_engines: int) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder, running_service(Path(folder), 16, num_engines) as server:
        deadline = time.monotonic() + _START_SECONDS
        while f"\nrejoinder_engines {num_engines}.0" not in httpx.get(f"http://127.0.0.1:{server.port}/metrics").text:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the service has not got {num_engines} engines")
            time.sleep(0.1)
        yield server


def _megabytes(pid: int) -> float:
    """Memory of a process and of those that it started; what they share is counted once."""
    proc = Path("/proc")
    children = [int(name) for path in proc.glob(f"{pid}/task/*/children") for name in path.read_text().split()]
    texts = [(proc / str(one) / "smaps_rollup").read_text() for one in (pid, *children)]
    return sum(int(size) for text in texts for size in re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)) / 1024


def _told(name: str, values: dict[int, list[float]]) -> dict[str, float]:
    """Prints medians, and the median of the ratios within a round; gives the same."""
    one, two = (statistics.median(values[number]) for number in _NUM_ENGINES)
    ratios = [second / first for first, second in zip(*values.values(), strict=True)]
    ratio = statistics.median(ratios)
    print(f"{name}: {one:,.0f} | {two:,.0f} | {ratio:.2f} x ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)
    return {f"{name}_1": one, f"{name}_2": two, f"{name}_ratio": ratio}


if __name__ == "__main__":
    sys.exit(main())
