"""The matrix: what each version is worth to each crowd, round after round, as text and as a heat map."""

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from pydantic import BaseModel

from model_store.digest import short
from tests.benchmarks.continual.crowds import CROWDS, Scores
from tests.benchmarks.continual.rounds import Round
from training.evaluation.figures import Figure

FILE_NAME = "continual"
_GOLD, _RESERVED = "gold", "nobody's topics"


class Report(BaseModel):
    """Everything that was measured."""

    preset: str
    machine: str
    algorithm: str
    num_prompts: int
    num_draws: int
    first: Scores
    rounds: tuple[Round, ...]
    num_missing: int
    """Rounds that there was no time for."""

    def save(self, folder: Path) -> None:
        """Writes `continual.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{FILE_NAME}.json").write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def versions(self) -> list[tuple[str, Scores]]:
        """What was served, before the first round and after each, with its scores."""
        return [("before", self.first), *((f"after {one.number} ({one.outcome})", one.after) for one in self.rounds)]

    @property
    def worse_on_gold(self) -> list[Round]:
        """Rounds that published a version that is surely worse on the gold set than the one before it."""
        published = [one for one in self.rounds if one.outcome == "published" and one.gold_change is not None]
        return [one for one in published if one.gold_change is not None and one.gold_change.high < 0]


def row_of(scores: Scores) -> list[float]:
    """A version's scores in the columns' order."""
    return [*(scores.thumbs_up[crowd.name] for crowd in CROWDS), scores.gold_share, scores.reserved]


def lines(report: Report) -> list[str]:
    """The matrix and what happened in each round, as Markdown."""
    names = [*(crowd.name for crowd in CROWDS), _GOLD, _RESERVED]
    head = [
        f"Preset {report.preset}, {report.algorithm}; {report.num_prompts} asks that nobody rated and as many held-out"
        f" ones, {report.num_draws} replies to each; 10 % of the thumbs are wrong; {report.machine}.",
        "Thumbs up by crowd (its asks, its tastes, no noise); gold: held-out asks answered right, whole and in the"
        " language; the last column: the same over asks that training knows, of topics that nobody rates.",
        "",
        "| served | " + " | ".join(names) + " | KL from the first | distinct-2 |",
        "|---|" + "--:|" * (len(names) + 2),
    ]
    matrix = [
        f"| {name} | "
        + " | ".join(f"{share:.1%}" for share in row_of(scores))
        + f" | {scores.kl_from_first:.2f} | {scores.distinct2:.3f} |"
        for name, scores in report.versions()
    ]
    rounds = [line for one in report.rounds for line in _told(one, report)]
    missing = [f"Rounds without time: {report.num_missing}. Run it again to go on."] if report.num_missing else []
    return [*head, *matrix, "", *rounds, "", _verdict(report), *missing]


def _told(one: Round, report: Report) -> list[str]:
    """A round in a sentence, and why the gate refused."""
    served = f" as {short(one.version)}" if one.outcome == "published" else ""
    told = f"Round {one.number} ({one.crowd}): {one.num_ratings} ratings, {one.num_up} up; {one.outcome}{served}"
    if one.candidate is None or one.gold_change is None:
        return [f"{told}."]
    before = report.versions()[one.number - 1][1]
    figures = {
        "its own crowd": f"{before.thumbs_up[one.crowd]:.1%} → {one.candidate.thumbs_up[one.crowd]:.1%}",
        "gold": _points(one.gold_change),
        "nobody's topics": f"{before.reserved:.1%} → {one.candidate.reserved:.1%}",
        "KL": f"{one.kl or 0.0:.2f} nats",
    }
    measured = ", ".join(f"{name} {figure}" for name, figure in figures.items())
    return [f"{told}; {measured}; {one.seconds:.0f} s.", *(f"  - {reason}" for reason in one.reasons)]


def _verdict(report: Report) -> str:
    num_published = sum(one.outcome == "published" for one in report.rounds)
    worse = report.worse_on_gold
    if worse:
        named = ", ".join(str(one.number) for one in worse)
        return f"Of {num_published} published versions {len(worse)} are surely worse on the gold set (rounds {named})."
    lower = [
        one for one in report.rounds if one.outcome == "published" and one.gold_change and one.gold_change.value < 0
    ]
    return (
        f"Of {num_published} published versions none is surely worse on the gold set than the one before it;"
        f" {len(lower)} scored lower, within chance."
    )


def _points(change: Figure) -> str:
    return f"{100 * change.value:+.1f} points [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"


def save_plot(report: Report, folder: Path) -> None:
    """Writes `continual.png` and `continual.svg`; the same figures give the same bytes."""
    canvas = Canvas(figsize=(11, 1.6 + 0.55 * len(report.versions())), layout="constrained")
    FigureCanvasAgg(canvas)
    _draw(canvas.subplots(), report)
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "bench"}):
        canvas.savefig(folder / f"{FILE_NAME}.png", dpi=150)
        canvas.savefig(folder / f"{FILE_NAME}.svg", metadata={"Date": None})


def _draw(axes: Axes, report: Report) -> None:
    """Shares as numbers, coloured by what was gained or lost since before the first round."""
    versions = report.versions()
    rows = [row_of(scores) for _, scores in versions]
    changes = [[share - first for share, first in zip(row, rows[0], strict=True)] for row in rows]
    widest = max(0.05, max(abs(change) for row in changes for change in row))
    axes.imshow(changes, cmap="PuOr", vmin=-widest, vmax=widest, aspect="auto")
    for y, row in enumerate(rows):
        for x, share in enumerate(row):
            colour = "white" if abs(changes[y][x]) > 0.7 * widest else "black"
            axes.text(x, y, f"{share:.0%}", ha="center", va="center", color=colour, fontsize=10)
    names = [*(crowd.name.replace(": ", ":\n", 1) for crowd in CROWDS), _GOLD, "nobody's\ntopics"]
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_yticks(
        range(len(versions)), [f"{name}, KL {scores.kl_from_first:.1f}" for name, scores in versions], fontsize=8
    )
    axes.set_title("Thumbs up by crowd, and right answers; colours: since before the first round", fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
