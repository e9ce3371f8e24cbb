"""What earlier prompts left in the caches, found again by content, so that only what is new of a prompt is read.

Kept in whole local chunks and never in parts of one: reading then goes on where a piece would begin anyway, the graph
is called exactly as without a hit, and a completion keeps every bit. A chunk's keys and values depend on its tokens,
on those before them and on whether they are read with hashing, and on nothing else; a summary is made of the prompt's
own tokens. So a chunk holds whatever follows it.
"""

import itertools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from service.engine.kv_cache import KVCache

_START = {False: 0, True: 1}
"""What the first chunk of a prompt follows, by whether it was read with hashing: that gives other keys and values."""
_Key = tuple[int, tuple[int, ...]]
"""The number of the chunk before, and the tokens: the whole prompt up to here, without comparing all of it again."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    key: _Key
    number: int
    """A name that no other chunk ever had, so that what followed a forgotten chunk is not found under another."""
    row: int
    """Where in the store it lies."""


class PrefixCache:
    """Chunks of prompts that were read, the least recently used forgotten first. Not thread-safe."""

    def __init__(self, cache: KVCache, max_bytes: int) -> None:
        """Reserves address space for as many chunks as fit; memory is taken when they are first written."""
        self._cache = cache
        self._store = cache.chunk_store(max_bytes // cache.chunk_bytes)
        self._free_rows = list(range(len(self._store)))
        self._numbers = itertools.count(max(_START.values()) + 1)
        # The least recently used comes first, and a chunk always before the one that it follows.
        self._chunks: OrderedDict[_Key, _Chunk] = OrderedDict()

    @property
    def num_bytes(self) -> int:
        """Memory that holds keys and values now, at most `max_bytes`."""
        return len(self._chunks) * self._cache.chunk_bytes

    def restore(self, prompt_ids: tuple[int, ...], slot: int) -> int:
        """Fills a slot with the longest beginning of a prompt that is known; gives its number of tokens.

        The prompt's last token is never among them: its logits must be computed.
        """
        found = self._find(prompt_ids[:-1], self._cache.is_hashed(len(prompt_ids)))
        self._use(found)
        self._cache.load_chunks(slot, [self._store[chunk.row] for chunk in found])
        return len(found) * self._cache.chunk_length

    def keep(self, read_ids: tuple[int, ...], slot: int, *, is_hashed: bool = False) -> None:
        """Keeps the last chunk of what was read into a slot; does nothing where no chunk ends."""
        length = self._cache.chunk_length
        if not len(self._store) or len(read_ids) % length:
            return
        found = self._find(read_ids, is_hashed)
        self._use(found)
        num_before = len(read_ids) // length - 1
        # Known, or too long: a prompt of more chunks than there are rows keeps its beginning.
        if len(found) != num_before or num_before >= len(self._store):
            return
        row = self._free_rows.pop() if self._free_rows else self._chunks.popitem(last=False)[1].row
        self._cache.save_chunk(slot, num_before, self._store[row])
        key = (found[-1].number if found else _START[is_hashed], read_ids[-length:])
        self._chunks[key] = _Chunk(key, next(self._numbers), row)
        self._use(found)

    def release(self) -> None:
        """Lets go of the memory; nothing is found any more."""
        self._chunks.clear()
        self._store = self._cache.chunk_store(0)

    def _find(self, token_ids: tuple[int, ...], is_hashed: bool) -> list[_Chunk]:
        return list(self._follow(token_ids, _START[is_hashed]))

    def _follow(self, token_ids: tuple[int, ...], number: int) -> Iterator[_Chunk]:
        length = self._cache.chunk_length
        for start in range(0, len(token_ids) - length + 1, length):
            chunk = self._chunks.get((number, token_ids[start : start + length]))
            if chunk is None:
                return
            number = chunk.number
            yield chunk

    def _use(self, chunks: list[_Chunk]) -> None:
        for chunk in reversed(chunks):
            self._chunks.move_to_end(chunk.key)
