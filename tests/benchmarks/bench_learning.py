"""`make bench-learning`: thumbs up before and after learning, by algorithm and number of ratings.

A small network of the card desk and the demo's simulated customers, one rating in ten wrong. Everything but the network
is real: the stages are those of `python -m training run`, beside them TRL's trainers where TRL is installed. Prints a
table; writes `learning.json`, `.png` and `.svg`.
Every cell is kept, so a run that was stopped, or ran out of minutes, goes on. Read next: `learning.presets`.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from tests.benchmarks.bench import describe_machine
from tests.benchmarks.learning.cells import Cell, Laboratory, digest_of, why_not_run
from tests.benchmarks.learning.presets import ALGORITHMS, FULL, QUICK, Preset, base_config
from tests.benchmarks.learning.report import FILE_NAME, Report, lines, save_plot

_DEFAULT_ALGORITHMS = ("kto", "trl-kto", "rloo", "trl-rloo", "filtered", "ilql")


def main(arguments: list[str] | None = None) -> int:
    """Measures what is asked for and is not yet known. Returns 0, whether or not aims are met."""
    started = time.monotonic()
    options = _parser().parse_args(arguments)
    preset = QUICK if options.quick else FULL
    folder = options.output / FILE_NAME / f"{preset.name}-{_digest(preset, options)}"
    laboratory = Laboratory(folder, preset, num_threads=options.threads, adapter=options.adapter)
    before = laboratory.before()
    reasons = {name: why_not_run(name, options.adapter) for name in options.algorithms}
    not_run = {name: reason for name, reason in reasons.items() if reason}
    wanted = [cell for cell in _wanted(preset, options) if cell[0] not in not_run]
    most_ratings = _most_ratings(preset, options)
    cells: list[Cell] = []
    longest = 0.0
    for algorithm, num_ratings, seed in tqdm(wanted, desc="cells", file=sys.stderr):
        is_known = laboratory.path_of(algorithm, num_ratings, seed).exists()
        now = time.monotonic()
        if not is_known and cells and now - started + longest > 60 * options.minutes:
            continue
        cells.append(laboratory.cell(algorithm, num_ratings, seed, most_ratings))
        longest = max(longest, time.monotonic() - now)
    report = Report(
        preset=preset.name,
        machine=describe_machine(),
        before=before,
        cells=tuple(cells),
        num_missing=len(wanted) - len(cells),
        not_run=not_run,
    )
    print("\n".join(lines(report)))
    report.save(options.output)
    save_plot(report, options.output)
    print(f"{options.output}/{FILE_NAME}.json, .png, .svg; cells in {folder}", file=sys.stderr)
    return 0


def _wanted(preset: Preset, options: argparse.Namespace) -> Iterator[tuple[str, int, int]]:
    """Seed by seed, so that whatever there was time for compares the algorithms."""
    for seed in range(1, (options.seeds or preset.num_seeds) + 1):
        for num_ratings in sorted(options.ratings or preset.ratings):
            for algorithm in options.algorithms:
                yield algorithm, num_ratings, seed


def _most_ratings(preset: Preset, options: argparse.Namespace) -> int:
    """As many are drawn whatever numbers are asked for, so that a first look's cells are cells of the whole table."""
    return max(*preset.ratings, *(options.ratings or preset.ratings))


def _digest(preset: Preset, options: argparse.Namespace) -> str:
    """Of all settings that ratings depend on, so that others never mix with them; a cell's own are in its name."""
    base = base_config(preset, 1).model_dump(mode="json", exclude={"policy"})
    sizes = {name: value for name, value in asdict(preset).items() if name != "policy"}
    return digest_of([sizes, _most_ratings(preset, options), base])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_learning", description=__doc__)
    parser.add_argument("--algorithms", nargs="+", choices=tuple(ALGORITHMS), default=list(_DEFAULT_ALGORITHMS))
    parser.add_argument("--ratings", nargs="+", type=int, help="default: 150 500 1500")
    parser.add_argument("--seeds", type=int, help="how many; default: 3")
    parser.add_argument("--adapter", choices=("none", "lora", "ia3"), default="none", help="learn few parameters")
    parser.add_argument("--minutes", type=float, default=20.0, help="no cell begins that would end later; default: 20")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--quick", action="store_true", help="a tiny network, few ratings: to see that it runs")
    parser.add_argument("--output", type=Path, default=Path("runs/bench"), help="default: runs/bench")
    return parser


if __name__ == "__main__":
    sys.exit(main())
