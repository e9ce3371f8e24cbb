"""How near the simulation comes to the real service: `python -m tests.benchmarks.scale.against_service`.

Measures the service as `make bench` does, one stream, few and many, and lets people come at random to it, in turns, so
that the machine's mood is in both; calibrates the simulation by the steady rows alone, lets the same people come to the
simulated pod, and compares. No ask comes twice, for the intent model and the prefix cache know a message again. Two
turns a conversation, short pauses. Writes `against_service.json`.
"""

import argparse
import asyncio
import itertools
import json
import os
import platform
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import simpy

from model_store.durable import replace_file
from tests.benchmarks.engines.shapes import customers_asks
from tests.benchmarks.over_http import conversations as real
from tests.benchmarks.over_http.conversations import NUM_TURNS, Round, ServiceAsker, draw_conversations, percentile
from tests.benchmarks.over_http.http_rounds import SERVICE, summary
from tests.benchmarks.over_http.servers import Server, running_service
from tests.benchmarks.over_http.sse_client import Heard, ask
from tests.benchmarks.scale.people import Crowd, Habits, hold
from tests.benchmarks.scale.pod import Pod
from tests.benchmarks.scale.service_times import MeasuredRow, ServiceTimes, calibrate

_THINK_SECONDS = 1.0
_FEW = 4
"""Streams of a calibrating row between one, whose replies are guessed ahead, and as many as there are slots."""
_PARTS = 3
"""Times that the steady rows and the people at random take turns."""
_AIM = 0.2
"""Farthest that a predicted figure may be off, as a share of the measured one."""

Figures = dict[str, float]


def main(arguments: list[str] | None = None) -> int:
    """Measures, simulates and prints both; gives the exit code: 0 also where they differ."""
    options = _parser().parse_args(arguments)
    habits = Habits(turns=NUM_TURNS, think_seconds=_THINK_SECONDS)
    with tempfile.TemporaryDirectory() as folder, running_service(Path(folder), options.slots) as server:
        rows, heard, rate = _in_turns(server, habits, options)
        times = calibrate(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores", rows, hold)
        bytes_a_reply = _database_bytes(Path(folder) / "data") / max(1, len(heard))
    measured = _figures([_as_numbers(one) for one in heard], options.seconds)
    predicted = _predict(times, habits, rate, options)
    errors = {name: predicted[name] / value - 1 for name, value in measured.items() if value}
    report = {
        "machine": times.machine,
        "http": [{"server": SERVICE, **row.model_dump()} for row in rows],
        "times": times.model_dump(),
        "conversations_per_second": rate,
        "load": options.load,
        "seconds": options.seconds,
        "replies": len(heard),
        "failed": sum(not one.is_whole for one in heard),
        "measured": measured,
        "predicted": predicted,
        "errors": errors,
        "database_bytes_a_reply": bytes_a_reply,
    }
    print("\n".join(_lines(report, measured, predicted, errors)))
    options.output.mkdir(parents=True, exist_ok=True)
    replace_file(options.output / "against_service.json", (json.dumps(report, indent=1) + "\n").encode())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale.against_service", description=__doc__)
    parser.add_argument("--load", type=float, default=0.5, help="share of what the service can do; default: 0.5")
    parser.add_argument("--seconds", type=float, default=60.0, help="in which conversations begin; default: 60")
    parser.add_argument(
        "--conversations", type=int, default=80, help="for calibrating, a number of streams; default: 80"
    )
    parser.add_argument("--slots", type=int, default=16, help="default: 16, the chart's")
    parser.add_argument("--output", type=Path, default=Path("runs/scale"), help="default: runs/scale")
    return parser


def _in_turns(
    server: Server, habits: Habits, options: argparse.Namespace
) -> tuple[list[MeasuredRow], list[Heard], float]:
    """Steady rows and people who come at random, one after the other and once more.

    Gives the rows, what the people heard, and how many conversations began a second.
    """
    seeds = itertools.count()
    asyncio.run(_hold(server, 1, 2, next(seeds)))  # the first of everything is slow
    rounds: dict[int, list[Round]] = {1: [], _FEW: [], options.slots: []}
    heard: list[Heard] = []
    rate = 0.0
    for _ in range(_PARTS):
        for num_streams, found in rounds.items():
            found.append(asyncio.run(_hold(server, num_streams, options.conversations, next(seeds))))
        full = options.conversations / rounds[options.slots][0].seconds
        rate = options.load * full
        heard += asyncio.run(_come(server, habits, rate, options.seconds / _PARTS, next(seeds)))
    return [_row(num_streams, found, options) for num_streams, found in rounds.items()], heard, rate


async def _hold(server: Server, num_streams: int, num_conversations: int, seed: int) -> Round:
    conversations = draw_conversations(customers_asks(), num_conversations, seed)
    return await real.hold(server.port, ServiceAsker(), conversations, num_streams)


def _row(num_streams: int, rounds: Sequence[Round], options: argparse.Namespace) -> MeasuredRow:
    whole = [heard for found in rounds for turns in found.conversations for heard in turns if heard.is_whole]
    firsts = [
        [1000 * first for found in rounds for first in found.first_token_seconds(turn)] for turn in range(NUM_TURNS)
    ]
    every = {"reply_tokens": [heard.num_tokens for heard in whole], "first_tokens_ms": firsts}
    row = (
        summary(SERVICE, num_streams, rounds).model_dump()
        | {"num_slots": options.slots, "num_conversations": options.conversations}
        | every
    )
    return MeasuredRow.model_validate(row)


async def _come(server: Server, habits: Habits, rate: float, seconds: float, seed: int) -> list[Heard]:
    """People who come at random, whether or not others have been answered."""
    number = max(1, round(rate * seconds))
    conversations = draw_conversations(customers_asks(), number, seed)
    dice = random.Random(seed)
    heard: list[Heard] = []

    async def converse(after: float, index: int) -> None:
        await asyncio.sleep(after)
        turns: list[Heard] = []
        for turn in range(habits.turns):
            turns.append(await ask(server.port, ServiceAsker.path, ServiceAsker().body(conversations[index], turns)))
            heard.append(turns[-1])
            if not turns[-1].is_whole:
                return
            if turn + 1 < habits.turns:
                await asyncio.sleep(dice.expovariate(1 / habits.think_seconds))

    # At random, but as many in this time as the simulation's rate says: chance moves the load of a minute by a tenth.
    begins = sorted(dice.uniform(0, seconds) for _ in range(number))
    await asyncio.gather(*(converse(after, index) for index, after in enumerate(begins)))
    return heard


Numbers = tuple[float | None, float, int]
"""Seconds to the first token (None: refused), to the last, and tokens."""


def _as_numbers(heard: Heard) -> Numbers:
    is_whole = heard.is_whole and bool(heard.arrivals)
    return (heard.arrivals[0], heard.arrivals[-1], heard.num_tokens) if is_whole else (None, 0.0, 0)


def _predict(times: ServiceTimes, habits: Habits, rate: float, options: argparse.Namespace) -> Figures:
    """The same people in the simulation, ten times as long, since chance costs nothing there."""
    environment = simpy.Environment()
    pod = Pod(environment, times, options.slots)
    crowd = Crowd(environment, times, lambda: pod)
    seconds = 10 * options.seconds
    environment.process(crowd.arrive(habits, lambda _: rate, seconds))
    environment.run(seconds)
    return _figures([(one.first_token_seconds, one.seconds, one.num_tokens) for one in crowd.heard], seconds)


def _figures(heard: Sequence[Numbers], seconds: float) -> Figures:
    firsts = [first for first, _, _ in heard if first is not None]
    wholes = [whole for first, whole, _ in heard if first is not None]
    return {
        "tokens_per_second": sum(tokens for _, _, tokens in heard) / seconds,
        "first_token_ms_p50": 1000 * percentile(firsts, 0.5),
        "first_token_ms_p99": 1000 * percentile(firsts, 0.99),
        "reply_ms_p50": 1000 * percentile(wholes, 0.5),
        "reply_ms_p99": 1000 * percentile(wholes, 0.99),
        "refused": sum(first is None for first, _, _ in heard) / max(1, len(heard)),
    }


def _database_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.db*"))


def _lines(report: dict[str, object], measured: Figures, predicted: Figures, errors: Figures) -> list[str]:
    head = f"{report['replies']} replies at {report['load']:.0%} of what the service can do, {report['failed']} failed"
    rows = [
        f"| {name} | {value:.1f} | {predicted[name]:.1f} | {errors.get(name, 0.0):+.0%} |"
        + ("" if abs(errors.get(name, 0.0)) <= _AIM else f" farther off than {_AIM:.0%}")
        for name, value in measured.items()
    ]
    return [head, "", "| one pod | measured | predicted | |", "|---|--:|--:|--:|", *rows]


if __name__ == "__main__":
    sys.exit(main())
