"""Known n-grams: what a token is together with the one or two before it, looked up instead of computed.

A small network spends its first layers on finding out which tokens stand side by side; a table knows at the price of a
few memory reads, which is what a CPU has plenty of (Huang et al. 2025, "Over-Tokenized Transformer", 2501.16975). Only
n-grams that were chosen beforehand have a row, each a row of its own, and what is not known adds nothing; in hashed
tables dozens share a row. A key has three places where it may stand (cuckoo hashing: Pagh and Rodler 2004; with more
than two places: Fotakis et al. 2005), so a look-up is three reads.

The rows are learned once, in the stage `message_summary`, and are bytes from then on: what is trained around them is
what is served.
"""

import random
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from training.reformer.dropout import Dropout

CONTEXT = 2
"""Tokens before the current one that an n-gram can hold; before a text's first token there is 0."""
MAX_NGRAM = CONTEXT + 1
ROW_WIDTH = 64
NUM_PLACES = 3
MAX_LOAD = 0.88
"""Of the rows, how many may be taken: three places each find room up to 0.91."""
LARGEST_BYTE = 127
EMPTY = -1
NGRAM_BASE = 1 << 16
"""More than any token id plus one: a key is a number of up to three digits in this base."""
KEY_FACTOR = 12_289
"""Makes the keys of single tokens larger than the moduli; the largest key times it stays below 2 ** 63."""
KEY_MODULUS = 2**31 - 1
"""What a key is stored modulo, in four bytes: an unknown n-gram passes for a known one once in 700 million times."""
_INIT_STD = 0.02
_MAX_MOVES = 10_000


class KnownNgrams(nn.Module):
    """A table of `num_rows` x 64 bytes behind the keys of what it knows, and a projection to the hidden size.

    Fresh ones know nothing. Nothing here is trained outside `start_learning` and `stop_learning`.
    """

    keys: Tensor
    table: Tensor

    def __init__(self, num_rows: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.num_rows = num_rows
        self.register_buffer("keys", torch.full((num_rows,), EMPTY, dtype=torch.int32))
        # Row 0 is that of the unknown and stays 0.
        self.register_buffer("table", torch.zeros(num_rows + 1, ROW_WIDTH, dtype=torch.int8))
        self.projection = nn.Linear(MAX_NGRAM * ROW_WIDTH, hidden_size, bias=False)
        self.dropout = Dropout(dropout)
        self._learned: nn.Embedding | None = None

    def reset_parameters(self) -> None:
        """Draws a fresh projection; it keeps lengths, so that the rows begin to learn at once."""
        nn.init.orthogonal_(self.projection.weight)

    def know(self, ngrams: Sequence[tuple[int, ...]]) -> None:
        """Gives each n-gram (token ids, oldest first) a row. Raises ValueError when there are too many of them."""
        placed = place_keys([key_of(ngram) for ngram in ngrams], self.num_rows)
        self.keys.copy_(torch.from_numpy(np.where(placed == EMPTY, EMPTY, placed % KEY_MODULUS)))

    def start_learning(self) -> nn.Embedding:
        """Fresh rows as numbers, to be trained with sparse gradients; the projection is trained too."""
        self._learned = nn.Embedding(self.num_rows + 1, ROW_WIDTH, padding_idx=0, sparse=True)
        nn.init.normal_(self._learned.weight, std=_INIT_STD)
        with torch.no_grad():
            self._learned.weight[0] = 0
        self.projection.requires_grad_(True)
        return self._learned

    def stop_learning(self) -> None:
        """Rounds the rows to bytes; a column's scale becomes a factor of the projection."""
        assert self._learned is not None
        rows = self._learned.weight.detach()
        self._learned = None
        self.projection.requires_grad_(False)
        scales = rows.abs().amax(0).clamp_min(1e-12) / LARGEST_BYTE
        self.table.copy_(torch.round(rows / scales).to(torch.int8))
        self.projection.weight.mul_(scales.repeat(MAX_NGRAM))

    def forward(self, token_ids: Tensor, previous_ids: Tensor | None = None) -> Tensor:
        """[B, S, hidden] of token_ids [B, S]; `previous_ids` [B, 2] come right before them, oldest first."""
        rows = self.rows_of(token_ids, previous_ids)
        found = self.table[rows].to(self.projection.weight.dtype) if self._learned is None else self._learned(rows)
        projected: Tensor = self.projection(self.dropout(found.flatten(-2)))
        return projected

    def rows_of(self, token_ids: Tensor, previous_ids: Tensor | None = None) -> Tensor:
        """Rows [B, S, 3] of the single tokens, pairs and triples that end at each position; 0 for unknown ones."""
        wanted = ngram_keys(token_ids, previous_ids)[..., None]
        places = wanted * KEY_FACTOR % torch.tensor(place_moduli(self.num_rows))
        # The largest, not the sum: two of a key's places may be one.
        return ((self.keys[places] == wanted % KEY_MODULUS) * (places + 1)).amax(-1)


def ngram_keys(token_ids: Tensor, previous_ids: Tensor | None) -> Tensor:
    """Keys [B, S, 3] of the token, the pair and the triple that end at each position of token_ids [B, S]."""
    context = token_ids.new_zeros(len(token_ids), CONTEXT) if previous_ids is None else previous_ids
    digits = torch.cat([context, token_ids], dim=1) + 1
    length = token_ids.shape[1]
    parts = [digits[:, CONTEXT - back : CONTEXT - back + length] * NGRAM_BASE**back for back in range(MAX_NGRAM)]
    return torch.stack(parts, dim=-1).cumsum(-1)


def key_of(ngram: Sequence[int]) -> int:
    """The number that stands for an n-gram of 1 to 3 token ids, oldest first."""
    return sum((token_id + 1) * NGRAM_BASE**back for back, token_id in enumerate(reversed(ngram)))


def place_keys(keys: Sequence[int], num_rows: int) -> NDArray[np.int64]:
    """[num_rows]: each key at one of its places, -1 elsewhere; the same for the same keys in the same order.

    Raises ValueError when the keys are too many for the rows.
    """
    if len(keys) > MAX_LOAD * num_rows:
        raise ValueError(f"{len(keys)} n-grams are too many for {num_rows} rows: {int(MAX_LOAD * num_rows)} fit")
    generator = random.Random(num_rows)
    placed: list[int] = [EMPTY] * num_rows
    for key in dict.fromkeys(keys):
        homeless = key
        for _ in range(_MAX_MOVES):
            places = places_of(homeless, num_rows)
            free = [place for place in places if placed[place] == EMPTY]
            place = free[0] if free else generator.choice(places)
            placed[place], homeless = homeless, placed[place]
            if homeless == EMPTY:
                break
        else:
            raise ValueError(f"no room for {len(keys)} n-grams in {num_rows} rows")
    return np.array(placed, np.int64)


def places_of(key: int, num_rows: int) -> list[int]:
    """Rows, from 0 on, at which a key may stand."""
    return [key * KEY_FACTOR % modulus for modulus in place_moduli(num_rows)]


@cache
def place_moduli(num_rows: int) -> tuple[int, ...]:
    """The three largest primes up to `num_rows`, largest first. Raises ValueError when there are fewer."""
    primes: list[int] = []
    for number in range(num_rows, 1, -1):
        if all(number % divisor for divisor in range(2, int(number**0.5) + 1)):
            primes.append(number)
        if len(primes) == NUM_PLACES:
            return tuple(primes)
    raise ValueError(f"{num_rows} rows are too few for {NUM_PLACES} places")


def last_tokens(token_ids: Tensor, lengths: Tensor) -> Tensor:
    """[B, 2]: each row's two tokens before position `lengths` [B]; 0 where the text has not begun."""
    padded = F.pad(token_ids, (CONTEXT, 0))
    return torch.stack([padded.gather(1, (lengths + offset)[:, None])[:, 0] for offset in range(CONTEXT)], dim=1)
