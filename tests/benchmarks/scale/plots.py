"""The simulation as a picture: pods and cost by load, waiting by busyness, and a tenfold load's first minutes."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from tests.benchmarks.scale.sizing import Load, Prices, Step

PLOT_FILE = "scale"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Okabe and Ito's, which nearly everybody can tell apart."""


def save_plot(
    loads: Sequence[Load], one_pod: Sequence[Load], steps: Sequence[Step], prices: Prices, folder: Path
) -> None:
    """Writes `scale.png` and `scale.svg`; the same figures give the same bytes."""
    canvas = Canvas(figsize=(17, 4.6), layout="constrained")
    FigureCanvasAgg(canvas)
    sizes, waits, growth = canvas.subplots(1, 3)
    _draw_sizes(sizes, loads, prices)
    _draw_waits(waits, one_pod)
    _draw_growth(growth, steps)
    for axes in (sizes, waits, growth):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": PLOT_FILE}):
        canvas.savefig(folder / f"{PLOT_FILE}.png", dpi=110)
        canvas.savefig(folder / f"{PLOT_FILE}.svg", metadata={"Date": None})


def _draw_sizes(axes: Axes, loads: Sequence[Load], prices: Prices) -> None:
    rates = [load.conversations_per_hour for load in loads]
    axes.loglog(rates, [load.pods for load in loads], marker="o", color=_COLOURS[0], label="pods")
    costs = [load.cost_a_month(prices) for load in loads]
    axes.loglog(
        rates, costs, marker="s", linestyle="--", color=_COLOURS[1], label="cost a month, at the assumed prices"
    )
    axes.set(title="fewest pods that keep the promise", xlabel="conversations an hour")
    axes.legend(frameon=False, fontsize=8)


def _draw_waits(axes: Axes, one_pod: Sequence[Load]) -> None:
    busy = [100 * load.busy_share for load in one_pod]
    for colour, name, values in (
        (_COLOURS[0], "first token, p50", [load.first_token_p50 for load in one_pod]),
        (_COLOURS[1], "first token, p99", [load.first_token_p99 for load in one_pod]),
        (_COLOURS[2], "whole reply, p99", [load.reply_p99 for load in one_pod]),
    ):
        axes.semilogy(busy, values, marker="o", color=colour, label=name)
    axes.set(title="one pod: seconds that people wait", xlabel="busier core, %", ylabel="seconds")
    axes.legend(frameon=False, fontsize=8)


def _draw_growth(axes: Axes, steps: Sequence[Step]) -> None:
    for colour, step in zip(_COLOURS, steps, strict=False):
        seconds = [moment.seconds for moment in step.moments]
        axes.step(seconds, [moment.pods for moment in step.moments], color=colour, where="post", label=step.name)
        refused = [100 * moment.refused_share for moment in step.moments]
        axes.plot(seconds, refused, color=colour, linestyle=":", label="… refused, %")
    axes.set(title="a load grows tenfold at once: pods", xlabel="seconds since")
    axes.legend(frameon=False, fontsize=7)
