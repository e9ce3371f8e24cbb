"""`python -m tests.benchmarks.bench_long`: time and memory of long prompts, read exactly, hashed, and by Hugging Face.

Three ways to read the same number of tokens, on one core, each in a process of its own: this engine's exact pieces, its
hashed pieces, and the stock `ReformerModelWithLMHead` in one forward pass, hashed, in float32, with logits of every
position. Medians of several texts; where hashed pieces begin to cost less than exact ones is interpolated between the
lengths. The network is the shipped one with more positions: its weights matter to neither time nor memory. What is in
the output folder already, measured with the same settings, is not measured again.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from model_store.contract.manifest import Hashing
from tests.benchmarks.engines.shapes import SHAPES
from tests.benchmarks.long_prompts.network import write_network
from tests.benchmarks.long_prompts.reading import EXACT, HASHED, HUGGING_FACE, WAYS
from training.config import load_config

LENGTHS = (512, 1024, 2048, 4096, 8192, 16_384)
QUICK_LENGTHS = (512, 1024)
_CONFIG = Path("training/configs/long.yaml")
_COLOURS = {EXACT: "#0072b2", HASHED: "#d55e00", HUGGING_FACE: "#009e73"}


@dataclass(frozen=True)
class Reading:
    """What reading one length one way took."""

    way: str
    length: int
    cpu_seconds: float
    wall_seconds: float
    peak_megabytes: float
    """Of the whole process, with all that its libraries take."""
    peak_megabytes_before: float
    """The same after a text of 100 tokens: what is more came from the length."""
    places: int = 0
    """Of the bucket tables, where it is hashed pieces that read."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the tables and writes JSON and plots; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_long", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two lengths, one text each")
    parser.add_argument("--lengths", type=int, nargs="+", help=f"default: {' '.join(map(str, LENGTHS))}")
    parser.add_argument("--rounds", type=int, default=3, help="texts a length; default: 3")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--shape", choices=SHAPES, default="shipped")
    parser.add_argument("--num-hashes", type=int)
    parser.add_argument("--num-buckets", type=int)
    parser.add_argument("--bucket-window", type=int)
    parser.add_argument("--output", type=Path, default=Path("runs/bench"), help="folder; default: runs/bench")
    options = parser.parse_args(arguments)
    lengths = options.lengths or (QUICK_LENGTHS if options.quick else LENGTHS)
    rounds = 1 if options.quick else options.rounds
    hashing = _hashing(options)
    print(f"{hashing.num_hashes} rounds, {hashing.num_buckets} buckets, {hashing.bucket_window} tokens a bucket")
    with tempfile.TemporaryDirectory() as folder:
        write_network(options.shape, Path(folder), max(lengths) + 64, hashing)
        places = hashing.num_hashes * hashing.num_buckets * hashing.bucket_window
        book = _Book(options.output, {"shape": options.shape, "rounds": rounds}, places)
        for length in lengths:
            for way in options.ways:
                if book.find(way, length) is None:
                    book.add(_measure(Path(folder), way, length, rounds))
    readings = [found for length in lengths for way in options.ways if (found := book.find(way, length)) is not None]
    print(table(readings))
    save_plot(readings, options.output)
    return 0


class _Book:
    """What was measured with these settings, in a file that is written after every reading."""

    def __init__(self, folder: Path, settings: dict[str, object], places: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "bench_long.json"
        self._settings = settings
        self._places = places
        written = json.loads(self._path.read_text(encoding="utf-8")) if self._path.exists() else {}
        is_same = {name: written.get(name) for name in settings} == settings
        self._readings = [Reading(**entry) for entry in written["readings"]] if is_same else []

    def find(self, way: str, length: int) -> Reading | None:
        """A reading, if there is one."""
        wanted = (way, length, self._places if way == HASHED else 0)
        return next((own for own in self._readings if (own.way, own.length, own.places) == wanted), None)

    def add(self, reading: Reading) -> None:
        """Keeps a reading."""
        self._readings.append(replace(reading, places=self._places if reading.way == HASHED else 0))
        written = {**self._settings, "readings": [asdict(reading) for reading in self._readings]}
        self._path.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


def table(readings: Sequence[Reading]) -> str:
    """Both tables, the ratios and the crossover, for people."""
    found = {(reading.way, reading.length): reading for reading in readings}
    lengths = sorted({reading.length for reading in readings})
    ways = [way for way in WAYS if (way, lengths[0]) in found]
    lines = []
    for title, unit in (
        ("CPU seconds", "cpu"),
        ("wall seconds", "wall"),
        ("peak MB (more than at 100 tokens)", "peak"),
    ):
        lines.append(f"{title:>34}" + "".join(f"{length:>16,}" for length in lengths))
        for way in ways:
            cells = "".join(f"{_cell(found[way, length], unit):>16}" for length in lengths)
            lines.append(f"{way:>34}{cells}")
    if EXACT in ways and HASHED in ways:
        for name, way in (("exact / hashed, CPU", EXACT), ("Hugging Face / hashed, CPU", HUGGING_FACE)):
            if way in ways:
                ratios = "".join(f"{ratio(found, way, length):>16.2f}" for length in lengths)
                lines.append(f"{name:>34}{ratios}")
        lines.append(crossover_text([(length, ratio(found, EXACT, length)) for length in lengths]))
    return "\n".join(lines)


def ratio(found: dict[tuple[str, int], Reading], way: str, length: int) -> float:
    """A way's CPU time over that of hashed pieces."""
    return found[way, length].cpu_seconds / found[HASHED, length].cpu_seconds


def crossover(ratios: Sequence[tuple[int, float]]) -> float | None:
    """The length from which on exact pieces cost more than hashed ones: where the ratio passes 1, on logarithms.

    `ratios` are (length, exact / hashed), ascending by length. None where they never cost more.
    """
    if ratios[-1][1] <= 1:
        return None
    for (shorter, low), (longer, high) in reversed(list(zip(ratios, ratios[1:], strict=False))):
        if low <= 1:
            share = -math.log(low) / (math.log(high) - math.log(low))
            return float(shorter * (longer / shorter) ** share)
    return float(ratios[0][0])


def crossover_text(ratios: Sequence[tuple[int, float]]) -> str:
    """The crossover as a sentence."""
    length = crossover(ratios)
    if length is None:
        return "Hashed pieces cost more at every length."
    if length == ratios[0][0]:
        return f"Hashed pieces cost less at every length from {length:,.0f} tokens on."
    return f"Hashed pieces cost less from about {length:,.0f} tokens on."


def save_plot(readings: Sequence[Reading], folder: Path) -> None:
    """Writes `bench_long.png` and `bench_long.svg`; the same figures give the same bytes."""
    canvas = Canvas(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(canvas)
    time_axes, memory_axes = canvas.subplots(1, 2)
    for way in dict.fromkeys(reading.way for reading in readings):
        own = [reading for reading in readings if reading.way == way]
        lengths = [reading.length for reading in own]
        time_axes.plot(lengths, [r.cpu_seconds for r in own], marker="o", label=way, color=_COLOURS[way])
        memory_axes.plot(lengths, [r.peak_megabytes for r in own], marker="o", label=way, color=_COLOURS[way])
    ticks = sorted({reading.length for reading in readings})
    for axes, unit in ((time_axes, "CPU seconds to the first token"), (memory_axes, "peak MB of the process")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(ticks, [f"{length:,}" for length in ticks])
        axes.set_xlabel("tokens of the prompt")
        axes.set_ylabel(unit)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    with matplotlib.rc_context({"svg.hashsalt": "bench"}):
        canvas.savefig(folder / "bench_long.png", dpi=150)
        canvas.savefig(folder / "bench_long.svg", metadata={"Date": None})


def _hashing(options: argparse.Namespace) -> Hashing:
    """What the configuration says, but for what the command line says."""
    lengthening = load_config(_CONFIG).lengthening
    assert lengthening is not None
    said = {name: getattr(options, name) for name in ("num_hashes", "num_buckets", "bucket_window")}
    said["hash_beyond"] = 1  # each way is told what to do
    return lengthening.hashing.model_copy(update={name: value for name, value in said.items() if value is not None})


def _measure(folder: Path, way: str, length: int, rounds: int) -> Reading:
    command = [sys.executable, "-m", "tests.benchmarks.long_prompts.reading", str(folder), "--way", way]
    command += ["--length", str(length), "--rounds", str(rounds)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    reading = Reading(way, length, **json.loads(printed.splitlines()[-1]))
    print(f"{way}, {length:,} tokens: {reading.cpu_seconds:.3f} s", file=sys.stderr, flush=True)
    return reading


def _cell(reading: Reading, unit: str) -> str:
    if unit == "peak":
        more = reading.peak_megabytes - reading.peak_megabytes_before
        return f"{reading.peak_megabytes:,.0f} (+{more:,.0f})"
    return f"{reading.cpu_seconds if unit == 'cpu' else reading.wall_seconds:.3f}"


if __name__ == "__main__":
    sys.exit(main())
