"""The reliability plot: what replies were given against how many were liked, a line a model. PNG and SVG."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from training.evaluation.rewarding.reliability import Reliability

PLOT_NAME = "reward_reliability"
_COLOURS = ("#0072b2", "#d55e00", "#009e73")
"""Okabe and Ito's, which nearly everybody can tell apart."""


def save_reliability_plot(lines: Mapping[str, Reliability], folder: Path, *, title: str) -> list[Path]:
    """Writes `reward_reliability.png` and `.svg`; the same figures give the same bytes. Returns both paths."""
    canvas = Canvas(figsize=(5.5, 5), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="dotted", label="perfectly calibrated")
    for (name, found), colour in zip(lines.items(), _COLOURS, strict=False):
        expected, liked = ([each.expected for each in found.bins], [each.liked.value for each in found.bins])
        below = [max(0.0, each.liked.value - each.liked.low) for each in found.bins]
        above = [max(0.0, each.liked.high - each.liked.value) for each in found.bins]
        label = f"{name}: calibration error {found.calibration_error:.3f}"
        axes.errorbar(expected, liked, [below, above], color=colour, marker="o", capsize=3, linewidth=1.2, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="expected share of thumbs up", ylabel="thumbs up, 95 % interval")
    axes.set_title(title, fontsize=10)
    axes.legend(loc="upper left", fontsize=8)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{PLOT_NAME}.png", folder / f"{PLOT_NAME}.svg"]
    with matplotlib.rc_context({"svg.hashsalt": PLOT_NAME}):
        canvas.savefig(paths[0], dpi=150)
        canvas.savefig(paths[1], metadata={"Date": None})
    return paths
