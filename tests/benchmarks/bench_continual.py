"""Learning round after round while customers change: `python -m tests.benchmarks.bench_continual [--quick]`.

Five crowds, one a round, differ in what they ask about and in what they like to read. Each rates what is served then, a
real run learns from all ratings so far, and its gate publishes or refuses. Prints what every version is worth to every
crowd, in one matrix, beside a gold set and topics that nobody rates; writes `continual.json`, `.png` and `.svg`. The
network is the small one of `bench_learning`. What was stopped, or ran out of minutes, goes on when it is run again.
"""

import argparse
import hashlib
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from tests.benchmarks.bench import describe_machine
from tests.benchmarks.continual.matrix import FILE_NAME, Report, lines, save_plot
from tests.benchmarks.continual.rounds import Plan, Round, Rounds
from tests.benchmarks.learning.bases import base_network
from tests.benchmarks.learning.presets import FULL, QUICK

_NUM_ROUNDS = 5
_SMALLEST = {"base_tokens": 60_000, "num_held_out": 36}


def main(arguments: list[str] | None = None) -> int:
    """Runs the rounds that are not yet done. Returns 0, or 1 where a version that is surely worse was published."""
    started = time.monotonic()
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    plan = _plan(options)
    base = base_network(options.output / "learning" / "bases", plan.preset, options.threads)
    folder = options.output / FILE_NAME / f"{plan.preset.name}-{_digest(plan)}"
    rounds = Rounds(folder, base, plan, num_threads=options.threads)
    first = rounds.first()
    done: list[Round] = []
    for number in tqdm(range(1, options.rounds + 1), desc="rounds", file=sys.stderr):
        if done and time.monotonic() - started > 60 * options.minutes:
            break
        done.append(rounds.round(number, done[-1].after if done else first))
    report = Report(
        preset=plan.preset.name,
        machine=describe_machine(),
        algorithm=plan.algorithm,
        num_prompts=len(first.gold),
        num_draws=plan.num_draws,
        first=first,
        rounds=tuple(done),
        num_missing=options.rounds - len(done),
    )
    print("\n".join(lines(report)))
    report.save(options.output)
    save_plot(report, options.output)
    print(f"{options.output}/{FILE_NAME}.json, .png, .svg; rounds in {folder}", file=sys.stderr)
    return 1 if report.worse_on_gold else 0


def _plan(options: argparse.Namespace) -> Plan:
    if options.quick:
        preset = replace(QUICK, **_SMALLEST)
        return Plan(preset, options.ratings or 60, options.algorithm, 1, options.seed, is_gate_lenient=True)
    return Plan(FULL, options.ratings or 300, options.algorithm, 4, options.seed, is_gate_lenient=False)


def _digest(plan: Plan) -> str:
    """Of all settings that figures depend on: others never mix with them."""
    text = json.dumps([asdict(plan), plan.config(1).model_dump(mode="json")], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_continual", description=__doc__)
    parser.add_argument("--rounds", type=int, default=_NUM_ROUNDS, help="default: 5; after them crowds come again")
    parser.add_argument("--ratings", type=int, help="in each round; default: 300")
    parser.add_argument("--algorithm", choices=("rloo", "grpo", "kto", "filtered", "ilql"), default="filtered")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0, help="no round begins later; default: 60")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--quick", action="store_true", help="a tiny network and a gate that lets it pass")
    parser.add_argument("--output", type=Path, default=Path("runs/bench"), help="default: runs/bench")
    return parser


if __name__ == "__main__":
    sys.exit(main())
