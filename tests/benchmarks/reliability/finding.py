"""What a row of the table came to, for people and as JSON."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

_REQUIRED_WIDTH, _MEASURED_WIDTH = 52, 76


class Verdict(StrEnum):
    """How a row ended. `short`: it held, in fewer rounds than the promise asks for or without its times."""

    PASS = "pass"
    FAIL = "FAIL"
    SHORT = "short"
    NOT_RUN = "not run"


class NotRunError(Exception):
    """A row needs something that is not here; the message says what, and how to get it."""


@dataclass(frozen=True)
class Finding:
    """One row: what is required, what was measured, and whether that is enough."""

    row: int
    title: str
    required: str
    measured: str
    verdict: Verdict
    figures: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Everything, for a file."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """How much is done, and where files may lie."""

    folder: Path
    is_quick: bool = False
    num_cases: int = 20_000
    """Requests of row 19 that schemathesis makes up."""

    def count(self, full: int, quick: int) -> int:
        """How many rounds: `full` ones are what the promise asks for."""
        return quick if self.is_quick else full


@dataclass(frozen=True)
class Family:
    """Rows that are measured together. `measure` gives a finding for each of `rows`; it may raise NotRunError."""

    rows: tuple[int, ...]
    title: str
    measure: Callable[[Plan], Sequence[Finding]]


def verdict(*, holds: bool, is_whole: bool = True) -> Verdict:
    """`is_whole` says whether as much was done as the promise asks for."""
    if not holds:
        return Verdict.FAIL
    return Verdict.PASS if is_whole else Verdict.SHORT


def line(finding: Finding) -> str:
    """A row for people."""
    required = finding.required.ljust(_REQUIRED_WIDTH)
    measured = finding.measured.ljust(_MEASURED_WIDTH)
    return f"{finding.row:>3}  {finding.verdict:<8} {finding.title:<30} {required} {measured}".rstrip()


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed; 0 of none."""
    if not values:
        return 0.0
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
