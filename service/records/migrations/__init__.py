"""The history of the tables, applied at start. New files go into the last folder of `versions`; released ones stay.

Alembic runs from this package: there is no alembic.ini, and `env` gets its connection from `upgrade`.
"""

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from service.records.database import transaction
from service.records.errors import RecordSchemaError

_ADVISORY_LOCK_KEY = 0x52454A4F


def migrated(engine: Engine) -> Engine:
    """The engine, its tables brought to the newest revision; closed where that fails. Raises as `upgrade` does."""
    try:
        upgrade(engine)
    except BaseException:  # raised again: nobody else knows this engine yet, so nobody else could close it
        engine.dispose()
        raise
    return engine


def upgrade(engine: Engine) -> None:
    """Brings the tables to the newest revision, all of it or nothing; does nothing when they are there already.

    Several services may start at once: one migrates, the others wait for it. Raises RecordSchemaError when the database
    knows a revision that this program does not, RecordStoreUnavailableError when it cannot be reached or written.
    """
    config = Config()
    config.set_main_option("script_location", "service.records:migrations")
    config.set_main_option("recursive_version_locations", "true")
    with transaction(engine) as connection:
        if connection.dialect.name == "postgresql":
            _wait_for_other_migrations(connection)
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            store = engine.url.render_as_string(hide_password=True)
            raise RecordSchemaError(store=store, problem=error) from error


def _wait_for_other_migrations(connection: Connection) -> None:
    # SQLite needs no lock of its own: BEGIN IMMEDIATE is one. Migrating may take longer than a request may.
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK_KEY})
