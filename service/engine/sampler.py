"""From logits to tokens: bans, repetition penalty, authors' phrases, temperature, top-k, top-p, then one draw.

In that order, Hugging Face's but for the phrases. Every completion draws from a generator of its own, one number a
token, so that its tokens depend on its seed and not on its neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_store.phrases import PhraseBook
from service.engine.errors import NonFiniteLogitsError
from service.engine.types import SamplingParams


@dataclass(frozen=True, slots=True)
class SampledToken:
    """A chosen token and how probable it was; see `Delta` for the two log-probabilities."""

    token_id: int
    logprob: float
    sampling_logprob: float
    top_logprobs: tuple[tuple[int, float], ...]


class SamplingState:
    """What one completion's next draw depends on besides the logits."""

    def __init__(
        self, params: SamplingParams, prompt_ids: Sequence[int], vocab_size: int, book: PhraseBook | None = None
    ) -> None:
        self.params = params
        self.generator = np.random.Generator(np.random.PCG64(params.seed % 2**64))
        self._banned = np.array(sorted(params.banned_token_ids), np.int64)
        self._openings = np.array(sorted(params.opening_token_ids), np.int64)
        keeps = params.keeps_to_phrases and book is not None
        self._place = book.open(params.banned_token_ids, prompt_ids) if book and keeps else None
        if self._place is not None:
            self._openings = self._place.open_ones(self._openings)
        self._seen: NDArray[np.bool_] | None = None
        if params.repetition_penalty != 1:
            self._seen = np.zeros(vocab_size, np.bool_)
            self._seen[np.asarray(prompt_ids, np.int64)] = True

    @property
    def num_top_logprobs(self) -> int:
        """How many of the most probable tokens the next delta tells."""
        rivals = self.params.num_opening_logprobs if len(self._openings) else 0
        return max(self.params.num_top_logprobs, rivals)

    def heard(self, logits: NDArray[np.float32]) -> NDArray[np.floating]:
        """Logits [V] of the opening with another model's opinion, if there is one; their total stays."""
        opinion = self.params.opening_opinion
        return opinion.applied(logits) if opinion is not None and len(self._openings) else logits

    def processed(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Logits [V] after openings or bans, repetition penalty and phrases; a copy."""
        scores = logits.astype(np.float64)
        if self._seen is not None:
            penalty = self.params.repetition_penalty
            seen_scores = scores[self._seen]
            scores[self._seen] = np.where(seen_scores > 0, seen_scores / penalty, seen_scores * penalty)
        if len(self._openings):
            return _only(self._likely_openings(scores), scores)
        scores[self._banned] = -np.inf
        return scores if self._place is None else self._place.keep(scores)

    def _likely_openings(self, scores: NDArray[np.float64]) -> NDArray[np.int64]:
        if self.params.opening_min_p == 0:
            return self._openings
        opening_scores = scores[self._openings]
        is_likely: NDArray[np.bool_] = opening_scores >= opening_scores.max() + np.log(self.params.opening_min_p)
        return self._openings[is_likely]

    def append(self, token_id: int) -> None:
        """Notes a token of the completion; openings are for the first one only."""
        self._openings = self._openings[:0]
        if self._place is not None:
            self._place.append(token_id)
        if self._seen is not None:
            self._seen[token_id] = True


def _only(token_ids: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.full_like(scores, -np.inf)
    kept[token_ids] = scores[token_ids]
    return kept


class Sampler:
    """Chooses one token a row. Stateless: what must be remembered is in each completion's SamplingState."""

    def sample(self, logits: NDArray[np.float32], states: Sequence[SamplingState]) -> list[SampledToken]:
        """logits [n, V], a state a row. Raises NonFiniteLogitsError when the network computed NaN or infinity."""
        if not len(states):
            return []
        is_finite = np.isfinite(logits).all(axis=1)
        if not is_finite.all():
            raise NonFiniteLogitsError(num_rows=int((~is_finite).sum()))
        peaks = logits.max(axis=1)
        sums = np.exp(logits - peaks[:, None]).sum(axis=1, dtype=np.float64)
        log_normalisers = peaks.astype(np.float64) + np.log(sums)
        return [
            self._sample_row(row, float(log_normaliser), state)
            for row, log_normaliser, state in zip(logits, log_normalisers, states, strict=True)
        ]

    def sample_drafted(
        self, logits: NDArray[np.float32], state: SamplingState, draft_ids: Sequence[int]
    ) -> list[SampledToken]:
        """The tokens of one completion as far as its draft is right, and the one after: logits [1 + drafted, V].

        Row i is what the network says after i drafted tokens, so it counts only where these were drawn. Raises
        NonFiniteLogitsError.
        """
        sampled: list[SampledToken] = []
        for row in range(1 + len(draft_ids)):
            sampled += self.sample(logits[row : row + 1], [state])
            if row < len(draft_ids) and sampled[-1].token_id != draft_ids[row]:
                break
        return sampled

    def _sample_row(self, logits: NDArray[np.float32], log_normaliser: float, state: SamplingState) -> SampledToken:
        heard = state.heard(logits)
        scores = state.processed(heard)
        num_top = state.num_top_logprobs
        if state.params.temperature == 0:
            token_id, sampling_logprob = int(scores.argmax()), 0.0
        else:
            token_id, sampling_logprob = _draw(scores, state)
        state.append(token_id)
        logprob = float(heard[token_id]) - log_normaliser
        top = _top_logprobs(heard, log_normaliser, num_top)
        return SampledToken(token_id, logprob, sampling_logprob, top)


def candidates(scores: NDArray[np.float64], params: SamplingParams) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Ids, ascending, and probabilities of the tokens that may be drawn; the probabilities sum to 1.

    `scores` [V] are logits, -inf where banned. Tokens that tie with the last one of top-k stay; of tokens that tie at
    the edge of top-p those with lower ids stay.
    """
    with np.errstate(over="ignore"):  # a tiny temperature takes all but the best to -inf, which is what it means
        weights = np.exp((scores - scores.max()) / params.temperature)
    if 0 < params.top_k < len(weights):
        weights[scores < np.partition(scores, -params.top_k)[-params.top_k]] = 0
    if params.top_p == 1:
        token_ids = np.flatnonzero(weights)
        return token_ids, weights[token_ids] / weights.sum()
    return _nucleus(weights / weights.sum(), params.top_p)


def _nucleus(probabilities: NDArray[np.float64], top_p: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The fewest most probable tokens that reach a mass of `top_p`."""
    # All tokens at or below this bound weigh less than 1 - top_p together, so none is in; sorting the rest is cheap.
    # Only values are sorted: several times faster than sorting ids by value, and the same on every machine.
    bound = (1 - top_p) / (2 * len(probabilities))
    descending = np.sort(probabilities[probabilities > bound])[::-1]
    num_kept = int((np.cumsum(descending) - descending < top_p).sum())
    smallest = descending[num_kept - 1]
    token_ids = np.flatnonzero(probabilities >= smallest)
    num_excess = len(token_ids) - num_kept
    if num_excess:
        tied = np.flatnonzero(probabilities == smallest)
        token_ids = np.setdiff1d(token_ids, tied[len(tied) - num_excess :])
    kept = probabilities[token_ids]
    return token_ids, kept / kept.sum()


def _draw(scores: NDArray[np.float64], state: SamplingState) -> tuple[int, float]:
    """A token id by inversion of the cumulative distribution, and its log-probability."""
    token_ids, probabilities = candidates(scores, state.params)
    cumulative = np.cumsum(probabilities)
    index = int(np.searchsorted(cumulative, state.generator.random() * cumulative[-1], side="right"))
    # Rounding can reach the total; the last token of positive probability owns it.
    index = min(index, int(np.searchsorted(cumulative, cumulative[-1], side="left")))
    return int(token_ids[index]), float(np.log(probabilities[index]))


def _top_logprobs(
    logits: NDArray[np.floating], log_normaliser: float, num_tokens: int
) -> tuple[tuple[int, float], ...]:
    if num_tokens == 0:
        return ()
    num_tokens = min(num_tokens, len(logits))
    at_least = np.flatnonzero(logits >= np.partition(logits, -num_tokens)[-num_tokens])
    best = at_least[np.argsort(-logits[at_least], kind="stable")][:num_tokens]
    return tuple((int(token_id), float(logits[token_id]) - log_normaliser) for token_id in best)
