"""A policy for longer texts: the same network with more positions, and with hashing in its LSH layers.

New positions begin as copies of those that the network knows, one known stretch after the other, so that a token's
neighbours stand to it as they always did; what remains to be learned is that far tokens are far (tried beside it:
`training/EXPERIMENTS.md`).
"""

import copy

import torch
from torch import Tensor

from model_store.contract.manifest import Hashing
from training.reformer.config import LSH_CHUNK, hashing_fields
from training.reformer.model import ReformerPolicy

_POSITIONS = "reformer.embeddings.position_embeddings.embedding.weight"


def lengthen(policy: ReformerPolicy, *, max_positions: int, num_known: int, hashing: Hashing) -> ReformerPolicy:
    """A policy of its own with these weights; it reads texts of up to `hashing.hash_beyond` tokens as before.

    Of the positions there are, the first `num_known` were met often enough to be copied. Raises ValueError where the
    network has no plain position table, or fewer positions than that, or more than it shall have.
    """
    weights = dict(policy.state_dict())
    if _POSITIONS not in weights:
        raise ValueError("only a plain table of positions can be lengthened")
    chunk = int(policy.config.local_attn_chunk_length)
    weights[_POSITIONS] = lengthened_positions(weights[_POSITIONS], max_positions, num_known, chunk)
    config = copy.deepcopy(policy.config)
    config.max_position_embeddings = max_positions
    setattr(config, LSH_CHUNK, max_positions)
    for name, value in hashing_fields(hashing).items():
        setattr(config, name, value)
    longer = ReformerPolicy(config)
    # Fresh are its rotations alone, unless the network hashed into as many buckets before.
    fresh = longer.state_dict()
    longer.load_state_dict({**fresh, **{name: own for name, own in weights.items() if own.shape == fresh[name].shape}})
    longer.train(policy.training)
    return longer


def repeat_positions(policy: ReformerPolicy, num_known: int) -> None:
    """Writes what the known positions have learned into those that repeat them."""
    table = policy.get_parameter(_POSITIONS)
    with torch.no_grad():
        table.copy_(lengthened_positions(table, len(table), num_known, int(policy.config.local_attn_chunk_length)))


def known_positions(num_positions: int, num_known: int, chunk: int) -> Tensor:
    """[num_positions]: each position's place among the known ones, over and over but for the first chunk.

    The first chunk is where texts begin. Raises ValueError for numbers that do not fit.
    """
    if num_known < 2 * chunk or num_known % chunk:
        raise ValueError(f"{num_known} known positions: two whole chunks of {chunk} at least can be repeated")
    positions = torch.arange(num_positions)
    return torch.where(positions < num_known, positions, chunk + (positions - chunk) % (num_known - chunk))


def lengthened_positions(table: Tensor, max_positions: int, num_known: int, chunk: int) -> Tensor:
    """[max_positions, H] of a table [P, H]. Raises ValueError for numbers that do not fit."""
    if not num_known <= len(table) <= max_positions:
        raise ValueError(f"{len(table)} positions, {num_known} of them known, cannot become {max_positions}")
    return table[known_positions(max_positions, num_known, chunk)].clone()
