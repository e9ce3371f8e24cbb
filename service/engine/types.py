"""What goes into the engine and what comes out of it: plain frozen values."""

import math
from dataclasses import dataclass
from typing import Literal

from model_store.sampling import Opinion
from service.engine.errors import InvalidSamplingError

FinishReason = Literal["stop", "length", "cancelled"]
"""Why a completion ended. The engine says "stop" and "length" itself; "cancelled" is for who called `Engine.cancel`."""

MAX_TOP_LOGPROBS = 20


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the tokens of one completion are chosen. Raises InvalidSamplingError for a value out of range."""

    temperature: float = 1.0
    """0 takes the most probable token, always."""
    top_p: float = 1.0
    """Keep the most probable tokens that together reach this mass; 1 keeps all."""
    top_k: int = 0
    """Keep this many of the most probable tokens and those equal to the last; 0 keeps all."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens in prompt or completion (CTRL, Keskar et al. 2019)."""
    seed: int = 0
    """The same seed, prompt, parameters and model give the same completion, whoever else is being served."""
    max_tokens: int = 256
    num_top_logprobs: int = 0
    """Most probable tokens to report with each delta, 0 to 20."""
    banned_token_ids: frozenset[int] = frozenset()
    """Ids that are never chosen."""
    keeps_to_phrases: bool = False
    """Where the model is unsure of a word, it says one with which an author of the bundle's replies went on."""
    opening_token_ids: frozenset[int] = frozenset()
    """The first token is one of these, banned or not; empty for any that is not banned."""
    opening_min_p: float = 0.0
    """Openings less probable than this share of the most probable one are never drawn (min-p, Nguyen et al. 2024)."""
    opening_opinion: Opinion | None = None
    """What another model thinks of the openings; the first token is drawn as if the network thought so too."""
    num_opening_logprobs: int = 0
    """Most probable tokens to report with the first delta, where openings are given."""

    def __post_init__(self) -> None:
        _require(
            "temperature", self.temperature, math.isfinite(self.temperature) and self.temperature >= 0, "0 or more"
        )
        _require("top_p", self.top_p, 0 < self.top_p <= 1, "more than 0 and at most 1")
        _require("top_k", self.top_k, self.top_k >= 0, "0 or more")
        is_penalty = 0.1 <= self.repetition_penalty <= 10
        _require("repetition_penalty", self.repetition_penalty, is_penalty, "0.1 to 10")
        _require("seed", self.seed, -(2**63) <= self.seed < 2**63, "a signed 64-bit integer")
        _require("max_tokens", self.max_tokens, self.max_tokens >= 1, "1 or more")
        is_number = 0 <= self.num_top_logprobs <= MAX_TOP_LOGPROBS
        _require("num_top_logprobs", self.num_top_logprobs, is_number, f"0 to {MAX_TOP_LOGPROBS}")
        _require("opening_min_p", self.opening_min_p, 0 <= self.opening_min_p <= 1, "0 to 1")
        is_number = 0 <= self.num_opening_logprobs <= MAX_TOP_LOGPROBS
        _require("num_opening_logprobs", self.num_opening_logprobs, is_number, f"0 to {MAX_TOP_LOGPROBS}")


def _require(parameter: str, value: object, is_valid: bool, expected: str) -> None:
    if not is_valid:
        raise InvalidSamplingError(parameter=parameter, value=value, expected=expected)


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One completion to make; `request_id` is the caller's and unique among those being made."""

    request_id: str
    prompt_ids: tuple[int, ...]
    sampling: SamplingParams


@dataclass(frozen=True, slots=True)
class Delta:
    """One token of one completion. The end-of-sequence token comes as a delta too, with `finish_reason` "stop"."""

    request_id: str
    token_id: int
    logprob: float
    """Natural log-probability under the model itself (and the opening's opinion): nothing banned, temperature 1."""
    sampling_logprob: float
    """Natural log-probability of being drawn: after bans, penalty, temperature, top-k and top-p. 0 when greedy."""
    top_logprobs: tuple[tuple[int, float], ...]
    """The model's most probable (token id, log-probability) pairs, best first."""
    finish_reason: FinishReason | None
    num_reused: int = 0
    """With the first token: how many of the prompt's had been read for an earlier prompt that began alike."""
    num_drafted: int = 0
    """With the first token of a step: how many had been guessed to follow on what was there."""
    num_accepted: int = 0
    """With it, how many of those were right."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an engine may use. Caches are allocated for `num_slots` completions at full length when it opens."""

    num_slots: int = 16
    """Completions made at the same time; twice as many may wait."""
    num_threads: int = 1
    """Threads of one step, at most the CPUs that this process may use. More pay only on idle machines."""
    prefix_cache_bytes: int = 0
    """Most memory for keys and values of earlier prompts, beside the slots'; 0 keeps none."""
    max_draft_tokens: int = 0
    """Most tokens to guess ahead where one completion is made alone; 0 guesses none. Replies are the same."""

    knows_phrases: bool = False
    """Keep the bundle's replies at hand for requests that keep to their phrases."""

    @property
    def queue_length(self) -> int:
        """Completions that may wait for a slot."""
        return 2 * self.num_slots
