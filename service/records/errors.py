"""Errors of the record store and of feedback tokens.

RecordsError
├── InvalidRecordStoreUrlError
├── RecordStoreUnavailableError
├── RecordSchemaError
├── MissingPackageError
├── RestoreIncompleteError
├── ExportUnreadableError
├── CompletionNotFoundError
├── CompletionExistsError
├── ConversationNotFoundError
├── ConversationErasedError
├── TooManyTagsError
├── PairNotFoundError
├── PairChosenError
├── RatingNotFoundError
├── SearchTooBroadError
├── UnstorableRecordError
├── IdempotencyError
│   ├── IdempotencyKeyReusedError
│   └── IdempotencyKeyInUseError
└── FeedbackTokenError
    ├── InvalidFeedbackTokenError
    └── ExpiredFeedbackTokenError
"""

from model_store.errors import CodedError


class RecordsError(CodedError):
    """The root: something is wrong with the records or with the right to change them."""

    code = "records_error"
    template = "The record store failed."


class InvalidRecordStoreUrlError(RecordsError):
    """The database URL names nothing that completions can be kept in."""

    code = "invalid_record_store_url"
    template = (
        "The database URL cannot be used: {problem}. "
        "Give sqlite:///path/to/records.db or postgresql://user:password@host/database."
    )


class RecordStoreUnavailableError(RecordsError):
    """The database does not answer, is locked, is full or refuses to write; trying again later may work."""

    code = "record_store_unavailable"
    template = "The record store {store} cannot be used: {problem}. Nothing was acknowledged; try again."


class RecordSchemaError(RecordsError):
    """The database was migrated by a newer version of this program."""

    code = "record_schema_unknown"
    template = "The tables in {store} cannot be migrated: {problem}. Run the version of the service that made them."


class MissingPackageError(RecordsError):
    """An export needs a package that is not installed."""

    code = "missing_package"
    template = "{what} needs {package}. Install it: python -m pip install 'rejoinder[{extra}]'."


class RestoreIncompleteError(RecordsError):
    """A backup was restored without the list of what was erased after it was made."""

    code = "restore_incomplete"
    template = (
        "These records come from a backup, and {path} is missing: what was erased since would be back. Copy the file "
        "of that name from beside the backups; if it is lost, make an empty one, and erase again by hand."
    )


class ExportUnreadableError(RecordsError):
    """A file is not, or no longer, what an export writes; it was left as it is."""

    code = "export_unreadable"
    template = "The export {path} cannot be cleaned: {problem}. It was left as it is; delete it, or export again."


class CompletionNotFoundError(RecordsError):
    """No completion of this tenant has this id."""

    code = "completion_not_found"
    template = "There is no completion {completion_id!r}. Use the id that came with the completion."


class CompletionExistsError(RecordsError):
    """A completion with this id is already recorded; it was left as it is."""

    code = "completion_exists"
    template = "The completion {completion_id!r} is already recorded. Record each completion once, under a new id."


class ConversationNotFoundError(RecordsError):
    """No conversation of this tenant has this id."""

    code = "conversation_not_found"
    template = "There is no conversation {conversation_id!r}. POST /v1/conversations begins one."


class ConversationErasedError(RecordsError):
    """The conversation was erased, so nothing is recorded under its id any more."""

    code = "conversation_erased"
    template = "The conversation {conversation_id!r} was erased. Begin a new one, under a new id."


class TooManyTagsError(RecordsError):
    """A conversation has all the tags that one may have."""

    code = "too_many_tags"
    template = "A conversation has at most {max_tags} tags. Take one off first."


class RatingNotFoundError(RecordsError):
    """No rating of this rater stands, or none of this completion."""

    code = "rating_not_found"
    template = "There is no such rating of {rater!r}. Give the rater and the completion as they are listed."


class PairNotFoundError(RecordsError):
    """No pair of this id was offered to this rater."""

    code = "pair_not_found"
    template = "There is no such pair for you to choose from. Ask for the next one."


class PairChosenError(RecordsError):
    """A choice was made between these two replies already, and another one cannot be blind."""

    code = "pair_chosen"
    template = "You have chosen between these two already, and know by now which is which. Ask for the next pair."


class SearchTooBroadError(RecordsError):
    """Finding what was asked for was broken off, for it took too long."""

    code = "search_too_broad"
    template = "This search takes too long. Narrow it: name dates, a version or a plan."


class UnstorableRecordError(RecordsError):
    """A record holds something that not every database can keep unchanged; nothing was written."""

    code = "unstorable_record"
    template = "The record was not stored: {field} holds {problem}. Remove it and send the record again."


class IdempotencyError(RecordsError):
    """An idempotency key cannot be used for this request."""

    code = "idempotency_error"


class IdempotencyKeyReusedError(IdempotencyError):
    """The key came before with another request."""

    code = "idempotency_key_reused"
    template = "This Idempotency-Key was used for another request. Send a new key with every new request."


class IdempotencyKeyInUseError(IdempotencyError):
    """The first request with this key is still being answered."""

    code = "idempotency_key_in_use"
    template = "The first request with this Idempotency-Key is still being answered. Send it again in a moment."


class FeedbackTokenError(RecordsError):
    """A feedback token does not give the right to rate this completion."""

    code = "feedback_token_error"


class InvalidFeedbackTokenError(FeedbackTokenError):
    """The feedback token was not issued by this service, or was issued for another completion or tenant."""

    code = "invalid_feedback_token"
    template = "The feedback token is not valid for completion {completion_id!r}. Use the one that came with it."


class ExpiredFeedbackTokenError(FeedbackTokenError):
    """The feedback token is genuine but too old."""

    code = "expired_feedback_token"
    template = "The feedback token of completion {completion_id!r} is older than {max_age_seconds} seconds."
