"""Errors of the service that are not the records', the engine's or the shelf's own.

Each class has a stable `code` that clients may rely on. `service.api.errors` alone turns them into HTTP. Who may call:
`service.access.errors`.

ServiceError
├── SettingsError
│   ├── UnsafeBindError
│   ├── InvalidDataFileError
│   └── MissingOptionError
├── RequestError                  the caller's to mend
│   ├── InvalidValueError
│   ├── UnsupportedParameterError
│   ├── ContextLengthExceededError
│   ├── ModelNotFoundError
│   ├── NoCanaryError
│   ├── VersionUnusableError
│   ├── RequestTooLargeError
│   └── RequestTimeoutError
├── UnavailableError              try again later
│   ├── OverloadedError
│   ├── DrainingError
│   ├── ComparisonTimeoutError
│   └── ModelUnavailableError
└── CompletionFailedError
"""

from model_store.errors import CodedError


class ServiceError(CodedError):
    """The root: the service could not do what it was asked."""

    code = "service_error"
    template = "The service failed."
    param: str | None = None


class SettingsError(ServiceError):
    """The operator's settings or data files do not allow a start."""

    code = "invalid_settings"
    template = "The settings cannot be used: {problem}."


class UnsafeBindError(SettingsError):
    """The service would be open to the network without a key."""

    code = "unsafe_bind"
    template = (
        "Refusing to listen on {host} without an API key: everybody who reaches this address could use the bot. "
        "Make one with `python -m service keys create`, set SERVICE_API_KEY, or listen on 127.0.0.1."
    )


class InvalidDataFileError(SettingsError):
    """A data file that the operator can change cannot be read."""

    code = "invalid_data_file"
    template = "The file {path} cannot be used: {problem}."


class MissingOptionError(SettingsError):
    """A command cannot do without an option that was not given."""

    code = "missing_option"
    template = "Give {option}: {reason}."


class RequestError(ServiceError):
    """The request cannot be served as it is; sending it again will not help."""

    code = "invalid_request"
    template = "{problem}"

    def __init__(self, *, param: str | None = None, **context: object) -> None:
        super().__init__(**context)
        self.param = param


class InvalidValueError(RequestError):
    """A field has a value that this service does not allow."""

    code = "invalid_value"


class UnsupportedParameterError(RequestError):
    """A field asks for something that the model cannot do."""

    code = "unsupported_parameter"
    template = "This model does not support {name}. Leave it out."


class ContextLengthExceededError(RequestError):
    """The last message alone does not fit into the model's context."""

    code = "context_length_exceeded"
    template = (
        "The last message needs {num_tokens} tokens; with {max_tokens} tokens for the completion the model's context "
        "of {max_context} tokens leaves room for {num_free}. Shorten the message."
    )


class ModelNotFoundError(RequestError):
    """No loaded model goes by this name."""

    code = "model_not_found"
    template = "There is no such model. GET /v1/models lists the names that can be used."


class NoCanaryError(RequestError):
    """There is no candidate that answers beside the stable version."""

    code = "no_canary"
    template = "No canary is on: there is no candidate to hold."


class VersionUnusableError(RequestError):
    """A version on the shelf cannot be opened, so nothing can be asked of it."""

    code = "version_unusable"
    template = "Version {digest:.12} cannot be opened, so it answers nothing. The operator finds the reason in the log."


class RequestTooLargeError(RequestError):
    """The body is larger than the limit."""

    code = "request_too_large"
    template = "The request body is larger than {max_bytes} bytes. Send a shorter conversation."


class RequestTimeoutError(RequestError):
    """The body did not arrive in time."""

    code = "request_timeout"
    template = "The request body did not arrive within {timeout_seconds:g} seconds. Send it again."


class UnavailableError(ServiceError):
    """The service cannot take the request now; `retry_after_seconds` says when to try again."""

    code = "unavailable"

    def __init__(self, *, retry_after_seconds: int = 1, **context: object) -> None:
        super().__init__(**context)
        self.retry_after_seconds = retry_after_seconds


class OverloadedError(UnavailableError):
    """All slots and the queue are taken."""

    code = "overloaded"
    template = "All {capacity} places are taken. Try again in a moment."


class DrainingError(UnavailableError):
    """The service is shutting down."""

    code = "draining"
    template = "The service is shutting down and takes no new work. Try again: another instance will answer."


class ComparisonTimeoutError(UnavailableError):
    """Two versions did not answer everything they were asked in time."""

    code = "comparison_timeout"
    template = (
        "The versions did not answer within {timeout_seconds:g} seconds. Try again: what they have said so far is kept "
        "for a while."
    )


class ModelUnavailableError(UnavailableError):
    """No model version is loaded."""

    code = "model_unavailable"
    template = "No model version is loaded. The operator finds the reason in the log and in /metrics."


class CompletionFailedError(ServiceError):
    """The engine broke off while a completion was being made."""

    code = "completion_failed"
    template = "The completion could not be finished. Send the request again."
