"""`make scale`: pods, waiting and cost from a hundred to a million conversations an hour, and a tenfold load at once.

Reads what was measured on this machine by `python -m tests.benchmarks.scale.against_service`, which also says how near
the simulation comes to the real service there, or by `make bench`, else the sample that is named in the output; prints
tables and writes `scale.json`, `scale.png` and `scale.svg`.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from model_store.durable import replace_file
from tests.benchmarks.scale.fleet import Autoscaling
from tests.benchmarks.scale.people import Habits, hold
from tests.benchmarks.scale.plots import PLOT_FILE, save_plot
from tests.benchmarks.scale.service_times import SAMPLE, ServiceTimes, calibrate, load_rows
from tests.benchmarks.scale.sizing import Growth, Load, Prices, Promise, Step, fewest_pods, steady, step_of_load

_MEASURED = (Path("runs/scale/against_service.json"), Path("runs/bench/bench.json"))
"""The former knows few streams and every prompt's time, so it is preferred."""
_RATES = (1e2, 1e3, 1e4, 3e4, 1e5, 3e5, 1e6)
_BUSY_SHARES = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_GROWS = (3e4, 3e5)


class Report(BaseModel):
    """Everything of one run, with what was assumed."""

    model_config = ConfigDict(frozen=True)

    measured_in: str
    times: ServiceTimes
    habits: Habits
    promise: Promise
    prices: Prices
    num_slots: int
    loads: tuple[Load, ...]
    one_pod: tuple[Load, ...]
    growth: tuple[float, float]
    steps: tuple[Step, ...]


def main(arguments: list[str] | None = None) -> int:
    """Simulates, prints and writes; gives the exit code."""
    options = _parser().parse_args(arguments)
    path = options.bench or next(filter(_is_usable, _MEASURED), SAMPLE)
    times = calibrate(*load_rows(path), hold)
    habits = Habits(turns=options.turns, think_seconds=options.think_seconds)
    promise = Promise(first_token_seconds=options.first_token_seconds)
    prices = Prices(core_hour=options.core_hour, gib_hour=options.gib_hour)
    report = Report(
        measured_in=str(path),
        times=times,
        habits=habits,
        promise=promise,
        prices=prices,
        num_slots=options.slots,
        loads=tuple(fewest_pods(times, habits, promise, rate, options.slots) for rate in options.rates),
        one_pod=tuple(_one_pod(times, habits, options.slots)),
        growth=tuple(options.growth),
        steps=tuple(_steps(times, habits, promise, options)),
    )
    print("\n".join(lines(report)))
    options.output.mkdir(parents=True, exist_ok=True)
    replace_file(options.output / f"{PLOT_FILE}.json", report.model_dump_json(indent=1).encode())
    save_plot(report.loads, report.one_pod, report.steps, prices, options.output)
    print(f"{options.output}/{PLOT_FILE}.json, .png, .svg", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__)
    parser.add_argument(
        "--bench", type=Path, help=f"measured times; default: {' or '.join(map(str, _MEASURED))}, else a sample"
    )
    parser.add_argument("--rates", nargs="+", type=float, default=_RATES, help="conversations an hour")
    parser.add_argument("--turns", type=int, default=Habits().turns, help="messages of a conversation; default: 3")
    parser.add_argument("--think-seconds", type=float, default=Habits().think_seconds, help="between them; default: 20")
    parser.add_argument("--slots", type=int, default=16, help="of a pod; default: 16, the chart's")
    parser.add_argument("--first-token-seconds", type=float, default=1.0, help="promised to 99 of 100; default: 1")
    parser.add_argument("--growth", nargs=2, type=float, default=_GROWS, help="at once; default: 30000 300000 an hour")
    parser.add_argument("--pod-start-seconds", type=float, default=20.0, help="assumed; default: 20")
    parser.add_argument("--core-hour", type=float, default=Prices().core_hour, help="price of a core; default: 0.04")
    parser.add_argument("--gib-hour", type=float, default=Prices().gib_hour, help="price of a GiB; default: 0.005")
    parser.add_argument("--output", type=Path, default=Path("runs/scale"), help="default: runs/scale")
    return parser


def _is_usable(path: Path) -> bool:
    try:
        return bool(load_rows(path))
    except (OSError, ValueError, KeyError):
        return False


def _one_pod(times: ServiceTimes, habits: Habits, num_slots: int) -> Iterator[Load]:
    """One pod at loads that keep it more and more busy."""
    full = steady(times, habits, 3600 / habits.turns / times.mean_first_token_seconds[-1], 1, num_slots)
    most = full.replies_per_second * 3600 / habits.turns
    for share in _BUSY_SHARES:
        yield steady(times, habits, share * most, 1, num_slots)


def _steps(times: ServiceTimes, habits: Habits, promise: Promise, options: argparse.Namespace) -> Iterator[Step]:
    """The chart's HPA by CPU alone, then by waiting completions too, then with half of the pods kept in reserve."""
    start = {"pod_start_seconds": options.pod_start_seconds, "max_replicas": 100}
    ways = {
        "by CPU": Autoscaling.of_chart(**start),
        "by CPU and waiting completions": Autoscaling.of_chart(**start, target_waiting=options.slots / 4),
        "… and CPU at 40 %": Autoscaling.of_chart(**start, target_waiting=options.slots / 4, target_cpu=0.4),
    }
    for name, rule in ways.items():
        growth = Growth(name=name, before=options.growth[0], after=options.growth[1], num_slots=options.slots)
        yield step_of_load(times, habits, promise, rule, growth)


def lines(report: Report) -> Iterator[str]:
    """The report as Markdown."""
    times, habits = report.times, report.habits
    yield f"measured: {report.measured_in} ({times.machine})"
    yield (
        f"a step takes {1000 * times.step_alone:.2f} ms for one reply, "
        f"for more {1000 * times.step_base:.2f} ms and {1000 * times.step_row:.2f} ms a reply; first tokens "
        f"{' / '.join(f'{1000 * first:.1f}' for first in times.mean_first_token_seconds)} ms, "
        f"{times.hear_share:.0%} of it beside the engine; "
        f"{times.mean_reply_tokens:.0f} tokens a reply"
    )
    yield (
        f"assumed: {habits.turns} turns, {habits.think_seconds:g} s between them, {habits.thumbs_a_reply:.0%} thumbs; "
        f"a core {report.prices.core_hour:g} and a GiB {report.prices.gib_hour:g} an hour; {report.num_slots} slots"
    )
    yield ""
    yield from _loads_table(report.loads, report.prices)
    yield ""
    yield from _steps_table(report)


def _loads_table(loads: Sequence[Load], prices: Prices) -> Iterator[str]:
    yield "| conversations/h | replies/s | pods | busy | first token p50 / p99 | reply p99 | writes/s | cost a month |"
    yield "|--:|--:|--:|--:|--:|--:|--:|--:|"
    for load in loads:
        yield (
            f"| {load.conversations_per_hour:,.0f} | {load.replies_per_second:.1f} | {load.pods} "
            f"| {load.busy_share:.0%} | {1000 * load.first_token_p50:.0f} / {1000 * load.first_token_p99:.0f} ms "
            f"| {load.reply_p99:.2f} s | {load.writes_per_second:.1f} | {load.cost_a_month(prices):,.0f} |"
        )


def _steps_table(report: Report) -> Iterator[str]:
    grows = f"{report.growth[0]:,.0f} → {report.growth[1]:,.0f} conversations/h"
    yield f"| {grows}, HPA | pods | refused in 5 min | promise kept after |"
    yield "|---|--:|--:|--:|"
    for step in report.steps:
        after = "not within 10 min" if step.seconds_until_kept is None else f"{step.seconds_until_kept:.0f} s"
        yield f"| {step.name} | {step.pods_before} → {step.pods_after} | {step.refused_share:.0%} | {after} |"


if __name__ == "__main__":
    sys.exit(main())
