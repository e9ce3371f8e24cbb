"""The one translator from errors to HTTP, and the OpenAI-shaped envelope that every error wears.

Nothing that a caller sent is repeated in an error: it may be personal, and it may not be serialisable.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from model_store.errors import (
    AliasConflictError,
    AliasNotFoundError,
    BundleError,
    CodedError,
    InvalidConversationError,
    NoEarlierVersionError,
    StoreError,
    StoreUnavailableError,
    VersionNotFoundError,
)
from service.access.errors import ForbiddenError, InvalidApiKeyError, RateLimitedError
from service.api.openapi import document_errors
from service.errors import (
    ModelNotFoundError,
    NoCanaryError,
    RequestError,
    RequestTimeoutError,
    RequestTooLargeError,
    ServiceError,
    UnavailableError,
    VersionUnusableError,
)
from service.records.errors import (
    CompletionNotFoundError,
    ConversationErasedError,
    ConversationNotFoundError,
    FeedbackTokenError,
    IdempotencyKeyInUseError,
    IdempotencyKeyReusedError,
    PairChosenError,
    PairNotFoundError,
    RatingNotFoundError,
    RecordsError,
    RecordStoreUnavailableError,
    SearchTooBroadError,
    TooManyTagsError,
)

_log = structlog.get_logger(__name__)

_STATUS_BY_ERROR: tuple[tuple[type[Exception], int, str], ...] = (
    (ModelNotFoundError, 404, "invalid_request_error"),
    (NoCanaryError, 409, "conflict_error"),
    (VersionUnusableError, 409, "conflict_error"),
    (InvalidApiKeyError, 401, "authentication_error"),
    (RequestTooLargeError, 413, "invalid_request_error"),
    (RequestTimeoutError, 408, "invalid_request_error"),
    (RequestError, 400, "invalid_request_error"),
    (InvalidConversationError, 400, "invalid_request_error"),
    (ForbiddenError, 403, "permission_error"),
    (RateLimitedError, 429, "rate_limit_error"),
    (UnavailableError, 503, "server_error"),
    (CompletionNotFoundError, 404, "invalid_request_error"),
    (ConversationNotFoundError, 404, "invalid_request_error"),
    (ConversationErasedError, 410, "invalid_request_error"),
    (PairNotFoundError, 404, "invalid_request_error"),
    (PairChosenError, 409, "conflict_error"),
    (TooManyTagsError, 400, "invalid_request_error"),
    (RatingNotFoundError, 404, "invalid_request_error"),
    (SearchTooBroadError, 400, "invalid_request_error"),
    (IdempotencyKeyReusedError, 422, "idempotency_error"),
    (IdempotencyKeyInUseError, 409, "idempotency_error"),
    (FeedbackTokenError, 403, "permission_error"),
    (RecordStoreUnavailableError, 503, "server_error"),
    (VersionNotFoundError, 404, "invalid_request_error"),
    (AliasNotFoundError, 409, "conflict_error"),
    (AliasConflictError, 409, "conflict_error"),
    (NoEarlierVersionError, 409, "conflict_error"),
    (BundleError, 409, "conflict_error"),
    (StoreUnavailableError, 503, "server_error"),
)
_PARAM_BY_ERROR: Mapping[type[Exception], str] = {
    InvalidConversationError: "messages",
    CompletionNotFoundError: "completion_id",
    ConversationNotFoundError: "conversation_id",
    ConversationErasedError: "conversation_id",
}
_MESSAGE_BY_CODE = {
    "completion_not_found": "There is no such completion. Use the id that came with the completion.",
    "conversation_not_found": "There is no such conversation. POST /v1/conversations begins one.",
    "conversation_erased": "This conversation was erased. Begin a new one, under a new id.",
    "version_not_found": "There is no such model version. GET /v1/model-versions lists those on the shelf.",
    "alias_not_found": "No version was ever promoted here, so there is none to go on from.",
    "alias_conflict": "Somebody else has moved this alias meanwhile. Look at how things stand, and decide again.",
    "no_earlier_version": "No version answered before this one, so there is none to go back to.",
    "store_unavailable": "The model store cannot be used now. Try again in a moment.",
}
_DAMAGED = "This version is damaged or incomplete, so it is not used. The operator finds the reason in the log."
_CODE_BY_STATUS = {404: "not_found", 405: "method_not_allowed"}
_CODE_BY_PYDANTIC_TYPE = {
    "missing": "missing_parameter",
    "json_invalid": "invalid_json",
    "string_unicode": "unsafe_text",
}
_OWN_CODES = ("unsupported_parameter", "unsafe_text")
_RECORDS_RETRY_AFTER_SECONDS = 5
_INTERNAL_MESSAGE = "The service failed. Send the request again; if it fails again, tell the operator its x-request-id."
_UNREADABLE_BODY = "The body cannot be read as JSON. Send an object with content type application/json."

NAMED_ERRORS = (ServiceError, RecordsError, StoreError)
REFUSED_FOR_NOW = (429, 503)
"""What comes by the hundred when there is too much to do: logged together, see `RefusalLog`."""

Envelope = dict[str, dict[str, str | None]]


class RefusalLog:
    """One line a second about whatever was refused, for each reason: a full service must not be busy with saying so.

    Lives on the event loop. The first refusal is told at once.
    """

    def __init__(self, seconds_between_lines: float = 1.0) -> None:
        self._seconds_between_lines = seconds_between_lines
        self._untold = Counter[str]()
        self.is_resting = False
        """Whether something was told within that time."""

    def note(self, code: str) -> None:
        """Counts one refusal for this reason."""
        self._untold[code] += 1
        if not self.is_resting:
            self._tell()

    def _tell(self) -> None:
        for code, num_requests in self._untold.items():
            _log.warning("requests_refused", code=code, num_requests=num_requests)
        self.is_resting = bool(self._untold)
        self._untold.clear()
        if self.is_resting:
            asyncio.get_running_loop().call_later(self._seconds_between_lines, self._tell)


def refusals_of(app: FastAPI) -> RefusalLog:
    """The one log of an application's refusals."""
    refusals: RefusalLog = app.state.refusals
    return refusals


def envelope(message: str, error_type: str, code: str, param: str | None = None) -> Envelope:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": error_type, "param": param, "code": code}}


def translate(error: Exception) -> tuple[int, Envelope, dict[str, str]]:
    """HTTP status, envelope and headers of an error. What is not the caller's to know becomes a plain 500."""
    for kind, status, error_type in _STATUS_BY_ERROR:
        if isinstance(error, kind):
            code = str(getattr(error, "code", "error"))
            param = getattr(error, "param", None) or _PARAM_BY_ERROR.get(kind)
            return status, envelope(_public_message(error), error_type, code, param), _headers(error)
    return 500, envelope(_INTERNAL_MESSAGE, "server_error", str(getattr(error, "code", "internal_error"))), {}


def error_response(error: Exception) -> JSONResponse:
    """An error as a response."""
    status, body, headers = translate(error)
    return JSONResponse(body, status, headers)


def install_error_handlers(app: FastAPI) -> None:
    """Makes every error of this application leave in the envelope, and its OpenAPI say so."""
    document_errors(app)
    app.state.refusals = RefusalLog()
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_exception)
    for kind in NAMED_ERRORS:
        app.add_exception_handler(kind, handle_error)


async def handle_error(request: Request, error: Exception) -> JSONResponse:
    """The response to one of the named errors, which is logged where it is the service's."""
    response = error_response(error)
    code = str(getattr(error, "code", None))
    if response.status_code in REFUSED_FOR_NOW:
        refusals_of(request.app).note(code)
    elif response.status_code >= 500:
        _log.error("request_refused", code=code, error=type(error).__name__)
    return response


async def _handle_http_exception(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 400:  # FastAPI could not read the body: nested too deep, not UTF-8, a number of 5,000 digits …
        return JSONResponse(envelope(_UNREADABLE_BODY, "invalid_request_error", "invalid_json"), status)
    code = _CODE_BY_STATUS.get(status, "http_error")
    message = {404: "There is nothing at this path.", 405: "This path does not take this method."}.get(
        status, "Refused."
    )
    headers = error.headers if isinstance(error, HTTPException) else None  # a 405 names the methods that there are
    return JSONResponse(envelope(message, "invalid_request_error", code), status, headers)


async def _handle_validation_error(request: Request, error: Exception) -> JSONResponse:
    problems: Sequence[Mapping[str, Any]] = error.errors() if isinstance(error, RequestValidationError) else []
    first = problems[0]
    kind = str(first["type"])
    code = _CODE_BY_PYDANTIC_TYPE.get(kind) or (kind if kind in _OWN_CODES else "invalid_value")
    # Schemas ignore unknown fields, so `loc` holds no name that the caller made up; "<" marks a branch of a union.
    param = ".".join(str(part) for part in first["loc"][1:] if not str(part).startswith("<")) or None
    is_unreadable = param is None and kind in ("missing", "model_attributes_type")
    if is_unreadable or code == "invalid_json":
        return JSONResponse(envelope(_UNREADABLE_BODY, "invalid_request_error", "invalid_json"), 400)
    message = str(first["msg"]) if param is None else f"{param}: {first['msg']}"
    return JSONResponse(envelope(message, "invalid_request_error", code, param), 400)


def _public_message(error: Exception) -> str:
    if isinstance(error, RecordStoreUnavailableError):  # Its own message names the database.
        return "The records cannot be written now. Nothing was stored; try again in a moment."
    if isinstance(error, CodedError) and error.code in _MESSAGE_BY_CODE:
        return _MESSAGE_BY_CODE[error.code]
    if isinstance(error, BundleError):  # names a path
        return _DAMAGED
    if isinstance(error, FeedbackTokenError):
        return {
            "expired_feedback_token": "The feedback token is too old: this completion can no longer be rated.",
        }.get(error.code, "The feedback token is not valid for this completion. Use the one that came with it.")
    return str(error)


def _headers(error: Exception) -> dict[str, str]:
    if isinstance(error, UnavailableError):
        return {"retry-after": str(error.retry_after_seconds)}
    if isinstance(error, RecordStoreUnavailableError):
        return {"retry-after": str(_RECORDS_RETRY_AFTER_SECONDS)}
    if isinstance(error, InvalidApiKeyError):
        return {"www-authenticate": "Bearer"}
    return {}
