"""Plots of a run as SVG: rules against their thresholds, figures before and after, curves over the steps.

The same figures give the same bytes: bundles are named by their digest.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from training.evaluation.figures import Figure
from training.evaluation.reporting.gate_report import Rule

_BLUE, _GREEN, _RED, _GREY = "#0072b2", "#009e73", "#a30000", "#999999"
_ROW_INCHES = 0.42
_MAX_TICKS = 4
_MARGIN = 0.15
_SETTINGS: dict[Any, Any] = {"svg.hashsalt": "rejoinder", "svg.fonttype": "path", "font.size": 9}

Curve = Sequence[tuple[int, float]]


def rules_plot(rules: Sequence[Rule]) -> bytes:
    """A row for each measured rule, on a scale of its own: what is allowed in green, what was found as a point."""
    shown = [rule for rule in rules if rule.measured is not None]
    canvas = _canvas(7.5, 0.3 + _ROW_INCHES * max(1, len(shown)))
    grid = canvas.subplots(max(1, len(shown)), 1, squeeze=False)
    for axes, rule in zip(grid[:, 0], shown, strict=False):
        _draw_rule(axes, rule)
    if not shown:
        grid[0, 0].set_axis_off()
    return _svg(canvas)


def _draw_rule(axes: Axes, rule: Rule) -> None:
    numbers = [rule.measured, rule.low, rule.high, rule.at_least, rule.at_most]
    known = [number for number in numbers if number is not None]
    spread = max(known) - min(known) or abs(known[0]) or 1.0
    left, right = min(known) - _MARGIN * spread, max(known) + _MARGIN * spread
    allowed = (left if rule.at_least is None else rule.at_least, right if rule.at_most is None else rule.at_most)
    axes.axvspan(*allowed, color=_GREEN, alpha=0.18, linewidth=0)
    colour = _BLUE if rule.passed else _RED
    if rule.low is not None and rule.high is not None:
        axes.plot([rule.low, rule.high], [0, 0], color=colour, linewidth=2)
    axes.plot([rule.measured or 0.0], [0], marker="o" if rule.passed else "X", color=colour, markersize=6)
    axes.set(xlim=(left, right), ylim=(-1, 1), yticks=[])
    axes.locator_params(axis="x", nbins=_MAX_TICKS)
    axes.tick_params(axis="x", labelsize=6, length=2, pad=1)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.set_ylabel(rule.name.replace("_", " "), rotation=0, ha="right", va="center")


def before_after_plot(pairs: Mapping[str, tuple[Figure, Figure]]) -> bytes:
    """Shares of both policies with their 95 % intervals, a row each."""
    canvas = _canvas(7.5, 0.9 + 0.42 * len(pairs))
    axes = canvas.subplots()
    for row, (before, after) in enumerate(reversed(list(pairs.values()))):
        for offset, figure, colour in ((0.14, before, _GREY), (-0.14, after, _BLUE)):
            axes.plot([100 * figure.low, 100 * figure.high], [row + offset] * 2, color=colour, linewidth=2)
            axes.plot([100 * figure.value], [row + offset], marker="o", color=colour, markersize=5)
    axes.plot([], [], marker="o", color=_GREY, label="before")
    axes.plot([], [], marker="o", color=_BLUE, label="candidate")
    axes.set(xlim=(-2, 102), xlabel="share of replies, %", yticks=range(len(pairs)))
    axes.set_yticklabels([name.replace("_", " ") for name in reversed(list(pairs))])
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8, frameon=False)
    axes.grid(axis="x", alpha=0.3)
    return _svg(canvas)


def curves_plot(curves: Mapping[str, Curve]) -> bytes:
    """A small plot for each curve, over the steps; two side by side. Raises ValueError without a curve."""
    if not curves:
        raise ValueError("no curve to draw")
    num_rows = -(-len(curves) // 2)
    canvas = _canvas(7.5, 1.9 * num_rows)
    grid = canvas.subplots(num_rows, 2, squeeze=False)
    for axes, (name, curve) in zip(grid.flat, curves.items(), strict=False):
        steps, values = zip(*curve, strict=True)
        axes.plot(steps, values, color=_BLUE, linewidth=1.2, marker="." if len(curve) < 60 else None)
        axes.set_title(name.replace("_", " "), fontsize=9)
        axes.grid(alpha=0.3)
    for axes in list(grid.flat)[len(curves) :]:
        axes.set_axis_off()
    return _svg(canvas)


def _canvas(width: float, height: float) -> Canvas:
    canvas = Canvas(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(canvas)
    return canvas


def _svg(canvas: Canvas) -> bytes:
    stream = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        canvas.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()
