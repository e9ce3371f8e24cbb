"""The connection by which counts are read: it cannot write, and it takes no turn of the service's own connection."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Engine

from service.records.database import open_reader, transaction
from service.records.oversight.usage import Usage, UsageFilter, read_usage
from service.records.oversight.votes import Votes, count_votes

_MAX_STATEMENT_SECONDS = 10.0


class OversightReader:
    """Counts records. Its methods block, and raise RecordStoreUnavailableError."""

    def __init__(self, engine: Engine) -> None:
        """Takes over `engine`, whose database must have been migrated."""
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> "OversightReader":
        """A reader beside a service that writes. Raises RecordsError."""
        return cls(open_reader(url, max_statement_seconds=_MAX_STATEMENT_SECONDS))

    def usage(self, wanted: UsageFilter) -> Usage:
        """See `usage.read_usage`."""
        with transaction(self._engine) as connection:
            return read_usage(connection, wanted)

    def votes(self, digests: Collection[str], since: datetime, *, tenant: str | None) -> dict[str, Votes]:
        """See `votes.count_votes`."""
        with transaction(self._engine) as connection:
            return count_votes(connection, digests, since, tenant=tenant)

    def close(self) -> None:
        """Lets go of the database."""
        self._engine.dispose()
