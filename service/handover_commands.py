"""`python -m service handovers list · retry · drop`: what the desk was not told, beside a running service or alone."""

import argparse
import json
from collections.abc import Collection
from contextlib import closing
from typing import Any

from service.errors import MissingOptionError
from service.records.database import open_reader
from service.records.handovers.outbox import HANDOVER_STATES, Handover, SqlHandoverOutbox
from service.records.tables import format_timestamp
from service.settings import Settings

_MAX_LISTED = 100_000


def add_to(commands: Any) -> None:
    """Adds the commands to the parser's."""
    handovers = commands.add_parser("handovers", help="list, retry and drop hand-overs that the desk was not told of")
    actions = handovers.add_subparsers(required=True, metavar="COMMAND")
    listing = actions.add_parser("list", help="show hand-overs, oldest first; nothing of what was said")
    listing.add_argument("--state", choices=HANDOVER_STATES, default="dead", help="default: dead")
    listing.add_argument("--limit", type=int, choices=range(1, _MAX_LISTED + 1), metavar="N", default=100)
    listing.add_argument("--json", action="store_true", help="print a JSON array")
    listing.set_defaults(run=_list)
    retry = actions.add_parser("retry", help="have dead ones told again, with all attempts before them")
    retry.set_defaults(run=_retry)
    drop = actions.add_parser("drop", help="forget dead ones: nobody will be told of them")
    drop.set_defaults(run=_drop)
    for action in (retry, drop):
        action.add_argument("completion_ids", nargs="*", metavar="COMPLETION", help="as listed")
        action.add_argument("--all", action="store_true", help="all that are dead")


def _list(settings: Settings, options: argparse.Namespace) -> int:
    with closing(SqlHandoverOutbox(open_reader(settings.records_url))) as outbox:
        found = [_fields(handover) for handover in outbox.list(options.state, limit=options.limit)]
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    for fields in found:
        print("  ".join(str(value or "-") for value in fields.values()))
    print(f"{len(found)} {options.state}")
    return 0


def _retry(settings: Settings, options: argparse.Namespace) -> int:
    chosen = _chosen(options)
    with closing(SqlHandoverOutbox.open(settings.records_url)) as outbox:
        num_retried = outbox.retry(chosen)
    print(f"{num_retried} will be told again. A running service begins within {settings.poll_seconds:g} seconds.")
    return 0


def _drop(settings: Settings, options: argparse.Namespace) -> int:
    chosen = _chosen(options)
    with closing(SqlHandoverOutbox.open(settings.records_url)) as outbox:
        num_dropped = outbox.drop(chosen)
    print(f"{num_dropped} forgotten.")
    return 0


def _chosen(options: argparse.Namespace) -> Collection[str] | None:
    """Ids of completions; None: all. Raises MissingOptionError where neither or both are given."""
    if options.all == bool(options.completion_ids):
        raise MissingOptionError(option="ids of completions, or --all", reason="`handovers list` shows them")
    return None if options.all else options.completion_ids


def _fields(handover: Handover) -> dict[str, object]:
    return {
        "completion_id": handover.completion_id,
        "tenant": handover.tenant,
        "conversation_id": handover.conversation_id,
        "created_at": format_timestamp(handover.created_at),
        "num_attempts": handover.num_attempts,
        "last_problem": handover.last_problem,
        "next_attempt_at": format_timestamp(handover.next_attempt_at) if handover.next_attempt_at else None,
    }
