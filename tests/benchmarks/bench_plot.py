"""The comparison as a plot: a panel a shape, a group of bars a number of streams, and a panel for HTTP."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from tests.benchmarks.bench_report import Report, any_busy
from tests.benchmarks.engines.rounds import CONTENDERS, Row, case_name
from tests.benchmarks.over_http.http_rounds import HttpRow

PLOT_FILE = "bench"
_COLOURS = ("#0072b2", "#d55e00", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#555555")
"""Okabe and Ito's, which nearly everybody can tell apart."""
_COLOUR_OF = dict(zip((contender.name for contender in CONTENDERS), _COLOURS, strict=False))


def save_plot(report: Report, folder: Path) -> None:
    """Writes `bench.png` and `bench.svg`; the same figures give the same bytes."""
    shapes = list(dict.fromkeys(row.shape for row in report.engines if not row.not_installed))
    http = [row for row in report.http if not row.not_installed]
    num_panels = len(shapes) + bool(http)
    if not num_panels:
        return
    canvas = Canvas(figsize=(6.5 * num_panels, 4.5), layout="constrained")
    FigureCanvasAgg(canvas)
    panels = canvas.subplots(1, num_panels, squeeze=False)[0]
    for axes, shape in zip(panels, shapes, strict=False):
        _draw_engines(axes, shape, [row for row in report.engines if row.shape == shape and not row.not_installed])
    if http:
        _draw_http(panels[-1], http)
    if any_busy(report.engines):
        canvas.suptitle("measured on a shared core: compare, do not quote")
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "bench"}):
        canvas.savefig(folder / f"{PLOT_FILE}.png", dpi=150)
        canvas.savefig(folder / f"{PLOT_FILE}.svg", metadata={"Date": None})


def _draw_engines(axes: Axes, shape: str, rows: Sequence[Row]) -> None:
    cases = sorted({row.streams for row in rows}, key=lambda streams: streams or 1 << 30)
    names = list(dict.fromkeys(row.contender for row in rows))
    for number, name in enumerate(names):
        own = [row for row in rows if row.contender == name]
        places = [cases.index(row.streams) + _offset(number, len(names)) for row in own]
        heights = [row.tokens_per_cpu_second for row in own]
        axes.bar(places, heights, 0.8 / len(names), label=name, color=_COLOUR_OF[name])
    axes.set_title(f"{shape} shape, one core")
    _finish(axes, [case_name(streams) for streams in cases], "tokens a CPU second")


def _draw_http(axes: Axes, rows: Sequence[HttpRow]) -> None:
    cases = sorted({row.streams for row in rows})
    names = list(dict.fromkeys(row.server for row in rows))
    for number, name in enumerate(names):
        own = [row for row in rows if row.server == name]
        places = [cases.index(row.streams) + _offset(number, len(names)) for row in own]
        colour = _COLOURS[number]
        axes.bar(places, [row.tokens_per_second for row in own], 0.8 / len(names), label=name, color=colour)
        for place, row in zip(places, own, strict=True):
            text = f"{row.first_token_ms:.0f} ms"
            axes.annotate(text, (place, row.tokens_per_second), ha="center", va="bottom", fontsize=8)
    axes.set_title("over HTTP, shipped model (above bars: time to first token)")
    _finish(axes, [case_name(streams) for streams in cases], "tokens/s delivered")


def _offset(number: int, num_bars: int) -> float:
    return 0.8 * ((number + 0.5) / num_bars - 0.5)


def _finish(axes: Axes, labels: Sequence[str], unit: str) -> None:
    axes.set_yscale("log")
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.1))
