"""Who is measured when: all contenders in turns, A B C A B C …, on one core, so that a busy moment hits everybody."""

import gc
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tests.benchmarks.engines import floor, hugging_face, llama, this_engine, torch_eager
from tests.benchmarks.engines.contender import Contender, NotInstalledError, Runner, Timing
from tests.benchmarks.engines.shapes import SHAPES, Shape

CONTENDERS = (
    this_engine.CONTENDER,
    *llama.CONTENDERS,
    torch_eager.CONTENDER,
    hugging_face.EXACT,
    hugging_face.HASHED,
    floor.CONTENDER,
)
PREFILL = 0
"""In place of the number of streams: one prompt of up to 512 tokens is read."""
_PREFILL_LENGTH = 512
_CONTEXT = 260
"""Tokens before the middle one of all that are measured."""


class Plan(BaseModel):
    """How much is measured."""

    model_config = ConfigDict(frozen=True)

    shapes: tuple[str, ...]
    streams: tuple[int, ...]
    rounds: int
    steps: int
    """Steps a round, of those who make all."""
    series: int
    """Repetitions at one stream, where a round lasts a few milliseconds; a quarter as many at four."""


class Row(BaseModel):
    """What one contender did in one case: medians over the rounds, or why there is no figure."""

    model_config = ConfigDict(frozen=True)

    shape: str
    contender: str
    streams: int
    """How many, or PREFILL."""
    tokens_per_second: float = 0.0
    """By the clock."""
    tokens_per_cpu_second: float = 0.0
    """By the CPU time of the thread that did the work: what ratios are made of, for a machine is never quite idle."""
    num_rounds: int = 0
    not_installed: str | None = None


def measure(plan: Plan) -> list[Row]:
    """Runs every contender on every shape, pinned to one core."""
    rows: list[Row] = []
    with one_core(), tempfile.TemporaryDirectory() as folder:
        for name in plan.shapes:
            shape = SHAPES[name]()
            runners, missing = _open_all(shape, Path(folder))
            rows += missing
            try:
                for streams in (*plan.streams, PREFILL):
                    print(f"  {name}, {case_name(streams)}", file=sys.stderr, flush=True)
                    rows += measure_case(shape, runners, streams, plan)
            finally:
                for _, runner in runners:
                    runner.close()
            del runners
            gc.collect()
    return rows


def measure_case(shape: Shape, runners: Sequence[tuple[Contender, Runner]], streams: int, plan: Plan) -> list[Row]:
    """One number of streams, or PREFILL."""
    takes_part = [
        (contender, runner)
        for contender, runner in runners
        if (contender.can_prefill if streams == PREFILL else streams <= contender.max_streams)
    ]
    timings: dict[str, list[Timing]] = {contender.name: [] for contender, _ in takes_part}
    for _ in range(max(1, plan.series // max(streams, 1)) if streams != PREFILL else 1):
        _run_series(shape, takes_part, streams, plan, timings)
    return [summary(shape.name, name, streams, timings[name]) for name in timings]


def _run_series(
    shape: Shape,
    runners: Sequence[tuple[Contender, Runner]],
    streams: int,
    plan: Plan,
    timings: dict[str, list[Timing]],
) -> None:
    """All rounds of one case and a first one that does not count; appends to `timings`."""
    num_rounds = plan.rounds + 1
    steps = {contender.name: max(2, round(plan.steps * contender.step_share)) for contender, _ in runners}
    if streams != PREFILL:
        for contender, runner in runners:
            runner.start(streams, _CONTEXT - num_rounds * steps[contender.name] // 2)
    prompt_length = min(_PREFILL_LENGTH, shape.architecture.max_positions - 1)
    for number in range(num_rounds):
        for contender, runner in runners:
            if streams == PREFILL:
                timing = runner.prefill(prompt_length, seed=1000 + number)
            else:
                timing = runner.decode(steps[contender.name])
            if number:
                timings[contender.name].append(timing)


def summary(shape: str, contender: str, streams: int, timings: Sequence[Timing]) -> Row:
    """The medians."""
    return Row(
        shape=shape,
        contender=contender,
        streams=streams,
        tokens_per_second=statistics.median(timing.num_tokens / timing.wall_seconds for timing in timings),
        tokens_per_cpu_second=statistics.median(timing.num_tokens / timing.cpu_seconds for timing in timings),
        num_rounds=len(timings),
    )


def case_name(streams: int) -> str:
    """What is measured, in words."""
    if streams == PREFILL:
        return f"prefill {_PREFILL_LENGTH}"
    return "1 stream" if streams == 1 else f"{streams} streams"


def _open_all(shape: Shape, folder: Path) -> tuple[list[tuple[Contender, Runner]], list[Row]]:
    """Those that run here, and a row that says why for each that does not."""
    runners, missing = [], []
    for contender in CONTENDERS:
        try:
            runners.append((contender, contender.open(shape, folder)))
        except NotInstalledError as error:
            row = Row(shape=shape.name, contender=contender.name, streams=PREFILL, not_installed=str(error))
            missing.append(row)
    return runners, missing


@contextmanager
def one_core() -> Iterator[None]:
    """Keeps this process, all of its threads, on the last of the cores that it may use."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
