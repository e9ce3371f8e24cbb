"""Attention of an LSH layer over a long text: near tokens all, far ones where they share a bucket. Causal, and the
same whether a text is read whole, in pieces or token by token.

The stock hashed path sorts the whole text and attends to whoever lands beside a token, so that later tokens move
earlier ones (Kitaev et al. 2020, section 2). Here a token in chunk c sees what lies before it in chunks c - 1 and c,
and of each round of hashing the latest W tokens of its own bucket among those before chunk c - 1, each token once. That
depends on nothing later, so it is read piece by piece with tables of W tokens a bucket (`model_store.bucket_tables`).
Cost: linear in the text's length.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model_store.contract.manifest import Hashing

_HIDDEN_SCORE = -1e30
"""Of what a token does not see: far below a self score, and finite, so that rows that see nothing give numbers."""
_BLOCK = 64
"""Tokens of one row of the sorted text; a cost, not a rule."""


def draw_rotations(hashing: Hashing, head_size: int, generator: torch.Generator) -> Tensor:
    """Signs [D, rounds, buckets / 2] as int8, which all heads of a layer share.

    Signs in place of Gaussian numbers (Achlioptas 2003): no file format or processor rounds them.
    """
    shape = (head_size, hashing.num_hashes, hashing.num_buckets // 2)
    return (2 * torch.randint(0, 2, shape, generator=generator) - 1).to(torch.int8)


def buckets_of(query_keys: Tensor, rotations: Tensor) -> Tensor:
    """Buckets [..., rounds] of vectors [..., D], whatever their length: argmax of [xR, -xR] (Andoni et al. 2015)."""
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        rotated = torch.einsum("...d,drk->...rk", query_keys.float(), rotations.float())
        return torch.cat([rotated, -rotated], dim=-1).argmax(-1)


@dataclass(frozen=True)
class _Round:
    """One round's view of a text of S tokens; all [B, heads, S]."""

    buckets: Tensor
    order: Tensor
    """Positions sorted by bucket, then by position."""
    places: Tensor
    """Where each position stands in that order."""
    ends: Tensor
    """Where, of the sorted text, the far part of each position's bucket ends."""


def hashed_attention(query_keys: Tensor, keys: Tensor, values: Tensor, buckets: Tensor, rule: "Rule") -> Tensor:
    """What each token gathers, [B, heads, S, D]; S is a multiple of the chunk.

    `query_keys`, `keys` (normalised, over √D) and `values` are [B, heads, S, D], `buckets` [B, heads, S, rounds].
    """
    parts = [_near(query_keys, keys, values, rule.chunk)]
    rounds: list[_Round] = []
    for number in range(buckets.shape[-1]):
        rounds.append(_sort(buckets[..., number], rule.chunk))
        parts.append(_far(query_keys, keys, values, rounds, rule))
    log_weights = torch.stack([part[1] for part in parts])
    shares = log_weights.softmax(0)[..., None].to(values.dtype)
    return (torch.stack([part[0] for part in parts]) * shares).sum(0)


@dataclass(frozen=True, slots=True)
class Rule:
    """Tokens a chunk, and the latest ones of a bucket that are seen a round."""

    chunk: int
    window: int


def _near(query_keys: Tensor, keys: Tensor, values: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """What chunks c - 1 and c give, [B, heads, S, D], and the logarithm of its weight [B, heads, S]."""
    queries = _in_rows(query_keys, chunk)
    index = torch.arange(2 * chunk)
    own = torch.arange(chunk)[:, None] + chunk
    mask = torch.zeros(queries.shape[2], chunk, 2 * chunk)
    mask = mask.masked_fill(index > own, _HIDDEN_SCORE).masked_fill(index == own, -1e5)
    mask[0, :, :chunk] = _HIDDEN_SCORE
    return _weighed(
        queries,
        _with_rows_before(_in_rows(keys, chunk), 1),
        _with_rows_before(_in_rows(values, chunk), 1),
        mask,
    )


def _far(query_keys: Tensor, keys: Tensor, values: Tensor, rounds: list[_Round], rule: Rule) -> tuple[Tensor, Tensor]:
    """The same of the last round's buckets, without what an earlier round has given.

    Of the sorted text a token sees W places among those at most W + 2 chunks before it, so rows of the sorted text that
    follow one another hold all of them.
    """
    this = rounds[-1]
    length = this.buckets.shape[-1]
    num_before = -(-(rule.window + 2 * rule.chunk) // _BLOCK)
    padding = -length % _BLOCK

    def in_order(x: Tensor) -> Tensor:
        index = this.order if x.ndim == this.order.ndim else this.order[..., None].expand(x.shape)
        x = x.gather(2, index)
        return _in_rows(F.pad(x, (0,) * (2 * (x.ndim - 3)) + (0, padding)), _BLOCK)

    def of_keys(x: Tensor) -> Tensor:
        return _with_rows_before(in_order(x), num_before)[..., None, :]

    def of_queries(x: Tensor) -> Tensor:
        return in_order(x)[..., None]

    with torch.no_grad():
        key_places, query_ends = of_keys(this.places), of_queries(this.ends)
        starts = torch.arange(0, length, _BLOCK)[:, None, None]
        columns = torch.arange(-num_before * _BLOCK, _BLOCK) + starts
        seen = (columns >= 0) & (columns < length) & (of_keys(this.buckets) == of_queries(this.buckets))
        seen &= (key_places < query_ends) & (key_places >= query_ends - rule.window)
        for earlier in rounds[:-1]:
            shares = of_keys(earlier.buckets) == of_queries(earlier.buckets)
            seen &= ~(shares & (of_keys(earlier.places) >= of_queries(earlier.ends) - rule.window))
        mask = torch.where(seen, 0.0, _HIDDEN_SCORE)
    found, weights = _weighed(
        in_order(query_keys),
        _with_rows_before(in_order(keys), num_before),
        _with_rows_before(in_order(values), num_before),
        mask,
    )
    back = this.places[..., None].expand(*this.places.shape, found.shape[-1])
    return found.gather(2, back), weights.gather(2, this.places)


def _weighed(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Attention [B, heads, rows · n, D] within rows [B, heads, rows, n, D], and each softmax's log normaliser."""
    scores = (queries @ keys.transpose(-1, -2)).float() + mask
    normalisers = scores.logsumexp(-1, keepdim=True)
    found = (scores - normalisers).exp().to(values.dtype) @ values
    return found.flatten(2, 3), normalisers[..., 0].flatten(2, 3)


def _in_rows(x: Tensor, size: int) -> Tensor:
    """[B, heads, rows · size, …] → [B, heads, rows, size, …]."""
    return x.reshape(*x.shape[:2], -1, size, *x.shape[3:])


def _with_rows_before(x: Tensor, number: int) -> Tensor:
    """[B, heads, rows, n, …] → [B, heads, rows, (number + 1) · n, …]: each row behind as many that come before it."""
    num_rows = x.shape[2]
    padded = F.pad(x, (0, 0) * (x.ndim - 3) + (number, 0))
    return torch.cat([padded[:, :, first : first + num_rows] for first in range(number + 1)], dim=3)


@torch.no_grad()
def _sort(buckets: Tensor, chunk: int) -> _Round:
    """Sorts a round's buckets [B, heads, S]."""
    length = buckets.shape[-1]
    positions = torch.arange(length)
    ranks, order = (buckets * length + positions).sort(-1)
    places = torch.empty_like(order).scatter_(-1, order, positions.expand_as(order))
    far_end = ((positions // chunk - 1) * chunk).clamp_min(0)
    return _Round(buckets, order, places, torch.searchsorted(ranks, buckets * length + far_end))
