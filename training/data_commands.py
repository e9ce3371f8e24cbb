"""`python -m training import · describe · check-domain`: what there is to learn from. Joined to the rest by `cli`."""

import argparse
import sys
from pathlib import Path

from model_store.store import DEFAULT_BUNDLE
from training.data.data_report.describe import describe
from training.data.data_report.report_text import report_text as data_report_text
from training.data.domain_pack import PACKS_DIRECTORY, load_pack
from training.data.importers.registry import IMPORTERS, import_file
from training.pack_lint.lint import lint, size_table


def add_data_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the three to a parser's commands."""
    importer = commands.add_parser(
        "import", help="turn public or own dialogues into uniform JSON lines, and report on them"
    )
    importer.add_argument("format", choices=sorted(IMPORTERS))
    importer.add_argument("path", type=Path)
    importer.add_argument("output", type=Path)
    importer.add_argument("--pack", default="shop", help="the authored pack whose intents the report knows")
    importer.add_argument("--no-report", action="store_true", help="import only; the report takes a while")
    importer.set_defaults(run=_import)
    describer = commands.add_parser("describe", help="report again on imported rows")
    describer.add_argument("path", type=Path)
    describer.add_argument("--pack", default="shop", help="the authored pack whose intents the report knows")
    describer.set_defaults(run=_describe)
    check = commands.add_parser("check-domain", help="print a domain pack's sizes and what it should mend")
    check.add_argument("pack", nargs="?", default="shop", help="a folder under training/data/domain, or its path")
    check.add_argument("--strict", action="store_true", help="exit with 1 when anything should be mended")
    check.set_defaults(run=_check_domain)


def _check_domain(options: argparse.Namespace) -> int:
    """The sizes on stdout, what there is to mend on stderr; with `--strict` any of it is an error."""
    pack = load_pack(options.pack)
    print(size_table(pack))
    problems = lint(pack, PACKS_DIRECTORY / options.pack)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(problems)} to mend." if problems else "Nothing to mend.")
    return 1 if problems and options.strict else 0


def _import(options: argparse.Namespace) -> int:
    report = import_file(options.format, options.path, options.output)
    print(f"{report.num_rows} rows written to {options.output}, {report.num_skipped} skipped.")
    for reason, count in report.skipped.items():
        print(f"  {count} skipped: {reason}")
    if not options.no_report:
        print()
        _print_data_report(options.output, options.pack)
    return 0


def _describe(options: argparse.Namespace) -> int:
    _print_data_report(options.path, options.pack)
    return 0


def _print_data_report(rows: Path, pack: str) -> None:
    """Paragraphs for people, and one JSON object with the same figures as the last line."""
    report = describe(rows, load_pack(pack), DEFAULT_BUNDLE / "tokenizer.json")
    print(data_report_text(report), report.model_dump_json(), sep="\n\n")
