"""Errors of the engine.

EngineError
├── InvalidRequestError
│   ├── InvalidSamplingError
│   ├── InvalidPromptError
│   └── DuplicateRequestError
├── EngineOverloadedError
├── EngineClosedError
├── ModelUnusableError
│   └── GoldenRunMismatchError
└── NonFiniteLogitsError
"""

from model_store.errors import CodedError


class EngineError(CodedError):
    """The root: the engine cannot do what it was asked to."""

    code = "engine_error"
    template = "The engine failed."


class InvalidRequestError(EngineError):
    """A request that no engine with this model can ever serve."""

    code = "invalid_request"


class InvalidSamplingError(InvalidRequestError):
    """A sampling parameter is out of range."""

    code = "invalid_sampling"
    template = "The sampling parameter {parameter} cannot be {value!r}: it must be {expected}."


class InvalidPromptError(InvalidRequestError):
    """The prompt is empty, too long, or holds ids that the vocabulary does not have."""

    code = "invalid_prompt"
    template = "The prompt cannot be completed: {problem}."


class DuplicateRequestError(InvalidRequestError):
    """The request's id belongs to a completion that is still being made."""

    code = "duplicate_request"
    template = "A completion with the id {request_id!r} is already being made. Give every request an id of its own."


class EngineOverloadedError(EngineError):
    """All slots and all places of the queue are taken."""

    code = "engine_overloaded"
    template = (
        "All {num_slots} slots and {queue_length} waiting places are taken. Try again when a completion has ended."
    )


class EngineClosedError(EngineError):
    """The engine was closed and has let go of its model."""

    code = "engine_closed"
    template = "The engine is closed. Open the version again to use it."


class ModelUnusableError(EngineError):
    """The bundle's graph cannot be loaded, or is not the one that its manifest describes."""

    code = "model_unusable"
    template = "The graph {path} cannot be used: {problem}. Publish the version again."


class GoldenRunMismatchError(ModelUnusableError):
    """The engine does not reproduce the completion that was recorded when the version was made."""

    code = "golden_run_mismatch"
    template = (
        "The golden run differs from token {position} on: expected {expected}, got {actual}. The version is not used."
    )


class NonFiniteLogitsError(EngineError):
    """The network computed infinities or NaN; nothing that it says can be trusted."""

    code = "non_finite_logits"
    template = "The model's logits are not finite in {num_rows} row(s). Roll back to another version."
