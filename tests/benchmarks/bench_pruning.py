"""`python -m tests.benchmarks.bench_pruning BUNDLE`: the engine with a pruned bundle against the one it came of.

Both engines take turns, A B A B …, on one core, greedy, at the same contexts, in bundles as they are served; printed
are tokens a second of CPU time, and the median over the rounds of the ratio of neighbours. What else pruning costs is
what `python -m training prune` prints.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from model_store.contract.manifest import MANIFEST_NAME, Manifest
from model_store.store import DEFAULT_BUNDLE
from tests.benchmarks.engines.contender import Timing
from tests.benchmarks.engines.rounds import PREFILL, case_name, one_core
from tests.benchmarks.engines.shapes import Shape
from tests.benchmarks.engines.this_engine import EngineRunner

_CONTEXT = 200
_PREFILL_LENGTH = 256


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a row for every number of streams, and one for reading a prompt."""
    options = _parser().parse_args(arguments)
    with one_core(), tempfile.TemporaryDirectory() as folder:
        runners = [EngineRunner(shape_of(bundle), Path(folder)) for bundle in (options.against, options.bundle)]
        print(f"{'':14}{'unpruned':>12}{'pruned':>12}{'x median':>12}   tokens a second of CPU time")
        for streams in (*options.streams, PREFILL):
            rounds = [take_turns(runners, streams, number, options.steps) for number in range(options.rounds + 1)][1:]
            print(row(case_name(streams) if streams else f"prefill {_PREFILL_LENGTH}", rounds), flush=True)
        for runner in runners:
            runner.close()
    return 0


def shape_of(bundle: Path) -> Shape:
    """A bundle as the engines' benchmark takes it."""
    manifest = Manifest.model_validate_json((bundle / MANIFEST_NAME).read_bytes())
    return Shape(manifest.name, manifest.architecture, bundle)


def take_turns(runners: Sequence[EngineRunner], streams: int, number: int, steps: int) -> tuple[Timing, Timing]:
    """One round: both do the same, one right after the other, and who begins changes."""
    timings: dict[int, Timing] = {}
    for which in (0, 1) if number % 2 else (1, 0):
        if streams == PREFILL:
            timings[which] = runners[which].prefill(_PREFILL_LENGTH, seed=1000 + number)
        else:
            runners[which].start(streams, _CONTEXT)
            timings[which] = runners[which].decode(steps)
    return timings[0], timings[1]


def row(name: str, rounds: Sequence[tuple[Timing, Timing]]) -> str:
    """Medians of both, and of the speed of the second over that of the first."""
    speeds = [tuple(timing.num_tokens / timing.cpu_seconds for timing in pair) for pair in rounds]
    before, after = (statistics.median(column) for column in zip(*speeds, strict=True))
    ratio = statistics.median(late / early for early, late in speeds)
    return f"{name:14}{before:>12.0f}{after:>12.0f}{ratio:>12.3f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_pruning", description="A pruned engine.")
    parser.add_argument("bundle", type=Path, help="folder of the pruned bundle")
    parser.add_argument("--against", type=Path, default=DEFAULT_BUNDLE, help="the bundle that it came of")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--steps", type=int, default=64, help="a round")
    return parser


if __name__ == "__main__":
    sys.exit(main())
