"""`make bench`: this engine beside others on networks of the same shape, and the service over HTTP.

Prints tables, ratios and aims; writes `bench.json`, `bench.png` and `bench.svg`. On two idle cores the whole takes less
than a quarter of an hour. Read next: `engines.rounds` and `over_http.http_rounds`.
"""

import argparse
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from model_store.store import DEFAULT_BUNDLE
from tests.benchmarks.bench_plot import PLOT_FILE, save_plot
from tests.benchmarks.bench_report import Report, lines
from tests.benchmarks.engines.rounds import Plan, measure
from tests.benchmarks.engines.shapes import SHAPES, llama_shape, matrix_sizes, num_weights
from tests.benchmarks.over_http.http_rounds import HttpPlan, measure_http

ENGINES, HTTP = "engines", "http"
_LIBRARIES = ("onnxruntime", "torch", "transformers", "llama-cpp-python")


def main(arguments: list[str] | None = None) -> int:
    """Measures what is asked for. Returns the exit code: 0 whether or not aims are met."""
    options = _parser().parse_args(arguments)
    report = Report(
        machine=describe_machine(),
        versions=_versions(),
        matmul_megabytes=_matmul_megabytes(options.shapes),
        bundle_megabytes=sum(path.stat().st_size for path in DEFAULT_BUNDLE.iterdir()) / 1e6,
    )
    if ENGINES in options.parts:
        plan = Plan(
            shapes=tuple(options.shapes),
            streams=tuple(options.streams or ((1, 4) if options.quick else (1, 4, 16, 64))),
            rounds=options.rounds or (2 if options.quick else 5),
            steps=16 if options.quick else 40,
            series=1 if options.quick else 4,
        )
        report = report.model_copy(update={"engines": tuple(measure(plan))})
        report.save(options.output)  # whatever becomes of the second part
    if HTTP in options.parts:
        streams = tuple(options.http_streams or ((1, 4) if options.quick else (1, 16, 64, 256)))
        rounds = options.rounds or (2 if options.quick else 5)
        http_plan = HttpPlan(streams=streams, rounds=rounds, conversations=1 if options.quick else 16)
        report = report.model_copy(update={"http": tuple(measure_http(http_plan))})
    print("\n".join(lines(report)))
    report.save(options.output)
    save_plot(report, options.output)
    print(f"{options.output}/{PLOT_FILE}.json, .png, .svg", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=(ENGINES, HTTP), default=[ENGINES, HTTP])
    parser.add_argument("--shapes", nargs="+", choices=tuple(SHAPES), default=["shipped", "large"])
    parser.add_argument("--streams", nargs="+", type=int, help="of the engines, at most 64; default: 1 4 16 64")
    parser.add_argument("--http-streams", nargs="+", type=int, help="default: 1 16 64 256")
    parser.add_argument("--rounds", type=int, help="default: 5")
    parser.add_argument("--quick", action="store_true", help="few streams, rounds and steps: to see that it runs")
    parser.add_argument("--output", type=Path, default=Path("runs/bench"), help="default: runs/bench")
    return parser


def _matmul_megabytes(shapes: list[str]) -> dict[str, float]:
    sizes: dict[str, float] = {}
    for name in shapes:
        architecture = SHAPES[name]().architecture
        sizes[name] = num_weights(matrix_sizes(architecture)) / 1e6
        sizes[f"{name} Llama"] = num_weights(llama_shape(architecture).matrix_sizes) / 1e6
    return sizes


def describe_machine() -> str:
    """Processor and cores."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        model = next(line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "not installed"
    return found


if __name__ == "__main__":
    sys.exit(main())
