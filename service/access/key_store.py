"""Where API keys are kept: a table beside the records. Statements only; what a key is: `api_keys`."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, Row, insert, select, update

from service.access.api_keys import ApiKey, Scope
from service.access.errors import ApiKeyNotFoundError
from service.records.database import open_engine, open_reader, transaction
from service.records.errors import RecordStoreUnavailableError
from service.records.migrations import migrated
from service.records.tables import api_keys


class KeyStore:
    """Makes, lists and revokes keys. Its methods block, and raise RecordStoreUnavailableError."""

    def __init__(self, engine: Engine) -> None:
        """Takes over `engine`, whose database must have been migrated."""
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> "KeyStore":
        """A store that can be written, in tables that are made where they are missing. Raises RecordsError."""
        return cls(migrated(open_engine(url)))

    @classmethod
    def open_reader(cls, url: str) -> "KeyStore":
        """A store that can only be read, beside a service that writes. Raises RecordsError."""
        return cls(open_reader(url))

    def add(self, key: ApiKey) -> None:
        """Keeps a new key."""
        values = {column.name: getattr(key, column.name) for column in api_keys.c}
        with transaction(self._engine) as connection:
            connection.execute(insert(api_keys).values({**values, "scopes": sorted(key.scopes)}))

    def list(self, *, tenant: str | None = None, is_live: bool = False) -> tuple[ApiKey, ...]:
        """Keys by tenant and age, of all tenants or one, with or without revoked ones."""
        query = select(api_keys).order_by(api_keys.c.tenant, api_keys.c.created_at)
        if tenant is not None:
            query = query.where(api_keys.c.tenant == tenant)
        if is_live:
            query = query.where(api_keys.c.revoked_at.is_(None))
        with transaction(self._engine) as connection:
            return tuple(_api_key(row) for row in connection.execute(query))

    def revoke(self, key_id: str) -> ApiKey:
        """Revokes a key for good; for one that is revoked already, says so again. Raises ApiKeyNotFoundError."""
        is_it = api_keys.c.id == key_id
        with transaction(self._engine) as connection:
            change = update(api_keys).where(is_it, api_keys.c.revoked_at.is_(None))
            connection.execute(change.values(revoked_at=datetime.now(UTC)))
            row = connection.execute(select(api_keys).where(is_it)).first()
        if row is None:
            raise ApiKeyNotFoundError(key_id=key_id)
        return _api_key(row)

    def close(self) -> None:
        """Lets go of the database."""
        self._engine.dispose()


def has_live_key(url: str) -> bool:
    """Whether any key has been made and not revoked; no for a database that is not there yet."""
    try:
        store = KeyStore.open_reader(url)
    except RecordStoreUnavailableError:
        return False
    try:
        return bool(store.list(is_live=True))
    except RecordStoreUnavailableError:
        return False
    finally:
        store.close()


def _api_key(row: Row[Any]) -> ApiKey:
    values = dict(row._mapping)
    values.update(scopes=frozenset(map(Scope, values["scopes"])), origins=tuple(values["origins"]))
    return ApiKey(**values)
