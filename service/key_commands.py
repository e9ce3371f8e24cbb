"""`python -m service keys create · list · revoke · person`: who may call, beside a running service or alone."""

import argparse
import json
import sys
from typing import Any

from service.access.api_keys import KEY_PREFIX, ApiKey, Scope, key_id, make_key
from service.access.key_store import KeyStore
from service.access.sign_in.people import person_id
from service.errors import MissingOptionError
from service.records.store import DEFAULT_TENANT
from service.settings import Settings, load_feedback_secret

_COLUMNS = ("ID", "TENANT", "NAME", "SCOPES", "ORIGINS", "CREATED", "REVOKED")


def add_to(commands: Any) -> None:
    """Adds the commands to the parser's."""
    keys = commands.add_parser("keys", help="make, list and revoke API keys; tell who a person is").add_subparsers(
        required=True, metavar="COMMAND"
    )
    create = keys.add_parser("create", help="make a key and print it, this once")
    create.add_argument("--tenant", default=DEFAULT_TENANT, help=f"whose it is; default: {DEFAULT_TENANT}")
    create.add_argument("--name", default="", help="what it is for, to tell it from others")
    create.add_argument(
        "--scope",
        dest="scopes",
        metavar="SCOPE",
        nargs="+",
        type=Scope,
        default=[Scope.CHAT, Scope.FEEDBACK],
        help=f"what it may do, of {' '.join(Scope)}; default: chat feedback",
    )
    create.add_argument(
        "--origin",
        dest="origins",
        metavar="ORIGIN",
        nargs="+",
        default=[],
        help="web pages that it may issue widget tokens for, like https://shop.example",
    )
    create.set_defaults(run=_create)
    listing = keys.add_parser("list", help="show all keys, none of them readable")
    listing.add_argument("--tenant", help="this tenant's only")
    listing.add_argument("--json", action="store_true", help="print a JSON array")
    listing.set_defaults(run=_list)
    revoke = keys.add_parser("revoke", help="end a key for good")
    revoke.add_argument("key", metavar="KEY", help="its id, or the key itself where one was found")
    revoke.set_defaults(run=_revoke)
    person = keys.add_parser("person", help="show the id that audit and ratings have of somebody who signs in")
    person.add_argument("subject", metavar="SUBJECT", help="what the OpenID provider calls them: the claim `sub`")
    person.set_defaults(run=_person)


def _create(settings: Settings, options: argparse.Namespace) -> int:
    text, key = make_key(options.tenant, options.name, options.scopes, options.origins)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    store = KeyStore.open(settings.records_url)
    try:
        store.add(key)
    finally:
        store.close()
    print(text)
    scopes = ", ".join(sorted(key.scopes))
    print(f"{key.id} of tenant {key.tenant} ({scopes}). It is not shown again. {_when(settings)}", file=sys.stderr)
    return 0


def _list(settings: Settings, options: argparse.Namespace) -> int:
    store = KeyStore.open_reader(settings.records_url)
    try:
        keys = store.list(tenant=options.tenant)
    finally:
        store.close()
    rows = [_fields(key) for key in keys]
    if options.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    texts = [_COLUMNS, *(tuple(map(_text, row.values())) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _revoke(settings: Settings, options: argparse.Namespace) -> int:
    store = KeyStore.open(settings.records_url)
    try:
        key = store.revoke(key_id(options.key) if options.key.startswith(KEY_PREFIX) else options.key)
    finally:
        store.close()
    print(f"{key.id} of tenant {key.tenant} is revoked, and its widget tokens with it. {_when(settings)}")
    return 0


def _person(settings: Settings, options: argparse.Namespace) -> int:
    if settings.oidc_issuer is None:
        raise MissingOptionError(option="SERVICE_OIDC_ISSUER", reason="it is half of what a person's id is made of")
    print(person_id(settings.oidc_issuer, options.subject, load_feedback_secret(settings)))
    return 0


def _when(settings: Settings) -> str:
    return f"A running service follows within {settings.poll_seconds:g} seconds."


def _fields(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "origins": list(key.origins),
        "created_at": key.created_at.isoformat(timespec="seconds"),
        "revoked_at": key.revoked_at.isoformat(timespec="seconds") if key.revoked_at else None,
    }


def _text(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else str(value or "-")
