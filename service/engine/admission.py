"""Which requests an engine takes: those that its model can serve, while there is a place."""

from collections.abc import Collection

from service.engine.errors import (
    DuplicateRequestError,
    EngineOverloadedError,
    InvalidPromptError,
    InvalidSamplingError,
)
from service.engine.types import CompletionRequest, EngineOptions


class Admission:
    """Checks a request against the model's limits and the number of places: slots plus queue."""

    def __init__(self, options: EngineOptions, *, max_context: int, vocab_size: int) -> None:
        self._options = options
        self._max_context = max_context
        self._vocab_size = vocab_size

    def check(self, request: CompletionRequest, live_ids: Collection[str]) -> None:
        """Raises InvalidRequestError's subclasses for what can never be served, EngineOverloadedError for now."""
        if request.request_id in live_ids:
            raise DuplicateRequestError(request_id=request.request_id)
        self._check_prompt(request.prompt_ids)
        self._check_bans(request.sampling.banned_token_ids)
        self._check_ids("opening_token_ids", request.sampling.opening_token_ids)
        if len(live_ids) >= self._options.num_slots + self._options.queue_length:
            raise EngineOverloadedError(num_slots=self._options.num_slots, queue_length=self._options.queue_length)

    def _check_prompt(self, prompt_ids: tuple[int, ...]) -> None:
        if not prompt_ids:
            raise InvalidPromptError(problem="it has no tokens")
        if len(prompt_ids) >= self._max_context:
            room = self._max_context - 1
            raise InvalidPromptError(
                problem=f"it has {len(prompt_ids)} tokens, and at most {room} leave room for a reply"
            )
        if min(prompt_ids) < 0 or max(prompt_ids) >= self._vocab_size:
            raise InvalidPromptError(problem=f"its token ids must be 0 to {self._vocab_size - 1}")

    def _check_bans(self, banned: frozenset[int]) -> None:
        self._check_ids("banned_token_ids", banned)
        if len(banned) == self._vocab_size:
            raise InvalidSamplingError(parameter="banned_token_ids", value="every token", expected="fewer than all ids")

    def _check_ids(self, parameter: str, token_ids: frozenset[int]) -> None:
        if token_ids and (min(token_ids) < 0 or max(token_ids) >= self._vocab_size):
            expected = f"ids from 0 to {self._vocab_size - 1}"
            raise InvalidSamplingError(parameter=parameter, value=sorted(token_ids), expected=expected)
