"""At a run's end: what was not tested here, each reason once. Without Helm alone, hundreds of tests skip for it."""

from collections import Counter

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests skipped for each reason, which says what to do (`architecture/test_skips.py`)."""
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    if not reasons:
        return
    terminalreporter.section("not tested here")
    for reason, number in reasons.most_common():
        terminalreporter.write_line(f"{number:5}  {reason}")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Of a test that skipped, or of a whole file."""
    told = report.longrepr
    return str(told[2] if isinstance(told, tuple | list) else told).removeprefix("Skipped: ")
