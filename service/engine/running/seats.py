"""Which engine makes a completion: one with a free slot, and of these the one that is done soonest.

What an engine has read of a prompt it need not read again (`service.engine.prefix_cache`), so a conversation's next
turn is worth sending where the last one was; unless others are being served there, which costs more than reading.
"""

from collections import OrderedDict
from collections.abc import Sequence

from service.engine.kv_cache import PIECE_LENGTH
from service.engine.running.engine_thread import RunningEngine
from service.engine.running.messages import Stepped

_MAX_CHUNKS = 1_000
"""Remembered of each engine: 64,000 tokens, somewhat more than the default prefix cache holds."""
_CHUNKS_A_NEIGHBOUR = 4
"""A completion beside costs one of some 30 tokens about as much time as reading so many chunks."""


class PrefixMemory:
    """The beginnings of prompts that an engine has read, in whole chunks; the least recently used are forgotten.

    Holds numbers, not text. Two beginnings with the same number, or an engine that has forgotten, cost time only.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[int, None] = OrderedDict()

    def num_known(self, chunks: Sequence[int]) -> int:
        """How many chunks from a prompt's beginning on have been read."""
        return next((number for number, chunk in enumerate(chunks) if chunk not in self._known), len(chunks))

    def note(self, chunks: Sequence[int]) -> None:
        """Takes a prompt for read."""
        for chunk in reversed(chunks):  # without its beginning the rest is of no use, so that is forgotten last
            self._known[chunk] = None
            self._known.move_to_end(chunk)
        while len(self._known) > _MAX_CHUNKS:
            self._known.popitem(last=False)

    def forget(self) -> None:
        """The engine starts anew."""
        self._known.clear()


class Seat:
    """A running engine, and what is known of it where completions are handed out. Not thread-safe."""

    def __init__(self, num_slots: int, *, is_ready: bool) -> None:
        """`engine` must be set before anything else is done with it."""
        self.engine: RunningEngine
        self.num_slots = num_slots
        self.is_ready = is_ready
        """Whether it takes completions now."""
        self.is_closed = False
        """Whether it never will again."""
        self.request_ids: set[str] = set()
        """Completions that it was given and that have not ended."""
        self.num_running = 0
        """Completions in a slot, as it said last."""
        self.prefix_cache_bytes = 0
        self.memory = PrefixMemory()

    def note_load(self, report: Stepped) -> None:
        """Takes what the engine says of itself."""
        self.num_running, self.prefix_cache_bytes = report.num_running, report.prefix_cache_bytes

    def empty(self) -> tuple[str, ...]:
        """Marks the engine as lost; the completions that are lost with it."""
        self.is_ready = False
        self.num_running = self.prefix_cache_bytes = 0
        self.memory.forget()
        return tuple(self.request_ids)


def choose_seat(seats: Sequence[Seat], prompt_ids: Sequence[int]) -> Seat | None:
    """The seat for a prompt, which remembers it from now on; None while no engine takes completions."""
    ready = [seat for seat in seats if seat.is_ready]
    if not ready or len(seats) == 1:  # nothing to weigh, nor will there be
        return ready[0] if ready else None
    chunks = _chunks(prompt_ids)

    def cost(seat: Seat) -> tuple[bool, int]:
        num_placed = len(seat.request_ids)
        return num_placed >= seat.num_slots, _CHUNKS_A_NEIGHBOUR * num_placed - seat.memory.num_known(chunks)

    best = min(ready, key=cost)
    best.memory.note(chunks)
    return best


def _chunks(prompt_ids: Sequence[int]) -> list[int]:
    """A number for each whole chunk, which stands for everything up to its end."""
    chunks, number = [], 0
    for start in range(0, len(prompt_ids) - PIECE_LENGTH + 1, PIECE_LENGTH):
        number = hash((number, tuple(prompt_ids[start : start + PIECE_LENGTH])))
        chunks.append(number)
    return chunks
