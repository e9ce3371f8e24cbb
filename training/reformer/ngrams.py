"""N-gram embeddings: what the last two and the last three tokens are together, looked up instead of computed.

A small network spends its first layers on finding out which tokens stand side by side; a table knows at the price of a
few memory reads, which is what a CPU has plenty of (Huang et al. 2025, "Over-Tokenized Transformer", 2501.16975). Pairs
and triples share rows by hash: four tables each, under four hashes, so that two n-grams hardly ever share all of them.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.reformer.dropout import Dropout

CONTEXT = 2
"""Tokens before the current one that an n-gram can hold; before a text's first token there is 0."""
NUM_TABLES = 8
TABLE_WIDTH = 16
MULTIPLIERS = (
    (715827883, 536870923, 402653189, 301989907, 226492417, 169869317, 127401989, 95551489),
    (71663617, 53747717, 40310789, 30233089, 22674817, 17006113, 12754589, 9565939),
    (0, 0, 0, 0, 817504253, 613128191, 459846143, 344884607),
)
"""[token's distance back, table]: the first four tables hash pairs, the others triples."""
_INIT_STD = 0.02


class NgramEmbedding(nn.Module):
    """Eight tables of `num_rows` x 16 and a projection to the hidden size; 0 rows are no tables at all."""

    def __init__(self, num_rows: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.num_rows = num_rows
        self.tables = nn.Embedding(NUM_TABLES * num_rows, TABLE_WIDTH)
        self.projection = nn.Linear(NUM_TABLES * TABLE_WIDTH, hidden_size, bias=False)
        self.dropout = Dropout(dropout)

    def reset_parameters(self) -> None:
        """Draws fresh weights; the projection keeps lengths, so that the tables begin to learn at once."""
        nn.init.normal_(self.tables.weight, std=_INIT_STD)
        nn.init.orthogonal_(self.projection.weight)

    def forward(self, token_ids: Tensor, previous_ids: Tensor | None = None) -> Tensor:
        """[B, S, hidden] of token_ids [B, S]; `previous_ids` [B, 2] come right before them, oldest first."""
        rows = table_rows(token_ids, previous_ids, self.num_rows)
        projected: Tensor = self.projection(self.dropout(self.tables(rows).flatten(-2)))
        return projected


def table_rows(token_ids: Tensor, previous_ids: Tensor | None, num_rows: int) -> Tensor:
    """Rows [B, S, 8] of the joined tables: a linear hash of the n-gram, modulo another prime in each."""
    context = token_ids.new_zeros(len(token_ids), CONTEXT) if previous_ids is None else previous_ids
    text = torch.cat([context, token_ids], dim=1)
    length = token_ids.shape[1]
    ngrams = torch.stack([text[:, CONTEXT - back : CONTEXT - back + length] for back in range(CONTEXT + 1)], dim=-1)
    hashes = (ngrams[..., None] * torch.tensor(MULTIPLIERS)).sum(-2)
    return hashes % torch.tensor(moduli(num_rows)) + torch.arange(NUM_TABLES) * num_rows


@cache
def moduli(num_rows: int) -> tuple[int, ...]:
    """The eight largest primes up to `num_rows`, largest first. Raises ValueError when there are fewer."""
    primes = [n for n in range(num_rows, 1, -1) if all(n % d for d in range(2, int(n**0.5) + 1))][:NUM_TABLES]
    if len(primes) < NUM_TABLES:
        raise ValueError(f"{num_rows} rows are too few for {NUM_TABLES} hashes")
    return tuple(primes)


def last_tokens(token_ids: Tensor, lengths: Tensor) -> Tensor:
    """[B, 2]: each row's two tokens before position `lengths` [B]; 0 where the text has not begun."""
    padded = F.pad(token_ids, (CONTEXT, 0))
    return torch.stack([padded.gather(1, (lengths + offset)[:, None])[:, 0] for offset in range(CONTEXT)], dim=1)
