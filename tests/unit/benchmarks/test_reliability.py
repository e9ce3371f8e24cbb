"""How the reliability table judges: what was not run never passes, and drift and half records are told apart."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from model_store.contract.control_tokens import EOS_ID
from tests.benchmarks.reliability import table
from tests.benchmarks.reliability.finding import Family, Finding, NotRunError, Plan, Verdict, verdict
from tests.benchmarks.reliability.kills import MAX_TOKENS, _is_half
from tests.benchmarks.reliability.soak import _Sample, _Turn, compare


def test_fewer_rounds_than_promised_do_not_pass() -> None:
    """They are `short`; what does not hold fails, however little was done."""
    assert verdict(holds=True) is Verdict.PASS
    assert verdict(holds=True, is_whole=False) is Verdict.SHORT
    assert verdict(holds=False, is_whole=False) is Verdict.FAIL


def test_what_cannot_be_run_and_what_breaks_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing tool is `not run` and no failure; an error fails its own row and leaves the others."""

    def lacks(plan: Plan) -> list[Finding]:
        raise NotRunError("no such tool: apt install it")

    def breaks(plan: Plan) -> list[Finding]:
        raise ValueError("it broke")

    def holds(plan: Plan) -> list[Finding]:
        return [Finding(3, "third", "1", "1", Verdict.PASS)]

    families = (Family((1,), "first", lacks), Family((2,), "second", breaks), Family((3,), "third", holds))
    monkeypatch.setattr(table, "FAMILIES", families)
    assert table.main(["--rows", "1", "3", "--output", str(tmp_path)]) == 0
    assert table.main(["--output", str(tmp_path)]) == 1
    rows = json.loads((tmp_path / "reliability.json").read_text())["rows"]
    assert [row["verdict"] for row in rows] == ["not run", "FAIL", "pass"]
    assert "apt install it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "is_half"),
    [
        ({"finish_reason": "stop", "completion_token_ids": f"[300,{EOS_ID}]"}, False),
        ({"finish_reason": "stop", "completion_token_ids": "[300,301]"}, True),
        ({"finish_reason": "length", "completion_token_ids": str([300] * MAX_TOKENS)}, False),
        ({"finish_reason": "length", "completion_token_ids": "[300]"}, True),
        ({"finish_reason": "stop", "completion_token_ids": "[300]", "is_finished": False}, False),
        ({"finish_reason": "handover", "completion_token_ids": "[]"}, False),
    ],
)
def test_a_half_record_is_one_that_counts_as_finished_and_is_not(fields: dict[str, Any], is_half: bool) -> None:
    """By its tokens: the last one ends it, or there are as many as were allowed."""
    assert _is_half(SimpleNamespace(**{"is_finished": True, **fields})) is is_half


@pytest.mark.parametrize(("growth", "holds"), [(0.0, True), (30.0, False)])
def test_memory_that_grows_is_drift(growth: float, holds: bool) -> None:
    """A hundred megabytes that stay, and that grow by thirty to the end."""
    samples = [_Sample(at, 100 + growth * at / 600, 20) for at in range(0, 600, 10)]
    turns = [_Turn(at, 0.5, True) for at in range(0, 600, 5)]
    assert compare(turns, samples, 600).holds() is holds


def test_times_are_judged_on_a_quiet_machine_only() -> None:
    """Replies that take twice as long in the end are drift, unless others had the cores; failures always are."""
    samples = [_Sample(at, 100, 20) for at in range(0, 600, 10)]
    turns = [_Turn(at, 0.5 if at < 300 else 1.0, True) for at in range(0, 600, 5)]
    drift = compare(turns, samples, 600)
    assert not drift.holds() and drift.holds(judges_times=False)
    broken = compare([*turns, _Turn(590, 0.5, False)], samples, 600)
    assert not broken.holds(judges_times=False)


def test_a_service_that_goes_away_does_not_pass_a_soak() -> None:
    """What was never measured has drifted from nothing, and is no pass."""
    samples = [_Sample(at, 100, 20) for at in range(0, 200, 10)]
    turns = [_Turn(at, 0.5, True) for at in range(0, 200, 5)]
    assert not compare(turns, samples, 600).holds(judges_times=False)
