"""What came next after the last few tokens of replies: a table of fixed size that forgets what does not come again."""

from array import array
from collections.abc import Sequence

CONTEXT_LENGTHS = (5, 3, 2)
"""Tokens before that are looked up, the longest first."""
MAX_VOTES = 8
"""So many, and no more, occurrences must be outvoted when wordings change."""
_ROW_BYTES = 16


class Continuations:
    """One token a context, kept by majority vote (Boyer & Moore 1991); a context that shares a row votes against it."""

    def __init__(self, num_bytes: int) -> None:
        """Takes at most `num_bytes`, which must be enough for one row."""
        self._num_rows = num_bytes // _ROW_BYTES
        self._contexts = array("q", bytes(8 * self._num_rows))
        self._token_ids = array("i", bytes(4 * self._num_rows))
        self._votes = array("i", bytes(4 * self._num_rows))

    @property
    def num_bytes(self) -> int:
        """Memory of the table."""
        return self._num_rows * _ROW_BYTES

    def learn(self, before: Sequence[int], token_id: int) -> None:
        """Notes that `token_id` came after `before`, of which only the end counts."""
        for length in CONTEXT_LENGTHS:
            if length <= len(before):
                self._vote(hash(tuple(before[-length:])), token_id)

    def guess(self, before: Sequence[int]) -> int | None:
        """What most often came after the longest known end of `before`; None after one that is not known."""
        for length in CONTEXT_LENGTHS:
            if length <= len(before):
                context = hash(tuple(before[-length:]))
                row = context % self._num_rows
                if self._votes[row] > 0 and self._contexts[row] == context:
                    return self._token_ids[row]
        return None

    def _vote(self, context: int, token_id: int) -> None:
        row = context % self._num_rows
        if self._contexts[row] == context and self._token_ids[row] == token_id:
            self._votes[row] = min(self._votes[row] + 1, MAX_VOTES)
        elif self._votes[row] > 0:
            self._votes[row] -= 1
        else:
            self._contexts[row], self._token_ids[row], self._votes[row] = context, token_id, 1
