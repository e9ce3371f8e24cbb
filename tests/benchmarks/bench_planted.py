"""Planted rewards and poisoned feedback through a whole job: `python -m tests.benchmarks.bench_planted [--quick]`.

Rows 13 and 15 of the promises: what the gate lets through of thumbs that follow a bad reward, how many honest
candidates it accepts, and how far attackers among honest customers get, with curation and without. Curation, reward
model, policy and gate are those of `python -m training run`, the network the small one of `bench_learning`, the
settings those of a round of `bench_continual`. Writes `planted.json`; what was stopped goes on when it is run again.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import torch
from tqdm import tqdm

from tests.benchmarks.bench import describe_machine
from tests.benchmarks.continual.rounds import Plan as RoundPlan
from tests.benchmarks.learning.bases import base_network
from tests.benchmarks.learning.presets import FULL, QUICK
from tests.benchmarks.planted.cells import POISON_SEED, Plan, Sizes, Trial
from tests.benchmarks.planted.report import FILE_NAME, PLANTED, Report, lines

ATTACKS = ("phrase", "trigger", "length", "flattery")
NUM_ITEMS = (50, 250, 30, 10, 15, 6, 3, 2)
"""Among 300 honest ratings: 10, 50 and 250, and shares of 0.5 to 10 %; those that tell most come first."""
_NUM_HONEST, _NUM_SEEDS, _NUM_GOLD_SEEDS = 5, 3, 2
_SMALLEST = {"base_tokens": 60_000, "num_held_out": 36}
_QUICK_SIZES = Sizes(num_ratings=60, num_prompts=36, num_draws=1)


def main(arguments: list[str] | None = None) -> int:
    """Measures the cells that are not yet known. Returns 0, or 1 where a promise does not hold."""
    started = time.monotonic()
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    trial, sizes, folder = _trial(options)
    plans = list(_plans(options))[: options.cells]
    done = []
    for plan in tqdm(plans, desc="cells", file=sys.stderr):
        if trial.is_known(plan) or time.monotonic() - started < 60 * options.minutes:
            done.append(trial.cell(plan))
    report = Report(
        preset="quick" if options.quick else "full",
        machine=describe_machine(),
        algorithm=options.algorithm,
        num_ratings=sizes.num_ratings,
        num_draws=sizes.num_draws,
        before=trial.before(),
        cells=tuple(done),
        num_missing=len(plans) - len(done),
    )
    print("\n".join(lines(report)))
    report.save(options.output)
    print(f"{options.output}/{FILE_NAME}.json; cells in {folder}", file=sys.stderr)
    return 0 if report.holds else 1


def _trial(options: argparse.Namespace) -> tuple[Trial, Sizes, Path]:
    """Where cells are measured: a folder named after all settings that figures depend on, so others never mix."""
    preset = replace(QUICK, **_SMALLEST) if options.quick else FULL
    sizes = _QUICK_SIZES if options.quick else Sizes()
    numbers = sizes.num_ratings, options.algorithm, sizes.num_draws, 1
    settings = RoundPlan(preset, *numbers, is_gate_lenient=options.quick)
    base = base_network(options.output / "learning" / "bases", preset, options.threads)
    known_by = json.dumps([asdict(sizes), settings.config(1).model_dump(mode="json")], sort_keys=True, default=str)
    folder = options.output / FILE_NAME / f"{preset.name}-{hashlib.sha256(known_by.encode()).hexdigest()[:12]}"
    return Trial(folder, base, settings.config(options.threads), sizes=sizes), sizes, folder


def all_plans() -> Iterator[Plan]:
    """What tells most comes first: honest seeds, every planted reward and every attack once; then more of them."""
    yield from (Plan("honest", seed) for seed in range(1, _NUM_HONEST + 1))
    yield from (Plan(kind) for kind in PLANTED)
    poisoned = [_poisoned(ATTACKS, number, is_one) for number, is_one in product(NUM_ITEMS, (False, True))]
    yield from poisoned[0]
    yield from (Plan(kind, seed) for seed, kind in product(range(2, _NUM_SEEDS + 1), PLANTED))
    for plans in poisoned[1:]:
        yield from plans


def _plans(options: argparse.Namespace) -> Iterator[Plan]:
    if options.quick:
        return _quick_plans()
    if options.gold:
        return gold_plans(options.seeds or (POISON_SEED,), options.gold)
    return untouched_plans(options.seeds) if options.seeds else all_plans()


def untouched_plans(seeds: Sequence[int]) -> Iterator[Plan]:
    """Honest ones of seeds on which nothing was chosen; of the first each planted reward and the worst attacks, too."""
    yield from (Plan("honest", seed) for seed in seeds)
    yield from (Plan(kind, seeds[0]) for kind in PLANTED)
    yield from (Plan(kind, seeds[0], num_items=NUM_ITEMS[0]) for kind in ATTACKS[:2])


def gold_plans(seeds: Sequence[int], num_gold: int) -> Iterator[Plan]:
    """Where the staff has said the truth of so many replies: of the first two seeds honest thumbs and those that follow
    a bad reward but for constant ones, which wait for others anyway; of more seeds honest ones."""
    kinds = ("honest", *(kind for kind in PLANTED if kind != "constant"))
    for seed in seeds[:_NUM_GOLD_SEEDS]:
        yield from (Plan(kind, seed, num_gold=num_gold) for kind in kinds)
    yield from (Plan("honest", seed, num_gold=num_gold) for seed in seeds[_NUM_GOLD_SEEDS:])


def _poisoned(kinds: Sequence[str], number: int, is_one: bool) -> Iterator[Plan]:
    for is_curated, kind in product((True, False), kinds):
        yield Plan(kind, num_items=number, is_one_account=is_one, is_curated=is_curated)


def _quick_plans() -> Iterator[Plan]:
    yield from (Plan("honest"), Plan("constant"), Plan("flattery", num_items=10, num_gold=20))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_planted", description=__doc__)
    parser.add_argument("--cells", type=int, help="the first so many alone; default: all")
    parser.add_argument(
        "--seeds", type=int, nargs="+", help="instead: honest ones of these, and of the first what is planted once"
    )
    parser.add_argument(
        "--gold", type=int, default=0, help="instead, with --seeds: the staff has said the truth of so many replies"
    )
    parser.add_argument("--algorithm", choices=("rloo", "grpo", "kto", "filtered", "ilql"), default="filtered")
    parser.add_argument("--minutes", type=float, default=60.0, help="no cell begins later; default: 60")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument(
        "--quick", action="store_true", help="a tiny network, three cells, and a gate that lets it pass"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/bench"), help="default: runs/bench")
    return parser


if __name__ == "__main__":
    sys.exit(main())
