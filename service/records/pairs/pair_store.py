"""Where pairs are kept: the port, its SQL, and the connection by which they are read, which cannot write."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Connection, Engine

from model_store.contract.feedback import Choice
from service.records.database import open_reader, transaction
from service.records.pairs import statements
from service.records.pairs.pair import PairCounts, PairPrompt, PreferencePair
from service.records.storable import check_storable

_MAX_STATEMENT_SECONDS = 10.0

Write = Callable[[Callable[[Connection], Any]], Any]
"""Does work in a transaction, and returns when that is on disk."""


class PairStore(Protocol):
    """Keeps pairs. Its methods block, and raise RecordStoreUnavailableError."""

    def offer(self, pair: PreferencePair) -> None:
        """Keeps a pair that is shown now; what the rater was offered before and has not chosen from goes.

        Raises CompletionNotFoundError, also for another tenant's completion, and UnstorableRecordError.
        """

    def choose(self, tenant: str, rater: str, pair_id: str, choice: Choice) -> PreferencePair:
        """Keeps the rater's choice; the same one again changes nothing.

        Raises PairNotFoundError, also for what another rater was offered, and PairChosenError.
        """


class SqlPairStore:
    """A `PairStore` over the record store's own connection."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def offer(self, pair: PreferencePair) -> None:
        """See `PairStore.offer`."""
        check_storable(pair)
        self._write(lambda connection: statements.offer(connection, pair))

    def choose(self, tenant: str, rater: str, pair_id: str, choice: Choice) -> PreferencePair:
        """See `PairStore.choose`."""
        found: PreferencePair = self._write(
            lambda connection: statements.choose(connection, tenant, rater, pair_id, choice)
        )
        return found


class PairReader:
    """Finds pairs, and prompts to make pairs of. Its methods block, and raise RecordStoreUnavailableError."""

    def __init__(self, engine: Engine) -> None:
        """Takes over `engine`, whose database must have been migrated."""
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> "PairReader":
        """A reader beside a service that writes. Raises RecordsError."""
        return cls(open_reader(url, max_statement_seconds=_MAX_STATEMENT_SECONDS))

    def check_offered(self, tenant: str, rater: str, pair_id: str) -> None:
        """See `statements.check_offered`."""
        with transaction(self._engine) as connection:
            statements.check_offered(connection, tenant, rater, pair_id)

    def find_open(self, tenant: str, rater: str, digests: tuple[str, str]) -> PreferencePair | None:
        """See `statements.find_open`."""
        with transaction(self._engine) as connection:
            return statements.find_open(connection, tenant, rater, digests)

    def prompts(self, tenant: str, rater: str, digests: tuple[str, str], *, limit: int) -> list[PairPrompt]:
        """See `statements.prompts`."""
        with transaction(self._engine) as connection:
            return statements.prompts(connection, tenant, rater, digests, limit=limit)

    def prompt_of(self, tenant: str, completion_id: str) -> PairPrompt:
        """See `statements.prompt_of`."""
        with transaction(self._engine) as connection:
            return statements.prompt_of(connection, tenant, completion_id)

    def count(self, tenant: str, digests: tuple[str, str]) -> PairCounts:
        """See `statements.count`."""
        with transaction(self._engine) as connection:
            return statements.count(connection, tenant, digests)

    def chosen(
        self, tenant: str, *, after: tuple[datetime, str] | None = None, limit: int
    ) -> list[tuple[PreferencePair, PairPrompt]]:
        """See `statements.chosen`."""
        with transaction(self._engine) as connection:
            return statements.chosen(connection, tenant, after=after, limit=limit)

    def close(self) -> None:
        """Lets go of the database."""
        self._engine.dispose()
