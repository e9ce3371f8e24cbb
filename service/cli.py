"""`python -m service serve · keys · ratings · gold · handovers · export · erase · purge · backup · check-facts`.

Results go to stdout, logs to stderr. The one place where settings are read from the environment. Exit codes: 0 done,
1 an error that is named.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from model_store.contract.facts import FactSheet
from model_store.errors import CodedError
from model_store.graphs import keep_heap_small
from service import erasure_commands, handover_commands, key_commands, record_commands, review_commands
from service.access.key_store import has_live_key
from service.app import DEFAULT_FACTS_FILE, create_app
from service.http_server import build_server, set_program_aside
from service.settings import Settings, check_bind
from service.telemetry import configure_logging


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = Settings()
        return int(options.run(settings, options))
    except ValidationError as error:
        for problem in error.errors(include_input=False):
            print(f"error: setting {'.'.join(map(str, problem['loc']))}: {problem['msg']}", file=sys.stderr)
    except CodedError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)  # others' words in it may have lines
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service", description="The Rejoinder chat service.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="answer HTTP; settings come from the environment (SERVICE_…)")
    serve.set_defaults(run=_serve)
    record_commands.add_to(commands)
    key_commands.add_to(commands)
    review_commands.add_to(commands)
    handover_commands.add_to(commands)
    erasure_commands.add_to(commands)
    check = commands.add_parser("check-facts", help="check a facts file and name the facts it lacks")
    check.add_argument("path", type=Path, nargs="?", help="default: the file that the service would use")
    check.set_defaults(run=_check_facts)
    return parser


def _serve(settings: Settings, options: argparse.Namespace) -> int:
    if not has_live_key(settings.records_url):
        check_bind(settings)
    configure_logging(settings.log_level)
    keep_heap_small()
    server = build_server(create_app(settings), settings)
    set_program_aside()
    server.run()
    return 0 if server.started else 1


def _check_facts(settings: Settings, options: argparse.Namespace) -> int:
    path = options.path or settings.facts_file or DEFAULT_FACTS_FILE
    missing = FactSheet.load(path).missing
    print(f"{path}: {'every fact is given' if not missing else 'neutral phrases stand in for ' + ', '.join(missing)}")
    return 0
