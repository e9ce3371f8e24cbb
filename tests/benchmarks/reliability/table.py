"""`make reliability`: the promises' table, a row each: required, measured, pass. JSON beside.

Everything is done to the real service process with the bundle that ships. What a row needs and is not here is said
(`not run`), never passed over; fewer rounds than promised are `short`. Exit code 1 where a row fails.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.reliability.finding import Family, Finding, NotRunError, Plan, Verdict, line
from tests.benchmarks.reliability.rows import (
    callers,
    crowd,
    database_faults,
    keeping,
    kill,
    shelf,
    surroundings,
    text,
    training,
)

FAMILIES: tuple[Family, ...] = (
    kill.FAMILY,
    database_faults.FAMILY,
    *crowd.FAMILIES,
    *shelf.FAMILIES,
    training.FAMILY,
    *callers.FAMILIES,
    *text.FAMILIES,
    *keeping.FAMILIES,
    *surroundings.FAMILIES,
)


def main(arguments: list[str] | None = None) -> int:
    """Measures the rows that are asked for and gives the exit code."""
    options = _parser().parse_args(arguments)
    wanted = set(options.rows or [row for family in FAMILIES for row in family.rows])
    folder = Path(tempfile.mkdtemp(prefix="reliability-"))
    plan = Plan(folder, is_quick=options.quick, num_cases=options.cases or (600 if options.quick else 20_000))
    findings: list[Finding] = []
    began = time.monotonic()
    for family in FAMILIES:
        if wanted & set(family.rows):
            findings += [finding for finding in _measure(family, plan) if finding.row in wanted]
    _save(options.output, findings, time.monotonic() - began)
    is_bad = any(finding.verdict is Verdict.FAIL for finding in findings)
    if options.keep or is_bad:
        print(f"the services' logs and data are in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if is_bad else 0


def _parser() -> argparse.ArgumentParser:
    rows = sorted(row for family in FAMILIES for row in family.rows)
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.reliability.table", description=__doc__)
    parser.add_argument("--rows", nargs="+", type=int, choices=rows, metavar="N", help=f"of {rows}; default: all")
    parser.add_argument("--quick", action="store_true", help="few rounds, to see that it runs: rows end as `short`")
    parser.add_argument("--cases", type=int, metavar="N", help="requests that row 19 makes up; default: 20000")
    parser.add_argument("--keep", action="store_true", help="keep the services' logs and data")
    parser.add_argument("--output", type=Path, default=Path("runs/reliability"), help="default: runs/reliability")
    return parser


def _measure(family: Family, plan: Plan) -> Sequence[Finding]:
    """A family's findings, each printed as it comes."""
    print(f"     … {family.title}", file=sys.stderr, flush=True)
    began = time.monotonic()
    try:
        findings: Sequence[Finding] = family.measure(plan)
    except NotRunError as error:
        findings = [_nothing(row, family, str(error), Verdict.NOT_RUN) for row in family.rows]
    except Exception as error:  # the outermost loop: one row must not take the others with it
        traceback.print_exc()
        findings = [_nothing(row, family, f"{type(error).__name__}: {error}", Verdict.FAIL) for row in family.rows]
    for finding in findings:
        print(line(finding), flush=True)
    print(f"     … {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return findings


def _nothing(row: int, family: Family, reason: str, verdict: Verdict) -> Finding:
    return Finding(row, family.title, "", reason.partition("\n")[0], verdict)


def _save(folder: Path, findings: Sequence[Finding], seconds: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "reliability.json"
    report = {"seconds": round(seconds), "rows": [finding.as_json() for finding in findings]}
    path.write_text(json.dumps(report, indent=2, default=str) + "\n", encoding="utf-8")
    counts = {verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict}
    print(", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number), file=sys.stderr)
    print(path, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
