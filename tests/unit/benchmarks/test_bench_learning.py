"""`make bench-learning`: what its table and plot say of given figures, and that it runs, stops and goes on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks import bench_learning
from tests.benchmarks.learning.cells import Before, Cell, why_not_run
from tests.benchmarks.learning.presets import ALGORITHMS, FULL, QUICK, base_config, learning_config
from tests.benchmarks.learning.report import Report, lines, save_plot

BEFORE = Before(
    num_prompts=100,
    num_up=320,
    num_replies=1600,
    num_liked_once=60,
    num_samples=16,
    distinct2=0.2,
    proper_endings=0.99,
    num_parameters=1_234_567,
    cpu_seconds=100.0,
)


def cell(algorithm: str, num_ratings: int, seed: int, num_up: int, **figures: float) -> Cell:
    """A cell with that many liked replies of 200."""
    known = {"kl": 1.0, "distinct2": 0.18, "proper_endings": 0.98, "cpu_seconds": 30.0, "share_kept": 0.8, **figures}
    return Cell(
        algorithm=algorithm,
        num_ratings=num_ratings,
        seed=seed,
        num_rated_up=40,
        num_up=num_up,
        num_replies=200,
        reward_cpu_seconds=0.0,
        num_steps=32,
        stopped_by="finished",
        num_trainable=1_000_000,
        **known,
    )


REPORT = Report(
    preset="full",
    machine="a machine",
    before=BEFORE,
    cells=(
        cell("kto", 150, 1, 70),
        cell("kto", 1500, 1, 100),
        cell("rloo", 150, 1, 80, cpu_seconds=60.0),
        cell("rloo", 1500, 1, 110, kl=3.5, distinct2=0.1),
        cell("kto", 150, 2, 90),
        cell("kto", 1500, 2, 100),
    ),
    num_missing=6,
)


def test_headroom_is_counted_from_before_to_the_best_of_the_samples() -> None:
    """Before 20 %, best 60 %: a mean of 40 % is half of the way, 50 % three quarters."""
    groups = REPORT.groups()
    assert list(groups) == [("kto", 150), ("kto", 1500), ("rloo", 150), ("rloo", 1500)]
    assert REPORT.headroom_closed(groups["kto", 150]) == pytest.approx(0.5)
    assert REPORT.headroom_closed(groups["kto", 1500]) == pytest.approx(0.75)
    nothing = REPORT.model_copy(update={"before": BEFORE.model_copy(update={"num_liked_once": 20})})
    assert nothing.headroom_closed(groups["kto", 150]) is None


def test_the_table_shows_means_over_seeds_and_what_is_aimed_at() -> None:
    """Mean with the lowest and highest seed, points a CPU minute, aims by who meets them, what is missing."""
    text = "\n".join(lines(REPORT))
    assert "| kto | 150 | 2 | 40.0% (35.0%, 45.0%) | 50% | +40.0 | 30 | 1.00 | 0.180 | 98.0% | 80% |" in text
    assert "| rloo | 150 | 1 | 40.0% (40.0%, 40.0%) | 50% | +20.0 | 60 |" in text
    assert "Before: 20.0% [18.1%, 22.0%] thumbs up; best of 16 by the customers' true taste 60.0%" in text
    assert "Headroom closed by 50% with 150 ratings: kto, rloo." in text
    assert "Headroom closed by 75% with 1,500 ratings: kto, rloo." in text
    assert "KL at most 3.0 nats, in every cell: kto." in text
    assert "Distinct-2 at least 0.7 of before, in every cell: kto." in text
    assert "Cells without time: 6" in text


def test_ours_is_held_against_trls_row_of_the_same_name() -> None:
    """Points a CPU minute: +40 against +10 are four times; a loss has no factor; what is absent says why."""
    cells = (
        *REPORT.cells,
        cell("trl-kto", 150, 1, 60, cpu_seconds=60.0),
        cell("trl-rloo", 1500, 1, 30, cpu_seconds=120.0),
    )
    text = "\n".join(lines(REPORT.model_copy(update={"cells": cells, "not_run": {"trl-rloo": "no TRL"}})))
    assert "with 150 ratings, kto against trl-kto: 4.0 times (+40.0, +10.0; aim: 2 times)." in text
    assert "with 1,500 ratings, rloo against trl-rloo: no factor, for TRL won nothing (+70.0, -2.5;" in text
    row = next(line for line in text.splitlines() if "not run: no TRL" in line)
    assert row.startswith("| trl-rloo | not run: no TRL |") and row.count("|") == 12


def test_trls_rows_train_all_parameters_or_nothing() -> None:
    """With an adapter they say that they are not run; ours need nothing."""
    assert why_not_run("kto", "lora") is None
    assert (why_not_run("trl-kto", "lora") or "").startswith("TRL")


def test_the_plot_is_the_same_for_the_same_figures(tmp_path: Path) -> None:
    """PNG and SVG, byte for byte."""
    for name in ("first", "second"):
        save_plot(REPORT, tmp_path / name)
    for kind in ("png", "svg"):
        first, second = ((tmp_path / name / f"learning.{kind}").read_bytes() for name in ("first", "second"))
        assert first == second and len(first) > 5000


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_is_a_valid_configuration(algorithm: str) -> None:
    """Of both presets, with and without an adapter, each with its own seed."""
    for preset in (FULL, QUICK):
        base = base_config(preset, 2)
        config = learning_config(base, preset, algorithm, seed=3, adapter="lora")
        assert config.seed == 3 and config.policy.adapter == "lora" and config.policy.max_kl == 3.0
        assert config.policy.algorithm == algorithm.removesuffix("-regress").removeprefix("trl-")


def test_it_runs_stops_when_its_minutes_are_over_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tiny network and two cells: without minutes one is measured, and the second run measures the other alone."""
    tiny = replace(QUICK, hidden_size=32, base_tokens=20_000, num_held_out=8, num_samples=2, ratings=(40,))
    monkeypatch.setattr(bench_learning, "QUICK", tiny)
    arguments = ["--quick", "--algorithms", "kto", "ilql", "--threads", "1", "--output", str(tmp_path)]
    assert bench_learning.main([*arguments, "--minutes", "0"]) == 0
    first = json.loads((tmp_path / "learning.json").read_text())
    assert [cell["algorithm"] for cell in first["cells"]] == ["kto"] and first["num_missing"] == 1
    assert "Cells without time: 1" in capsys.readouterr().out
    assert bench_learning.main(arguments) == 0
    second = json.loads((tmp_path / "learning.json").read_text())
    assert [cell["algorithm"] for cell in second["cells"]] == ["kto", "ilql"] and second["num_missing"] == 0
    assert second["cells"][0] == first["cells"][0] and second["before"] == first["before"]
    assert second["cells"][1]["cpu_seconds"] > 0 and second["cells"][1]["num_steps"] >= 8
    assert (tmp_path / "learning.png").exists() and (tmp_path / "learning.svg").exists()
