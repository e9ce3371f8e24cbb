"""`python -m service ratings · gold`: which ratings count, and the list of truths, beside a service or alone."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from model_store.backends.places import open_backend
from model_store.contract.feedback import Rating
from model_store.curation import REASON_WORDS
from model_store.store import ModelStore
from service.api.review.ratings import gold_line
from service.chat.review.rating_book import DoubtedRating, RatingBook
from service.errors import InvalidDataFileError
from service.records.database import open_reader
from service.records.review.reader import ReviewReader
from service.records.sql_store import SqlRecordStore
from service.records.store import DEFAULT_TENANT
from service.settings import Settings

_ACTOR = "command"
_PAGE = 500
_VERDICTS = {"count": "count", "set-aside": "set_aside", "clear": None}


def add_to(commands: Any) -> None:
    """Adds the commands to the parser's."""
    ratings = commands.add_parser("ratings", help="list ratings that were set aside, and decide which count")
    ratings = ratings.add_subparsers(required=True, metavar="COMMAND")
    listing = ratings.add_parser("list", help="ratings that the last learning run or somebody set aside, with reasons")
    listing.add_argument("--json", action="store_true", help="print JSON lines")
    listing.set_defaults(run=_list)
    for name, what in (
        ("count", "let a rating count whatever the rules say"),
        ("set-aside", "set a rating aside"),
        ("clear", "leave a rating to the rules again"),
    ):
        deciding = ratings.add_parser(name, help=f"{what}, from the next learning run on")
        deciding.add_argument("rater", help="who gave it, as listed")
        deciding.add_argument("completion", nargs="?", help="what it is about; without it, everything of this rater")
        deciding.set_defaults(run=_decide, verdict=_VERDICTS[name])
        _add_tenant(deciding)
    gold = commands.add_parser("gold", help="replies about which the truth is known: ratings are held against them")
    gold = gold.add_subparsers(required=True, metavar="COMMAND")
    export = gold.add_parser("export", help="write the list as JSON lines to stdout")
    export.set_defaults(run=_export_gold)
    importing = gold.add_parser("import", help="mark what a list says; other marks stay")
    importing.add_argument("path", type=Path, help='JSON lines: {"completion_id": …, "rating": "up" or "down"}')
    importing.set_defaults(run=_import_gold)
    for parser in (listing, export, importing):
        _add_tenant(parser)


def _add_tenant(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", default=DEFAULT_TENANT, help=f"whose; default: {DEFAULT_TENANT}")


def _list(settings: Settings, options: argparse.Namespace) -> int:
    with _book(settings) as book:
        for one in _all_doubted(book, options.tenant):
            print(json.dumps(_fields(one), ensure_ascii=False) if options.json else _line(one))
    return 0


def _decide(settings: Settings, options: argparse.Namespace) -> int:
    with _book(settings) as book:
        book.rule(options.tenant, _ACTOR, (options.completion, options.rater), options.verdict)
    what = f"The rating of {options.completion} by {options.rater}" if options.completion else f"Rater {options.rater}"
    words = {"count": "counts", "set_aside": "is set aside", None: "is left to the rules"}[options.verdict]
    print(f"{what} {words}, from the next learning run on.")
    return 0


def _export_gold(settings: Settings, options: argparse.Namespace) -> int:
    with _book(settings) as book:
        gold = book.gold(options.tenant)
    sys.stdout.writelines(map(gold_line, gold))
    print(f"{len(gold)} gold ratings", file=sys.stderr)
    return 0


def _import_gold(settings: Settings, options: argparse.Namespace) -> int:
    rows = list(_read_gold(options.path))
    with _book(settings) as book:
        unknown = book.import_gold(options.tenant, _ACTOR, rows)
    for completion_id in unknown:
        print(f"no completion {completion_id}", file=sys.stderr)
    print(f"{len(rows) - len(unknown)} marked, {len(unknown)} unknown")
    return 0


def _read_gold(path: Path) -> Iterator[tuple[str, Rating]]:
    """Raises InvalidDataFileError naming the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDataFileError(path=path, problem=error) from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            completion_id, rating = str(row["completion_id"]), row["rating"]
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidDataFileError(path=path, problem=f"line {number}: {error!r}") from error
        if rating not in get_args(Rating):
            raise InvalidDataFileError(path=path, problem=f"line {number}: the rating is {rating!r}")
        yield completion_id, rating


def _all_doubted(book: RatingBook, tenant: str) -> Iterator[DoubtedRating]:
    offset: int | None = 0
    while offset is not None:
        page = book.doubted(tenant, limit=_PAGE, offset=offset)
        yield from page.ratings
        offset = page.next_offset


def _fields(one: DoubtedRating) -> dict[str, Any]:
    return {
        "rater": one.rating.key.rater,
        "completion_id": one.rating.key.completion_id,
        "rating": one.rating.rating,
        "rated_at": one.rating.rated_at.isoformat(),
        "reasons": list(one.reasons),
        "ruling": one.ruling,
    }


def _line(one: DoubtedRating) -> str:
    decided = {"count": "COUNTS", "set_aside": "ASIDE", None: ""}[one.ruling]
    why = " ".join(REASON_WORDS[reason] for reason in one.reasons)
    key = one.rating.key
    return f"{key.rater}  {key.completion_id}  {one.rating.rating:4}  {decided:6}  {why}"


@contextmanager
def _book(settings: Settings) -> Iterator[RatingBook]:
    open_reader(settings.records_url).dispose()  # raises where there is no database, which the next line would make
    records = SqlRecordStore.open(settings.records_url)
    try:
        reader = ReviewReader.open(settings.records_url)
        try:
            yield RatingBook(
                reader, records, ModelStore(open_backend(settings.model_store_location, settings.model_cache_path))
            )
        finally:
            reader.close()
    finally:
        records.close()
