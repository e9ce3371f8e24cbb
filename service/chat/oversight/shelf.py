"""The shelf as people look at it: versions with their lineage, gate reports and figures, and who moved which alias.

Reads only. Moving an alias: `release_desk`.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from model_store.backends.protocol import Alias, AliasMove
from model_store.contract.manifest import Manifest
from model_store.errors import AliasNotFoundError
from model_store.shares import Count
from model_store.store import ModelStore, Release, StoredVersion
from service.chat.oversight.documents import Document, documents_of
from service.chat.oversight.risks import read_risks

MAX_VERSIONS = 200
MAX_MOVES = 100
GATE_REPORT_NAME = "gate.json"
_MAX_GATE_REPORT_BYTES = 1 << 20
_BOUNDS = ("_low", "_high")
_SAFETY_COUNTS = ("failed_by_candidate", "num_scenarios")


class GateRule(BaseModel):
    """One rule's outcome, in the gate's own words."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    passed: bool
    sentence: str
    is_left_out: bool = False
    """It passed without having been measured; reports of before do not say."""


class GateReport(BaseModel):
    """What a bundle's `gate.json` says; the scorecard is what was measured, in training's own words."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    accepted: bool
    rules: tuple[GateRule, ...]
    scorecard: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class VersionFigure:
    """A number about a version; bounds of its 95 % interval where they were kept."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class VersionReport:
    """Everything that is known of one version."""

    manifest: Manifest
    gate: GateReport | None
    figures: tuple[VersionFigure, ...]
    changes: tuple[VersionFigure, ...]
    """Differences to the version that the gate compared with, on the same prompts."""


class Shelf:
    """What lies in the model store now. Its methods block, and raise StoreError."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    def versions(self) -> list[StoredVersion]:
        """Every version, newest first; their files are not read."""
        return self._store.versions(verify_contents=False)

    def release(self) -> Release | None:
        """What serves people; None where `stable` was never set."""
        with suppress(AliasNotFoundError):
            return self._store.release()
        return None

    def moves(self) -> list[tuple[Alias, AliasMove]]:
        """The latest moves of all aliases, newest first."""
        moves = [(alias, move) for alias in Alias for move in self._store.history(alias)[-MAX_MOVES:]]
        return sorted(moves, key=lambda item: (item[1].time, item[1].generation), reverse=True)[:MAX_MOVES]

    def report(self, name: str) -> VersionReport:
        """One version, by digest or alias, with its gate report. Raises VersionNotFoundError, BundleError."""
        manifest = self._store.inspect(name)
        entry = manifest.files.get(GATE_REPORT_NAME)
        gate = None
        if entry is not None and entry.num_bytes <= _MAX_GATE_REPORT_BYTES:
            gate = _parse_gate_report(self._store.read_file(manifest, GATE_REPORT_NAME))
        scorecard = gate.scorecard if gate else {}
        return VersionReport(
            manifest=manifest,
            gate=gate,
            figures=(*_figures(manifest.metrics, scorecard), *_risk_figures(scorecard)),
            changes=(*_intervals(scorecard.get("changes")), *_risk_changes(scorecard)),
        )

    def document(self, document: Document) -> bytes:
        """A page of a version, verified. Raises VersionNotFoundError, BundleError, or KeyError for no page of it."""
        manifest = self._store.inspect(document.digest)
        if document.name not in documents_of(manifest):
            raise KeyError(document.name)
        return self._store.read_file(manifest, document.name)


def _parse_gate_report(data: bytes) -> GateReport | None:
    """The report; None for a file of that name that is none."""
    with suppress(ValidationError):
        return GateReport.model_validate_json(data)
    return None


def _figures(metrics: Mapping[str, float], scorecard: Mapping[str, Any]) -> Iterator[VersionFigure]:
    """A version's numbers by name, with the intervals that manifest or scorecard hold for them."""
    measured = {figure.name: figure for part in (scorecard, scorecard.get("candidate")) for figure in _intervals(part)}
    bounds = {f"{name}{bound}" for name in metrics for bound in _BOUNDS}
    for name, value in metrics.items():
        if name not in bounds:
            low, high = (metrics.get(f"{name}{bound}") for bound in _BOUNDS)
            kept = measured.pop(name, None)
            yield kept if kept is not None and kept.value == value else VersionFigure(name, value, low, high)
    yield from measured.values()
    safety = scorecard.get("safety")
    if isinstance(safety, dict) and all(isinstance(safety.get(key), int) for key in _SAFETY_COUNTS):
        share = Count(*(safety[key] for key in _SAFETY_COUNTS)).share
        yield VersionFigure("failed_safety_scenarios", share.value, share.low, share.high)


def _risk_figures(scorecard: Mapping[str, Any]) -> Iterator[VersionFigure]:
    risks = read_risks(scorecard)
    for name, share in risks.shares.items():
        yield VersionFigure(name, share.value, share.low, share.high)
    for name, value in risks.values.items():
        yield VersionFigure(name, value)


def _risk_changes(scorecard: Mapping[str, Any]) -> Iterator[VersionFigure]:
    for name, change in read_risks(scorecard).changes.items():
        yield VersionFigure(name, change.value, change.low, change.high)


def _intervals(part: object) -> Iterator[VersionFigure]:
    """The fields of a JSON object that are a number with bounds."""
    for name, value in part.items() if isinstance(part, dict) else ():
        if isinstance(value, dict):
            numbers = [value.get(key) for key in ("value", "low", "high")]
            known = [float(number) for number in numbers if isinstance(number, int | float)]
            if len(known) == len(numbers):
                yield VersionFigure(name, *known)
