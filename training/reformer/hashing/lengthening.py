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
    # Fresh are its rotations alone.
    longer.load_state_dict({**longer.state_dict(), **weights})
    longer.train(policy.training)
    return longer


def lengthened_positions(table: Tensor, max_positions: int, num_known: int, chunk: int) -> Tensor:
    """[max_positions, H] of a table [P, H]: its first `num_known` rows, then again and again those but the first chunk.

    The first chunk is where texts begin. Raises ValueError for numbers that do not fit.
    """
    if not 2 * chunk <= num_known <= len(table) <= max_positions or num_known % chunk:
        raise ValueError(
            f"{len(table)} positions, {num_known} of them known, cannot become {max_positions}: known are whole chunks "
            f"of {chunk}, two or more"
        )
    rows = torch.arange(max_positions)
    repeated = chunk + (rows - chunk) % (num_known - chunk)
    return table[torch.where(rows < num_known, rows, repeated)].clone()
