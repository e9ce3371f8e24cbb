"""Continuous batching: who decodes next, whose prompt is read, and where each completion's caches lie.

Completions that decode own slots 0 … n-1 and the one whose prompt is being read owns slot n, so that one call of the
graph decodes all rows; when a completion ends, the last row moves into its slot.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from model_store.contract.chat_template import message_start
from model_store.contract.control_tokens import EOS_ID
from service.engine.drafting.continuations import CONTEXT_LENGTHS
from service.engine.drafting.drafter import Drafter
from service.engine.kv_cache import KVCache
from service.engine.ort_session import CONTEXT_LENGTH, NOTHING_BEFORE, ModelInputs, PromptPiece
from service.engine.prefix_cache import PrefixCache
from service.engine.sampler import SampledToken, SamplingState
from service.engine.types import CompletionRequest, Delta, FinishReason

_NUM_RECENT = max(CONTEXT_LENGTH + 1, *CONTEXT_LENGTHS)


class LiveCompletion:
    """A completion that is being made."""

    def __init__(self, request: CompletionRequest, state: SamplingState) -> None:
        self.request = request
        self.state = state
        self.num_cached = 0
        """Positions that the caches hold."""
        self.num_reused = 0
        """Positions that the caches hold of an earlier prompt that began alike."""
        self.num_generated = 0
        self.recent_ids = tuple([0] * _NUM_RECENT + list(request.prompt_ids))[-_NUM_RECENT:]
        """The last token, which is not in the caches yet, after those before it that n-grams and drafts reach back to.
        """

    @property
    def previous_ids(self) -> tuple[int, ...]:
        """The tokens before the last one that n-grams reach back to."""
        return self.recent_ids[-CONTEXT_LENGTH - 1 : -1]

    @property
    def reply_so_far(self) -> tuple[int, ...]:
        """Of the recent tokens those of the reply, and the one that opens its turn."""
        return self.recent_ids[-self.num_generated - 1 :]


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's work, and whose it is."""

    inputs: ModelInputs
    completions: tuple[LiveCompletion, ...]
    """In the order of the logits' rows."""
    is_prompt_complete: bool
    """Whether the last row's prompt is read to its end, so that its first token can be sampled."""

    @property
    def sampled(self) -> tuple[LiveCompletion, ...]:
        """The completions that get a token from this step."""
        has_reader = self.inputs.prompt_piece is not None
        return self.completions[:-1] if has_reader and not self.is_prompt_complete else self.completions

    @property
    def num_drafted(self) -> int:
        """Guesses among the logits' rows."""
        return len(self.inputs.draft_ids)

    @property
    def sampling_states(self) -> list[SamplingState]:
        """What the sampler must know, in the order of the logits' rows."""
        return [completion.state for completion in self.sampled]


class Scheduler:
    """The waiting queue and the slots. Not thread-safe: one thread drives it."""

    def __init__(
        self, cache: KVCache, prefix_cache: PrefixCache, drafter: Drafter, num_slots: int, max_context: int
    ) -> None:
        self._cache = cache
        self._drafter = drafter
        self._prefix_cache = prefix_cache
        self._num_slots = num_slots
        self._max_context = max_context
        self._waiting: deque[LiveCompletion] = deque()
        self._reading: LiveCompletion | None = None
        self._decoding: list[LiveCompletion] = []

    @property
    def live_ids(self) -> list[str]:
        """The ids of all completions being made, in any state."""
        reading = [self._reading] if self._reading else []
        return [completion.request.request_id for completion in (*self._decoding, *reading, *self._waiting)]

    @property
    def num_running(self) -> int:
        """Completions that own a slot."""
        return len(self._decoding) + (self._reading is not None)

    @property
    def num_waiting(self) -> int:
        """Completions in the queue."""
        return len(self._waiting)

    def add(self, completion: LiveCompletion) -> None:
        """Puts a completion at the end of the queue."""
        self._waiting.append(completion)

    def remove(self, request_id: str) -> bool:
        """Takes a completion out, whatever its state, and frees its slot at once; False when there is none."""
        for completion in self._waiting:
            if completion.request.request_id == request_id:
                self._waiting.remove(completion)
                return True
        if self._reading is not None and self._reading.request.request_id == request_id:
            self._reading = None
            return True
        for completion in self._decoding:
            if completion.request.request_id == request_id:
                self._free(completion)
                return True
        return False

    def clear(self) -> None:
        """Forgets every completion."""
        self._waiting.clear()
        self._reading = None
        self._decoding.clear()

    def schedule(self) -> Batch:
        """One token for everything that decodes and, when there is a free slot, the next piece of one prompt."""
        if self._reading is None and self._waiting and len(self._decoding) < self._num_slots:
            self._begin_reading(self._waiting.popleft())
        token_ids = tuple(completion.recent_ids[-1] for completion in self._decoding)
        previous_ids = tuple(completion.previous_ids for completion in self._decoding)
        positions = tuple(completion.num_cached for completion in self._decoding)
        if self._reading is None:
            inputs = ModelInputs(token_ids, positions, None, previous_ids, self._draft())
            return Batch(inputs, tuple(self._decoding), False)
        first, prompt_ids = self._reading.num_cached, self._reading.request.prompt_ids
        end = self._cache.piece_end(first, len(prompt_ids))
        before = (*NOTHING_BEFORE, *prompt_ids[:first])[message_start(prompt_ids[:first]) :]
        is_hashed, begins = self._cache.is_hashed(len(prompt_ids)), first == self._reading.num_reused
        piece = PromptPiece(len(self._decoding), first, prompt_ids[first:end], before, is_hashed, begins)
        completions = (*self._decoding, self._reading)
        inputs = ModelInputs(token_ids, positions, piece, previous_ids)
        return Batch(inputs, completions, end == len(prompt_ids))

    def postprocess(self, batch: Batch, sampled: Sequence[SampledToken]) -> list[Delta]:
        """Notes what the step computed, frees the slots of completions that ended, and tells the deltas.

        `sampled` holds a token for each of `batch.sampled`, and of a drafted batch those of its only completion.
        """
        if batch.num_drafted:
            return self._take_drafted(batch, sampled)
        for completion in self._decoding:
            completion.num_cached += 1
        if self._reading is not None and batch.inputs.prompt_piece is not None:
            piece = batch.inputs.prompt_piece
            self._reading.num_cached += len(piece.token_ids)
            read_ids = self._reading.request.prompt_ids[: self._reading.num_cached]
            self._prefix_cache.keep(read_ids, piece.slot, is_hashed=piece.is_hashed)
            if batch.is_prompt_complete:
                self._decoding.append(self._reading)
                self._reading = None
        return [self._take_token(completion, token) for completion, token in zip(batch.sampled, sampled, strict=True)]

    def _begin_reading(self, completion: LiveCompletion) -> None:
        self._reading = completion
        completion.num_reused = self._prefix_cache.restore(completion.request.prompt_ids, len(self._decoding))
        completion.num_cached = completion.num_reused

    def _draft(self) -> tuple[int, ...]:
        """Guesses for a completion that is made alone: several rows of several tokens are more than the graph takes,
        and cost as much as they save. No draft crosses a local chunk's border, or goes on behind a completion's end.
        """
        if len(self._decoding) != 1:
            return ()
        completion = self._decoding[0]
        num_left = completion.request.sampling.max_tokens - completion.num_generated
        context_left = self._max_context - len(completion.request.prompt_ids) - completion.num_generated
        in_chunk = self._cache.chunk_length - completion.num_cached % self._cache.chunk_length
        return self._drafter.draft(completion.reply_so_far, min(num_left, context_left, in_chunk) - 1)

    def _take_drafted(self, batch: Batch, sampled: Sequence[SampledToken]) -> list[Delta]:
        completion, num_accepted = batch.completions[0], len(sampled) - 1
        # What the caches hold behind these positions belongs to guesses that were wrong, and is written over.
        completion.num_cached += len(sampled)
        self._drafter.judge(batch.num_drafted, num_accepted)
        first, *others = (self._take_token(completion, token) for token in sampled)
        return [replace(first, num_drafted=batch.num_drafted, num_accepted=num_accepted), *others]

    def _take_token(self, completion: LiveCompletion, token: SampledToken) -> Delta:
        if completion.num_generated:
            self._drafter.learn(completion.reply_so_far, token.token_id)
        completion.recent_ids = (*completion.recent_ids[1:], token.token_id)
        completion.num_generated += 1
        finish_reason = self._finish_reason(completion)
        if finish_reason is not None:
            self._free(completion)
        return Delta(
            request_id=completion.request.request_id,
            token_id=token.token_id,
            logprob=token.logprob,
            sampling_logprob=token.sampling_logprob,
            top_logprobs=token.top_logprobs,
            finish_reason=finish_reason,
            num_reused=completion.num_reused if completion.num_generated == 1 else 0,
        )

    def _finish_reason(self, completion: LiveCompletion) -> FinishReason | None:
        if completion.recent_ids[-1] == EOS_ID:
            return "stop"
        is_full = len(completion.request.prompt_ids) + completion.num_generated >= self._max_context
        if is_full or completion.num_generated >= completion.request.sampling.max_tokens:
            return "length"
        return None

    def _free(self, completion: LiveCompletion) -> None:
        """Closes the gap that a decoding completion leaves: the last row moves there, then the prompt being read."""
        slot, last_slot = self._decoding.index(completion), len(self._decoding) - 1
        last = self._decoding.pop()
        if slot != last_slot:
            self._cache.move(last_slot, slot, last.num_cached)
            self._decoding[slot] = last
        if self._reading is not None:
            self._cache.move(last_slot + 1, last_slot, self._reading.num_cached)
