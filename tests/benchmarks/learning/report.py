"""The table and the plot of `make bench-learning`, and what is aimed at."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from pydantic import BaseModel

from model_store.shares import Count
from tests.benchmarks.learning.cells import Before, Cell
from tests.benchmarks.learning.presets import OF_TRL

FILE_NAME = "learning"
_COLOURS = ("#0072b2", "#d55e00", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
"""Okabe and Ito's, which nearly everybody can tell apart."""
_MAX_KL, _MIN_ENDINGS, _MIN_DISTINCT2_RATIO = 3.0, 0.97, 0.7
_MIN_HEADROOM = {150: 0.5, 1500: 0.75}
_MIN_TIMES_TRL = 2.0


class Report(BaseModel):
    """Everything that was measured."""

    preset: str
    machine: str
    before: Before
    cells: tuple[Cell, ...]
    num_missing: int = 0
    """Cells that there was no time for."""
    not_run: dict[str, str] = {}
    """Algorithms that could not be measured here, and why."""

    def save(self, folder: Path) -> None:
        """Writes `learning.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{FILE_NAME}.json").write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def headroom_closed(self, cells: Sequence[Cell]) -> float | None:
        """Share of the way from before to the best of the samples that these cells went; None where there is none."""
        room = self.before.best - self.before.thumbs_up
        return (_mean(cells, lambda cell: cell.thumbs_up) - self.before.thumbs_up) / room if room > 0 else None

    def gain(self, cells: Sequence[Cell]) -> float:
        """Points of thumbs up won in a CPU minute of learning."""
        points = 100 * (_mean(cells, lambda cell: cell.thumbs_up) - self.before.thumbs_up)
        return points / (_mean(cells, lambda cell: cell.cpu_seconds) / 60)

    def groups(self) -> dict[tuple[str, int], list[Cell]]:
        """Cells by algorithm and number of ratings, in the order in which they came first."""
        keys = dict.fromkeys((cell.algorithm, cell.num_ratings) for cell in self.cells)
        ordered = sorted(keys, key=lambda key: ([name for name, _ in keys].index(key[0]), key[1]))
        return {key: [c for c in self.cells if (c.algorithm, c.num_ratings) == key] for key in ordered}


def lines(report: Report) -> list[str]:
    """The table as Markdown."""
    before = report.before
    share = Count(before.num_up, before.num_replies).share
    head = [
        f"Preset {report.preset}: {before.num_parameters:,} parameters; {before.num_prompts} prompts that nobody rated;"
        f" 10 % of the thumbs are wrong; {report.machine}.",
        f"Before: {share.value:.1%} [{share.low:.1%}, {share.high:.1%}] thumbs up; best of {before.num_samples} by the"
        f" customers' true taste {before.best:.1%}; distinct-2 {before.distinct2:.3f}; ends properly"
        f" {before.proper_endings:.1%}.",
        "",
        "| algorithm | ratings | seeds | thumbs up (lowest, highest) | headroom closed | points a CPU minute"
        " | CPU seconds | KL, nats | distinct-2 | ends properly | kept of the way |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    rows = [_row(report, name, num_ratings, cells) for (name, num_ratings), cells in report.groups().items()]
    rows += [f"| {name} | not run: {reason} {'| ' * 9}|" for name, reason in report.not_run.items()]
    missing = [f"Cells without time: {report.num_missing}. Run it again to go on."] if report.num_missing else []
    return [*head, *rows, "", *_aims(report), *_beside_trl(report), *missing]


def _row(report: Report, name: str, num_ratings: int, cells: Sequence[Cell]) -> str:
    ups = [cell.thumbs_up for cell in cells]
    closed = report.headroom_closed(cells)
    seconds = _mean(cells, lambda cell: cell.cpu_seconds)
    columns = [
        name,
        str(num_ratings),
        str(len(cells)),
        f"{fmean(ups):.1%} ({min(ups):.1%}, {max(ups):.1%})",
        "–" if closed is None else f"{closed:.0%}",
        f"{report.gain(cells):+.1f}",
        f"{seconds:.0f}",
        f"{_mean(cells, lambda cell: cell.kl):.2f}",
        f"{_mean(cells, lambda cell: cell.distinct2):.3f}",
        f"{_mean(cells, lambda cell: cell.proper_endings):.1%}",
        f"{_mean(cells, lambda cell: cell.share_kept):.0%}",
    ]
    return "| " + " | ".join(columns) + " |"


def _aims(report: Report) -> list[str]:
    """Every aim with the algorithms that meet it: means over seeds."""
    found = []
    groups = report.groups()
    for num_ratings, least in _MIN_HEADROOM.items():
        at = {name: cells for (name, number), cells in groups.items() if number == num_ratings}
        if at:
            met = [name for name, cells in at.items() if (report.headroom_closed(cells) or 0.0) >= least]
            found.append(f"Headroom closed by {least:.0%} with {num_ratings:,} ratings: {_named(met)}.")
    bounds: tuple[tuple[str, Callable[[Cell], bool]], ...] = (
        (f"KL at most {_MAX_KL} nats", lambda cell: cell.kl <= _MAX_KL),
        (f"Proper endings at least {_MIN_ENDINGS:.0%}", lambda cell: cell.proper_endings >= _MIN_ENDINGS),
        (
            f"Distinct-2 at least {_MIN_DISTINCT2_RATIO} of before",
            lambda cell: cell.distinct2 >= _MIN_DISTINCT2_RATIO * report.before.distinct2,
        ),
    )
    names = dict.fromkeys(cell.algorithm for cell in report.cells)
    for text, holds in bounds:
        met = [name for name in names if all(holds(cell) for cell in report.cells if cell.algorithm == name)]
        found.append(f"{text}, in every cell: {_named(met)}.")
    return found


def _beside_trl(report: Report) -> list[str]:
    """What ours wins in a CPU minute as a multiple of what TRL's wins, by the number of ratings."""
    groups, found = report.groups(), []
    for (name, num_ratings), cells in groups.items():
        ours = groups.get((OF_TRL.get(name, ""), num_ratings))
        if ours:
            own_gain, its_gain = report.gain(ours), report.gain(cells)
            times = f"{own_gain / its_gain:.1f} times" if its_gain > 0 else "no factor, for TRL won nothing"
            found.append(
                f"Points a CPU minute with {num_ratings:,} ratings, {OF_TRL[name]} against {name}: {times}"
                f" ({own_gain:+.1f}, {its_gain:+.1f}; aim: {_MIN_TIMES_TRL:.0f} times)."
            )
    return found


def _named(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none"


def _mean(cells: Iterable[Cell], figure: Callable[[Cell], float]) -> float:
    return fmean(map(figure, cells))


def save_plot(report: Report, folder: Path) -> None:
    """Writes `learning.png` and `learning.svg`; the same figures give the same bytes."""
    if not report.cells:
        return
    canvas = Canvas(figsize=(16, 4.8), layout="constrained")
    FigureCanvasAgg(canvas)
    by_ratings, by_seconds, by_kl = canvas.subplots(1, 3)
    _draw_by_ratings(by_ratings, report)
    _draw_scatter(by_seconds, report, lambda cell: cell.cpu_seconds, "CPU seconds of learning")
    by_seconds.set_xscale("log")
    _draw_scatter(by_kl, report, lambda cell: cell.kl, "KL from the base, nats a completion")
    by_kl.axvline(_MAX_KL, color="#555555", linewidth=0.8, linestyle=":")
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "bench"}):
        canvas.savefig(folder / f"{FILE_NAME}.png", dpi=150)
        canvas.savefig(folder / f"{FILE_NAME}.svg", metadata={"Date": None})


def _draw_by_ratings(axes: Axes, report: Report) -> None:
    for name, colour in _colours(report).items():
        groups = {number: cells for (algorithm, number), cells in report.groups().items() if algorithm == name}
        means = [_mean(cells, lambda cell: cell.thumbs_up) for cells in groups.values()]
        axes.plot(list(groups), means, color=colour, marker="o", label=name)
        own = [cell for cell in report.cells if cell.algorithm == name]
        axes.scatter([cell.num_ratings for cell in own], [cell.thumbs_up for cell in own], color=colour, s=9, alpha=0.6)
    numbers = sorted({cell.num_ratings for cell in report.cells})
    axes.set_xscale("log")
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
    axes.minorticks_off()
    _finish(axes, report, "ratings")
    axes.legend(frameon=False, fontsize=8)


def _draw_scatter(axes: Axes, report: Report, figure: Callable[[Cell], float], label: str) -> None:
    for name, colour in _colours(report).items():
        own = [cell for cell in report.cells if cell.algorithm == name]
        sizes = [14 + cell.num_ratings**0.5 for cell in own]
        axes.scatter(list(map(figure, own)), [cell.thumbs_up for cell in own], color=colour, s=sizes, alpha=0.75)
    _finish(axes, report, f"{label} (larger: more ratings)")


def _finish(axes: Axes, report: Report, label: str) -> None:
    for share, text in (
        (report.before.thumbs_up, "before"),
        (report.before.best, f"best of {report.before.num_samples}"),
    ):
        axes.axhline(share, color="#555555", linewidth=0.8, linestyle="--")
        axes.annotate(text, (0.01, share), xycoords=("axes fraction", "data"), va="bottom", fontsize=8, color="#555555")
    axes.set_xlabel(label)
    axes.set_ylabel("thumbs up on prompts that nobody rated")
    axes.set_ylim(0, min(1.0, max(report.before.best, *(cell.thumbs_up for cell in report.cells)) + 0.1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)


def _colours(report: Report) -> dict[str, str]:
    names = dict.fromkeys(cell.algorithm for cell in report.cells)
    return {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}
