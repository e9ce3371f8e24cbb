"""Drafts: what a reply is likely to say next, and whether guessing pays at the moment.

Speculative decoding (Leviathan et al. 2023; Chen et al. 2023) with a draft that is certain of its token. Accepting that
with the network's probability p and drawing from the rest otherwise is what drawing once and comparing does, so the
sampler draws as ever, with the same random numbers, and a drafted reply is, bit for bit, the one that is not drafted.
Left out: copying from the prompt, for replies hold none of the customer's words, and a second network.
"""

from collections.abc import Sequence

from model_store.contract.control_tokens import ASSISTANT_ID, EOS_ID
from service.engine.drafting.continuations import Continuations

_TABLE_BYTES = 8 << 20
_MIN_ACCEPTANCE = 0.4
"""Another position costs a fifth to a third of a step (`python -m tests.benchmarks.bench_drafts`)."""
_SMOOTHING = 0.05
_NUM_PAUSED = 512
"""Steps without drafts after too many wrong ones; what was said meanwhile is learned."""
_FRESH_ACCEPTANCE = 0.7
"""What is supposed at first and after a pause: a dozen drafts must fail to show otherwise."""


class Drafter:
    """Guesses tokens from replies that were made or authored before. Not thread-safe."""

    def __init__(self, max_tokens: int) -> None:
        """Guesses at most `max_tokens` a step; with 0 none, and learns nothing."""
        self.max_tokens = max_tokens
        self._known = Continuations(_TABLE_BYTES)
        self._acceptance = _FRESH_ACCEPTANCE
        self._num_to_pause = 0

    def read(self, reply: Sequence[int]) -> None:
        """Learns a whole reply, from its opening to its end of sequence."""
        text = (ASSISTANT_ID, *reply)
        for end in range(2, len(text)):
            self.learn(text[:end], text[end])

    def learn(self, before: Sequence[int], token_id: int) -> None:
        """Learns one token of a reply and what stands before it in the reply."""
        if self.max_tokens:
            self._known.learn(before, token_id)

    def draft(self, before: Sequence[int], room: int) -> tuple[int, ...]:
        """At most `room` tokens to follow on `before`, never the end of sequence: after it nothing is checked."""
        if self._num_to_pause:
            self._num_to_pause -= 1
            return ()
        text = list(before)
        for _ in range(min(room, self.max_tokens)):
            token_id = self._known.guess(text)
            if token_id is None or token_id == EOS_ID:
                break
            text.append(token_id)
        return tuple(text[len(before) :])

    def judge(self, num_drafted: int, num_accepted: int) -> None:
        """Notes what became of a draft; after too many wrong ones there are none for a while."""
        self._acceptance += _SMOOTHING * (num_accepted / num_drafted - self._acceptance)
        if self._acceptance < _MIN_ACCEPTANCE:
            self._acceptance = _FRESH_ACCEPTANCE
            self._num_to_pause = _NUM_PAUSED
