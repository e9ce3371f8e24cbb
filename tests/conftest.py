"""What holds for a whole run: the files that take longest come first, and at its end stands what was not tested here.

Without Helm alone, hundreds of tests skip for it: each reason is told once.
"""

from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LONGEST_FIRST = (
    "e2e/test_learning_loop.py",
    "e2e/test_several_processes.py",
    "unit/benchmarks/test_bench_continual.py",
    "unit/stages/test_several_processes.py",
    "unit/benchmarks/test_bench_planted.py",
    "e2e/test_demo.py",
    "e2e/test_service_lifecycle.py",
    "browser/test_review.py",
    "unit/benchmarks/test_scale.py",
    "unit/benchmarks/test_bench_learning.py",
    "unit/stages/test_evaluate_to_publish.py",
    "unit/stages/test_policy.py",
    "e2e/test_other_domain.py",
    "browser/test_widget.py",
    "unit/drafting/test_drafting.py",
    "unit/evaluation/test_judges.py",
    "contract/records/test_records_durability.py",
    "e2e/test_service_handovers.py",
    "unit/benchmarks/test_bench_long.py",
    "browser/test_real_service.py",
    "e2e/test_service_backup.py",
)
"""Files of twenty seconds and more. A process gets a whole file, and one that began last would run on alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the longest files to the front; all else, and each file's tests, stay in their order."""
    rank = {TESTS / name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


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
