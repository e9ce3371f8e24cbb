"""The connection by which the staff reads: it cannot write, and it takes no turn of the service's own connection."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from model_store.knowledge.rated_replies import RatedReply
from service.records.database import open_reader, transaction
from service.records.errors import ConversationNotFoundError, RecordStoreUnavailableError, SearchTooBroadError
from service.records.review import dossier, rated, ratings, replies
from service.records.review.dossier import Choices, Dossier
from service.records.review.ratings import RaterCount, RatingKey, StandingRating
from service.records.review.replies import FoundReply, QueuePlace, ReplyPlace
from service.records.review.reply_filter import ReplyFilter
from service.records.statements.rulings import is_rated
from service.records.storable import is_storable_text
from service.records.store import GoldRating, RatingRuling

_MAX_STATEMENT_SECONDS = 10.0


class ReviewReader:
    """Finds and reads what was recorded.

    Its methods block, and raise RecordStoreUnavailableError, or SearchTooBroadError for what takes too long.
    """

    def __init__(self, engine: Engine) -> None:
        """Takes over `engine`, whose database must have been migrated."""
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> "ReviewReader":
        """A reader beside a service that writes. Raises RecordsError."""
        return cls(open_reader(url, max_statement_seconds=_MAX_STATEMENT_SECONDS))

    def newest(self, wanted: ReplyFilter, *, limit: int, before: ReplyPlace | None = None) -> tuple[FoundReply, ...]:
        """See `replies.newest`."""
        with self._reading() as connection:
            return replies.newest(connection, wanted, limit=limit, before=before)

    def worth_a_look(
        self, wanted: ReplyFilter, *, limit: int, after: QueuePlace | None = None
    ) -> tuple[FoundReply, ...]:
        """See `replies.worth_a_look`."""
        with self._reading() as connection:
            return replies.worth_a_look(connection, wanted, limit=limit, after=after)

    def dossier(
        self, tenant: str, conversation_id: str, *, up_to: str | None = None, max_replies: int = 100
    ) -> Dossier:
        """See `dossier.read_dossier`."""
        if not is_storable_text(conversation_id):
            raise ConversationNotFoundError(conversation_id=conversation_id)
        with self._reading() as connection:
            return dossier.read_dossier(connection, tenant, conversation_id, up_to=up_to, max_replies=max_replies)

    def choices(self, tenant: str) -> Choices:
        """See `dossier.read_choices`."""
        with self._reading() as connection:
            return dossier.read_choices(connection, tenant)

    def rated(self, tenant: str, language: str) -> tuple[RatedReply, ...]:
        """See `rated.read_rated`."""
        with self._reading() as connection:
            return rated.read_rated(connection, tenant, language)

    def standing_ratings(self, tenant: str, keys: Collection[RatingKey]) -> dict[RatingKey, StandingRating]:
        """See `ratings.standing`."""
        with self._reading() as connection:
            return ratings.standing(connection, tenant, keys)

    def rulings(self, tenant: str) -> tuple[RatingRuling, ...]:
        """See `ratings.rulings`."""
        with self._reading() as connection:
            return ratings.rulings(connection, tenant)

    def is_rated(self, ruling: RatingRuling) -> bool:
        """Whether a rating stands that the ruling is about."""
        with self._reading() as connection:
            return is_rated(connection, ruling)

    def rater_counts(self, tenant: str, *, limit: int) -> tuple[RaterCount, ...]:
        """See `ratings.rater_counts`."""
        with self._reading() as connection:
            return ratings.rater_counts(connection, tenant, limit=limit)

    def gold(self, tenant: str) -> list[GoldRating]:
        """A tenant's gold list, the oldest first."""
        with self._reading() as connection:
            return list(ratings.gold(connection, tenant))

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with transaction(self._engine) as connection:
                yield connection
        except RecordStoreUnavailableError as error:
            if _was_broken_off(error.__cause__):
                raise SearchTooBroadError() from error
            raise

    def close(self) -> None:
        """Lets go of the database."""
        self._engine.dispose()


def _was_broken_off(error: BaseException | None) -> bool:
    """Whether a statement ran longer than it may, in either driver's words."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    return getattr(cause, "sqlite_errorname", "") == "SQLITE_INTERRUPT" or type(cause).__name__ == "QueryCanceled"
