"""What a sweep has measured: as rows of a Markdown table, as JSON that the next run goes on from, and as a plot."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from pydantic import BaseModel, ConfigDict

from model_store.durable import replace_file
from training.evaluation.figures import Figure

TEACHER = "linear teacher"
ROWS_FILE, PLOT_FILE = "sweep.json", "sweep"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Okabe and Ito's, which nearly everybody can tell apart."""
_DODGE = 1.03
"""How far the next share's points stand to the right, so that intervals do not hide each other."""


class Settings(BaseModel):
    """What rows must have in common to stand in one table."""

    model_config = ConfigDict(frozen=True)

    config: str
    """Digest of the configuration that the optimisers' settings are from."""
    pack_asks: int
    num_tokens: int
    batch_tokens: int
    num_asks: int
    """Messages drawn with their plan, for each share."""
    num_mixtures: int
    seed: int
    num_threads: int


class Cost(BaseModel):
    """What a network is and what it took to train it."""

    model_config = ConfigDict(frozen=True)

    parameters: int
    num_tokens: int
    asks_read: int
    mixtures_read: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Padding included, as in training."""
        return self.num_tokens / max(self.seconds, 1e-9)


class Row(BaseModel):
    """How often a network, or the teacher alone, is right about held-out asks, by language."""

    model_config = ConfigDict(frozen=True)

    network: str
    share: float
    pack_asks: int
    right_plan: dict[str, Figure]
    cost: Cost | None = None


class Measured(BaseModel):
    """All rows that were measured under the same settings."""

    model_config = ConfigDict(frozen=True)

    settings: Settings
    rows: tuple[Row, ...] = ()

    def row(self, network: str, share: float) -> Row | None:
        """The row of that network and share, if it has been measured."""
        return next((row for row in self.rows if (row.network, row.share) == (network, share)), None)

    def with_row(self, row: Row) -> "Measured":
        """These rows and another one."""
        return Measured(settings=self.settings, rows=(*self.rows, row))

    def save(self, folder: Path) -> None:
        """Writes the JSON file."""
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / ROWS_FILE, self.model_dump_json(indent=1).encode())


def load_measured(folder: Path, settings: Settings) -> Measured:
    """What an earlier run has measured under the same settings; nothing where they differ."""
    path = folder / ROWS_FILE
    if path.exists():
        found = Measured.model_validate_json(path.read_text(encoding="utf-8"))
        if found.settings == settings:
            return found
    return Measured(settings=settings)


def table_head(settings: Settings, languages: Sequence[str]) -> str:
    """One line on the settings, then the table's first two lines."""
    columns = ("network", "parameters", "asks of the pack", *(f"right plan {code}" for code in languages))
    columns = (*columns, "asks / mixtures read", "tokens/s", "seconds")
    return (
        f"Plan-only windows from fresh weights, {settings.num_tokens:,} tokens, {settings.batch_tokens:,} a batch, "
        f"{settings.num_asks:,} asks and {settings.num_mixtures:,} mixtures drawn, {settings.num_threads} threads, "
        f"seed {settings.seed}.\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}"
    )


def table_row(row: Row, languages: Sequence[str]) -> str:
    """One line of the table."""
    cells = [row.network, "–", f"{row.share:.0%}: {row.pack_asks:,}", "–", "–", "–"]
    if cost := row.cost:
        cells[1] = f"{cost.parameters / 1e6:.2f} M"
        cells[3:] = (
            f"{cost.asks_read:,} / {cost.mixtures_read:,}",
            f"{cost.tokens_per_second:,.0f}",
            f"{cost.seconds:,.0f}",
        )
    right = [_in_percent(row.right_plan[language]) for language in languages]
    return f"| {' | '.join([*cells[:3], *right, *cells[3:]])} |"


def _in_percent(figure: Figure) -> str:
    return f"{100 * figure.value:.1f} % [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"


def save_plot(rows: Iterable[Row], folder: Path) -> None:
    """Writes `sweep.png` and `sweep.svg`: right plans against parameters, a panel a language, a line a share."""
    rows = sorted(rows, key=lambda row: row.share)
    languages = sorted({language for row in rows for language in row.right_plan})
    canvas = Canvas(figsize=(4.5 * len(languages), 4.5), layout="constrained")
    FigureCanvasAgg(canvas)
    panels = canvas.subplots(1, len(languages), sharey=True, squeeze=False)[0]
    for axes, language in zip(panels, languages, strict=True):
        _draw_panel(axes, rows, language)
    panels[0].set_ylabel("right plan on held-out asks, %")
    panels[0].set_ylim(bottom=0)
    canvas.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    with matplotlib.rc_context({"svg.hashsalt": "sweep"}):  # the same figures give the same bytes
        canvas.savefig(folder / f"{PLOT_FILE}.png", dpi=150)
        canvas.savefig(folder / f"{PLOT_FILE}.svg", metadata={"Date": None})


def _draw_panel(axes: Axes, rows: Sequence[Row], language: str) -> None:
    axes.set_xscale("log")
    for number, share in enumerate(sorted({row.share for row in rows})):
        colour = _COLOURS[number % len(_COLOURS)]
        label = f"{share:.0%} of the asks"
        of_share = [row for row in rows if row.share == share]
        for row in of_share:
            if row.cost is None:
                height = 100 * row.right_plan[language].value
                axes.axhline(height, color=colour, linestyle="--", linewidth=1, label=f"{row.network}, {label}")
        curve = axes.errorbar(*_points(of_share, language, _DODGE**number), color=colour, marker="o", capsize=3)
        curve.set_label(label)
    sizes = {row.network: _millions(row.cost) for row in rows if row.cost}
    axes.set_xticks(list(sizes.values()), [f"{name}\n{size:.1f} M" for name, size in sizes.items()])
    axes.minorticks_off()
    axes.set_title(language)
    axes.set_xlabel("network, parameters")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)


def _points(rows: Sequence[Row], language: str, dodge: float) -> tuple[list[float], list[float], list[list[float]]]:
    """Sizes, heights and the intervals' arms below and above, from the smallest network to the largest."""
    measured = [(dodge * _millions(row.cost), row.right_plan[language]) for row in rows if row.cost]
    points = sorted(measured, key=lambda point: point[0])
    heights = [100 * figure.value for _, figure in points]
    below = [100 * (figure.value - figure.low) for _, figure in points]
    above = [100 * (figure.high - figure.value) for _, figure in points]
    return [size for size, _ in points], heights, [below, above]


def _millions(cost: Cost) -> float:
    return cost.parameters / 1e6
