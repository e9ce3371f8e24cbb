"""`python -m model_store keys new · keys show · sign`: keys to sign versions with, and what is signed with them."""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from model_store.digest import short
from model_store.errors import BundleError
from model_store.signing import SigningKey, TrustedKeys
from model_store.store import ModelStore, StoredVersion

_Add = Callable[..., argparse.ArgumentParser]


def add_to(commands: Any, add: _Add) -> None:
    """Adds the commands to the parser's; `add` gives one the options that all have."""
    keys = commands.add_parser("keys", help="Make a key to sign versions with, or show one.")
    actions = keys.add_subparsers(required=True, metavar="ACTION")
    for name, command, summary in (
        ("new", _new, "Make a private key in a new file; print the public one."),
        ("show", _show, "Print the public key of a private one."),
    ):
        action = actions.add_parser(name, help=summary, description=summary)
        action.add_argument("path", metavar="PATH", type=Path, help="the private key's PEM file")
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object")
        action.set_defaults(command=command)
    sign = add("sign", _sign, "Sign a version, so that services which trust the key take it.")
    sign.add_argument("version", metavar="VERSION", help="an alias, a digest, or at least 8 digits of one")
    sign.add_argument("--key", metavar="PATH", type=Path, required=True, help="the private key's PEM file")


def with_signature(store: ModelStore, version: StoredVersion, trusted: TrustedKeys) -> StoredVersion:
    """The same version, refused where none of these keys has signed it."""
    try:
        trusted.check(version.digest, store.signatures(version.digest))
    except BundleError as error:
        return replace(version, problem=version.problem or error)
    return version


def _new(store: ModelStore, arguments: argparse.Namespace) -> int:
    return _tell(SigningKey.create(arguments.path), arguments)


def _show(store: ModelStore, arguments: argparse.Namespace) -> int:
    return _tell(SigningKey.load(arguments.path), arguments)


def _tell(key: SigningKey, arguments: argparse.Namespace) -> int:
    fields = {"path": str(arguments.path), "public_key": key.public_key}
    print(json.dumps(fields) if arguments.json else key.public_key)
    return 0


def _sign(store: ModelStore, arguments: argparse.Namespace) -> int:
    digest = store.find(arguments.version)
    signature = store.sign(digest, SigningKey.load(arguments.key))
    if arguments.json:
        print(json.dumps({"digest": digest, **signature.model_dump()}))
    else:
        print(f"signed {short(digest)} by {signature.key}")
    return 0
