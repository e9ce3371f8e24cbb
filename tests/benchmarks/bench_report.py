"""What a comparison has measured: as Markdown tables, as the ratios that are aimed at, and as JSON."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from model_store.durable import replace_file
from tests.benchmarks.engines import floor, hugging_face, llama, this_engine
from tests.benchmarks.engines.rounds import CONTENDERS, Row, case_name
from tests.benchmarks.over_http.http_rounds import MEASURED_SLOTS, SERVICE, HttpRow

_BUSY = 1.1
"""Clock time over CPU time from which on somebody else was on the core."""
_MOST_MEGABYTES = 400.0
_MANY = 16


class Report(BaseModel):
    """Everything of one run."""

    model_config = ConfigDict(frozen=True)

    machine: str
    versions: dict[str, str]
    matmul_megabytes: dict[str, float]
    """What a token is multiplied by at 8 bits, by shape: ours; for a Llama with ` Llama` after the shape's name."""
    bundle_megabytes: float = 0.0
    """All files of the bundle that ships."""
    engines: tuple[Row, ...] = ()
    http: tuple[HttpRow, ...] = ()

    def save(self, folder: Path) -> None:
        """Writes `bench.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / "bench.json", self.model_dump_json(indent=1).encode())


class Target(NamedTuple):
    """A ratio that is aimed at, and what it is."""

    what: str
    value: float
    bound: float
    is_at_most: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the value keeps the bound."""
        return self.value <= self.bound if self.is_at_most else self.value >= self.bound

    def __str__(self) -> str:
        sign = "≤" if self.is_at_most else "≥"
        return f"{self.what}: {self.value:.2f} (aim {sign} {self.bound:g}): {'met' if self.is_met else 'missed'}"


def lines(report: Report) -> Iterator[str]:
    """The report as Markdown."""
    yield report.machine + "; " + ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield f"bundle that ships: {report.bundle_megabytes:.1f} MB"
    for shape in dict.fromkeys(row.shape for row in report.engines):
        yield ""
        yield from _engine_table(shape, report)
    if report.engines:
        measured = {row.contender for row in report.engines}
        yield ""
        yield from (f"- {contender.name}: {contender.what}" for contender in CONTENDERS if contender.name in measured)
    if report.http:
        yield ""
        yield from _http_table(report.http)
    if any_busy(report.engines):
        yield ""
        yield (
            "* The core was shared: by the clock these took longer than by CPU time by more than a tenth. "
            "Do not quote absolute figures."
        )
    yield ""
    yield from (f"- {target}" for target in targets(report))


def _engine_table(shape: str, report: Report) -> Iterator[str]:
    rows = [row for row in report.engines if row.shape == shape]
    rows.sort(key=lambda row: row.not_installed is not None)
    cases = sorted({row.streams for row in rows if not row.not_installed}, key=lambda streams: streams or 1 << 30)
    sizes = [f"{megabytes:.2f} MB {name}" for name, megabytes in report.matmul_megabytes.items() if shape in name]
    yield f"**{shape}**: tokens a CPU second (by the clock) on one core; matrices at 8 bits: {', '.join(sizes)}"
    yield ""
    yield f"| engine | {' | '.join(case_name(streams) for streams in cases)} |"
    yield f"|---|{'--:|' * len(cases)}"
    for name in dict.fromkeys(row.contender for row in rows):
        found = {row.streams: row for row in rows if row.contender == name}
        if missing := next((row.not_installed for row in found.values() if row.not_installed), None):
            yield f"| {name} | not installed: {missing} {'| ' * len(cases)}|"
            continue
        yield f"| {name} | {' | '.join(_cell(found.get(streams)) for streams in cases)} |"


def _cell(row: Row | None) -> str:
    if row is None:
        return "–"
    star = " *" if is_busy(row) else ""
    return f"{row.tokens_per_cpu_second:,.0f} ({row.tokens_per_second:,.0f}){star}"


def is_busy(row: Row) -> bool:
    """Whether somebody else was on the core."""
    return row.tokens_per_cpu_second > _BUSY * row.tokens_per_second > 0


def any_busy(rows: Sequence[Row]) -> bool:
    """Whether that happened at all."""
    return any(is_busy(row) for row in rows)


def _http_table(rows: Sequence[HttpRow]) -> Iterator[str]:
    columns = ("server", "streams", "tokens/s", "CPU ms a token: server (engine, intent model); client")
    columns = (*columns, "of the bare engine by CPU time (by the clock)", "first token, turn 1 / 2")
    columns = (*columns, "between pieces, p50 / p99", "failed", "resident, slots")
    yield "**over HTTP**, the shipped model, conversations of two turns; llama_cpp.server serves one request at a time"
    yield from {row.cores: None for row in rows if row.cores}
    yield ""
    yield f"| {' | '.join(columns)} |"
    yield f"|---|{'--:|' * (len(columns) - 1)}"
    for row in rows:
        if row.not_installed:
            yield f"| {row.server} | not installed: {row.not_installed} {'| ' * (len(columns) - 1)}|"
            continue
        share = row.engine_cpu_ms / row.server_cpu_ms if row.server_cpu_ms else None
        cpu = f"{row.server_cpu_ms:.2f} ({row.engine_cpu_ms:.2f}, {row.intent_cpu_ms:.2f}); {row.client_cpu_ms:.2f}"
        cells = (
            row.server,
            str(row.streams),
            f"{row.tokens_per_second:,.0f}",
            cpu if share else "–",
            f"{share:.2f} ({row.tokens_per_second / row.engine_tokens_per_second:.2f})" if share else "–",
            f"{row.first_token_ms:.1f} / {row.second_turn_first_token_ms:.1f} ms",
            f"{row.gap_ms_p50:.1f} / {row.gap_ms_p99:.1f} ms",
            f"{row.num_failed} of {row.num_requests}",
            f"{row.resident_megabytes:.0f} MB, {row.num_slots}",
        )
        yield f"| {' | '.join(cells)} |"


def targets(report: Report) -> Iterator[Target]:
    """Every ratio whose two sides were measured."""
    yield from _engine_targets(report.engines)
    yield from _http_targets(report.http)


def _engine_targets(rows: Sequence[Row]) -> Iterator[Target]:
    speeds = {(row.shape, row.contender, row.streams): row.tokens_per_cpu_second for row in rows}
    rivals = {llama.NAME.format("Q8_0"): 1.5, llama.NAME.format("Q4_0"): 1.2}
    at_one = {hugging_face.NAME.format("exact"): 40.0, hugging_face.NAME.format("hashed"): 40.0, floor.NAME: 0.5}
    for (shape, contender, streams), speed in speeds.items():
        if contender != this_engine.NAME:
            continue
        for rival, bound in {**rivals, **(at_one if streams == 1 else {})}.items():
            if other := speeds.get((shape, rival, streams)):
                yield Target(f"{shape}, {case_name(streams)}: x {rival}", speed / other, bound)


def _http_targets(rows: Sequence[HttpRow]) -> Iterator[Target]:
    ours = [row for row in rows if row.server == SERVICE]
    for row in ours:
        where = f"over HTTP, {case_name(row.streams)}"
        if row.streams == _MANY and row.server_cpu_ms:
            # By CPU time: the clock would count a client that shares the server's core, and other people's work.
            yield Target(f"{where}: share of the bare engine's speed", row.engine_cpu_ms / row.server_cpu_ms, 0.8)
        if row.first_token_ms:
            share = row.second_turn_first_token_ms / row.first_token_ms
            yield Target(f"{where}: second turn's first token, of the first's", share, 0.35, is_at_most=True)
        yield Target(f"{where}: streams that failed", row.num_failed, 0, is_at_most=True)
        if row.num_slots == MEASURED_SLOTS:
            yield Target(f"{where}: MB resident, 64 slots", row.resident_megabytes, _MOST_MEGABYTES, is_at_most=True)
