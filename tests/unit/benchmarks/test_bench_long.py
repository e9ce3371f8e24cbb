"""The benchmark of long prompts: where its crossover lies, and that it runs from end to end at the smallest size."""

import json
from pathlib import Path

import pytest

from tests.benchmarks.bench_long import crossover, crossover_text, main
from tests.benchmarks.long_prompts.reading import WAYS


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([(512, 0.5), (1024, 0.5), (2048, 2.0), (4096, 4.0)], 1448.2),
        ([(512, 0.5), (1024, 1.0), (2048, 2.0)], 1024.0),
        ([(512, 1.2), (1024, 0.9), (2048, 1.1)], 1473.5),
        ([(512, 1.5), (1024, 2.0)], 512.0),
        ([(512, 0.5), (1024, 0.9)], None),
    ],
)
def test_the_crossover_is_where_the_ratio_last_passes_one(
    ratios: list[tuple[int, float]], expected: float | None
) -> None:
    """By hand, on logarithms of both: between 1,024 and 2,048 from 0.5 to 2 lies the middle, 1,024 times √2."""
    found = crossover(ratios)
    assert found == (expected if expected is None else pytest.approx(expected, rel=1e-3))


def test_the_sentence_fits_what_was_found() -> None:
    """Never, always, or from a length on."""
    assert "at every length." in crossover_text([(512, 0.5), (1024, 0.9)])
    assert "from 512 tokens on" in crossover_text([(512, 1.5), (1024, 2.0)])
    assert "from about 1,448 tokens on" in crossover_text([(1024, 0.5), (2048, 2.0)])


def test_every_way_reads_every_length(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both of the engine's and the stock model's, on the tiny shape; table, JSON and both plots."""
    arguments = ["--quick", "--shape", "tiny", "--lengths", "128", "300", "--output", str(tmp_path)]
    assert main([*arguments, "--num-buckets", "4", "--bucket-window", "8"]) == 0
    written = json.loads((tmp_path / "bench_long.json").read_text())
    assert {row["places"] for row in written["readings"]} == {0, 32}
    assert {(row["way"], row["length"]) for row in written["readings"]} == {(w, n) for w in WAYS for n in (128, 300)}
    for row in written["readings"]:
        assert row["cpu_seconds"] > 0
        assert row["peak_megabytes"] >= row["peak_megabytes_before"] > 20
    stock = max(row["peak_megabytes"] for row in written["readings"] if row["way"] == WAYS[2])
    assert stock > max(row["peak_megabytes"] for row in written["readings"] if row["way"] != WAYS[2])
    assert {path.name for path in tmp_path.iterdir()} == {"bench_long.json", "bench_long.png", "bench_long.svg"}
    assert "exact / hashed, CPU" in capsys.readouterr().out
