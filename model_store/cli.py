"""`python -m model_store`: look at the versions of a store, check them, and move its aliases.

Results go to stdout, as tables or with --json as one JSON object; everything else to stderr. Exit codes: 0 done,
1 a named error or a refused version, 2 a wrong command line.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from model_store import key_commands
from model_store.backends.places import open_backend
from model_store.backends.protocol import Alias, AliasMove
from model_store.bundle import bundle_size, check_contents, inspect_bundle
from model_store.contract.manifest import Manifest
from model_store.digest import short
from model_store.errors import AliasNotFoundError, StoreError
from model_store.signing import TrustedKeys
from model_store.store import DEFAULT_BUNDLE, ModelStore, StoredVersion, seed

_LISTED_METRICS = {"thumbs": "THUMBS-UP", "perplexity": "PERPLEXITY"}
"""Part of a metric's name → its column in `list`."""

_Fields = dict[str, object]
_Command = Callable[[ModelStore, argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code."""
    arguments = _parser().parse_args(argv)
    command: _Command = arguments.command
    try:
        return command(ModelStore(open_backend(arguments.store)), arguments)
    except StoreError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model_store", description="Model versions and the aliases of them."
    )
    default_store = os.environ.get("MODEL_STORE") or "data/models"
    _add_common(parser, store=default_store, as_json=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: _Command, summary: str) -> argparse.ArgumentParser:
        subparser = commands.add_parser(name, help=summary, description=summary)
        _add_common(subparser, store=argparse.SUPPRESS, as_json=argparse.SUPPRESS)
        subparser.set_defaults(command=command)
        return subparser

    add("list", _list, "Show all versions, newest first.")
    show = add("show", _show, "Show one version's manifest, and an alias's moves.")
    show.add_argument("version", metavar="VERSION", help="an alias, a digest, or at least 8 digits of one")
    verify = add("verify", _verify, "Check every byte of versions; exit 1 if one is refused.")
    verify.add_argument("versions", metavar="VERSION", nargs="*", help="all of them if none is named")
    verify.add_argument(
        "--trusted-keys", metavar="KEYS", help="public keys, with commas between, of which one must have signed them"
    )
    key_commands.add_to(commands, add)
    promote = add("promote", _promote, "Move an alias to a version.")
    promote.add_argument("alias", metavar="ALIAS", help=" or ".join(Alias))
    promote.add_argument("version", metavar="VERSION", help="an alias, a digest, or at least 8 digits of one")
    _add_move_options(promote)
    rollback = add("rollback", _rollback, "Move an alias back to the version before.")
    rollback.add_argument("alias", metavar="ALIAS", help=" or ".join(Alias))
    _add_move_options(rollback)
    seeding = add("seed", _seed, "Publish a bundle; point `stable` at it if that was never set.")
    seeding.add_argument("directory", metavar="DIRECTORY", nargs="?", type=Path, default=DEFAULT_BUNDLE)
    seeding.add_argument("--dry-run", action="store_true", help="check and say what would happen, change nothing")
    return parser


def _add_common(parser: argparse.ArgumentParser, *, store: object, as_json: object) -> None:
    # On both levels, so that the options may stand before the command or after it.
    parser.add_argument(
        "--store", metavar="PLACE", default=store, help="a path or s3://…; default: $MODEL_STORE, else ./data/models"
    )
    parser.add_argument("--json", action="store_true", default=as_json, help="print one JSON object")


def _add_move_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--expected-generation", metavar="N", type=int, help="move only if the alias is still at this generation"
    )
    parser.add_argument("--reason", default="", metavar="TEXT", help="why; kept in the alias's history")
    parser.add_argument("--dry-run", action="store_true", help="check and say what would happen, change nothing")


def _list(store: ModelStore, arguments: argparse.Namespace) -> int:
    aliases = _aliases(store)
    versions = store.versions()
    if arguments.json:
        listed = [_version_fields(version, aliases) for version in versions]
        _print_json({"store": store.location, "aliases": _alias_fields(store), "versions": listed})
        return 0
    if not versions:
        print(f"There is no version in {store.location}.", file=sys.stderr)
    rows = [_row(version, aliases) for version in versions]
    _print_table(("DIGEST", "NAME", "CREATED", "MB", "ALIASES", *_LISTED_METRICS.values(), "PARENT", "STATE"), rows)
    return 0


def _show(store: ModelStore, arguments: argparse.Namespace) -> int:
    bundle = store.open(arguments.version)
    moves = store.history(arguments.version) if arguments.version in list(Alias) else []
    aliases = _aliases(store).get(bundle.digest, [])
    manifest = bundle.manifest.model_dump(mode="json")
    history = [move.model_dump(mode="json") for move in moves]
    if arguments.json:
        _print_json({"digest": bundle.digest, "aliases": aliases, "manifest": manifest, "history": history})
        return 0
    print(f"digest   {bundle.digest}\naliases  {', '.join(aliases) or '-'}\npath     {bundle.directory}")
    print(json.dumps(_for_people(manifest), indent=2, ensure_ascii=False))
    if moves:
        rows = [_move_row(move) for move in moves]
        _print_table(("GENERATION", "TIME", "ACTION", "FROM", "TO", "REASON"), rows)
    return 0


def _verify(store: ModelStore, arguments: argparse.Namespace) -> int:
    wanted = {store.find(name) for name in arguments.versions}
    checked = [version for version in store.versions() if not wanted or version.digest in wanted]
    if arguments.trusted_keys is not None:
        trusted = TrustedKeys.parse(arguments.trusted_keys)
        checked = [key_commands.with_signature(store, version, trusted) for version in checked]
    is_all_good = all(version.problem is None for version in checked)
    if arguments.json:
        results = [{"digest": version.digest, "problem": _problem_fields(version)} for version in checked]
        _print_json({"store": store.location, "is_verified": is_all_good, "versions": results})
    else:
        _print_table(("DIGEST", "STATE"), [(version.digest, _state(version)) for version in checked])
    return 0 if is_all_good else 1


def _promote(store: ModelStore, arguments: argparse.Namespace) -> int:
    move = store.plan_promotion(arguments.alias, arguments.version, arguments.expected_generation, arguments.reason)
    return _make_move(store, move, arguments)


def _rollback(store: ModelStore, arguments: argparse.Namespace) -> int:
    move = store.plan_rollback(arguments.alias, arguments.expected_generation, arguments.reason)
    return _make_move(store, move, arguments)


def _make_move(store: ModelStore, move: AliasMove, arguments: argparse.Namespace) -> int:
    if not arguments.dry_run:
        store.apply(arguments.alias, move)
    undo = undo_command(store, arguments.alias, move)
    if arguments.json:
        fields = {"alias": arguments.alias, "move": move.model_dump(mode="json"), "undo": undo}
        _print_json({"is_dry_run": arguments.dry_run, **fields})
        return 0
    before = short(move.from_digest) if move.from_digest else "unset"
    verb = "would move" if arguments.dry_run else "moved"
    print(f"{verb} {arguments.alias}: {before} -> {short(move.to_digest)}, generation {move.generation}")
    print(f"undo: {undo or 'none, it was not set before; promote another version instead'}")
    return 0


def undo_command(store: ModelStore, alias: str, move: AliasMove) -> str | None:
    """The command that takes a move back, valid for as long as nobody moves the alias again."""
    if move.from_digest is None:
        return None
    is_reversed_by_rollback = move.action == "promote" and move.from_digest != move.to_digest
    words = ["rollback", alias] if is_reversed_by_rollback else ["promote", alias, move.from_digest]
    options = ["--store", store.location, "--expected-generation", str(move.generation)]
    return shlex.join(["python", "-m", "model_store", *words, *options])


def _seed(store: ModelStore, arguments: argparse.Namespace) -> int:
    was_set = bool(store.history(Alias.STABLE))
    digest = _checked(arguments.directory) if arguments.dry_run else seed(store, arguments.directory)
    if arguments.json:
        _print_json({"is_dry_run": arguments.dry_run, "digest": digest, "sets_stable": not was_set, "undo": None})
        return 0
    would = "would be " if arguments.dry_run else ""
    stable = "stays where it is" if was_set else f"{would}set to it; to undo, promote another version"
    print(f"{would}published {short(digest)}; stable {stable}")
    return 0


def _checked(directory: Path) -> str:
    """The digest of a bundle that `seed` would take."""
    manifest = inspect_bundle(directory, allow_hard_links=True)
    check_contents(directory, manifest)
    return manifest.digest


def _aliases(store: ModelStore) -> dict[str, list[str]]:
    """The aliases of each digest that has one."""
    aliases: dict[str, list[str]] = {}
    for alias, state in _alias_fields(store).items():
        aliases.setdefault(str(state["digest"]), []).append(alias)
    return aliases


def _alias_fields(store: ModelStore) -> dict[str, _Fields]:
    fields: dict[str, _Fields] = {}
    for alias in Alias:
        with suppress(AliasNotFoundError):
            fields[alias.value] = dict(store.resolve(alias)._asdict())
    return fields


def _version_fields(version: StoredVersion, aliases: dict[str, list[str]]) -> _Fields:
    fields: _Fields = {"digest": version.digest, "aliases": aliases.get(version.digest, [])}
    if version.manifest is not None:
        fields |= version.manifest.model_dump(mode="json", include={"name", "created_at", "metrics"})
        fields |= {"num_bytes": bundle_size(version.manifest), "parent": version.manifest.lineage.parent}
    return fields | {"problem": _problem_fields(version)}


def _problem_fields(version: StoredVersion) -> dict[str, str] | None:
    if version.problem is None:
        return None
    return {"code": version.problem.code, "message": str(version.problem)}


def _row(version: StoredVersion, aliases: dict[str, list[str]]) -> tuple[str, ...]:
    names = ", ".join(aliases.get(version.digest, [])) or "-"
    manifest = version.manifest
    if manifest is None:
        return (short(version.digest), "-", "-", "-", names, *["-"] * len(_LISTED_METRICS), "-", _state(version))
    metrics = [_metric(manifest, part) for part in _LISTED_METRICS]
    parent = short(manifest.lineage.parent) if manifest.lineage.parent else "-"
    size = f"{bundle_size(manifest) / 1e6:.1f}"
    return (short(version.digest), manifest.name, manifest.created_at, size, names, *metrics, parent, _state(version))


def _metric(manifest: Manifest, part: str) -> str:
    values = [value for name, value in sorted(manifest.metrics.items()) if part in name]
    return f"{values[0]:.3f}" if values else "-"


def _state(version: StoredVersion) -> str:
    return f"REFUSED {version.problem.code}: {version.problem}" if version.problem else "ok"


def _move_row(move: AliasMove) -> tuple[str, ...]:
    before = short(move.from_digest) if move.from_digest else "-"
    return (str(move.generation), move.time, move.action, before, short(move.to_digest), move.reason)


def _for_people(manifest: _Fields) -> _Fields:
    """The manifest without the golden run, which is long and means nothing to a reader."""
    return {name: value for name, value in manifest.items() if name != "golden_run"}


def _print_json(fields: _Fields) -> None:
    print(json.dumps(fields, ensure_ascii=False))


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
