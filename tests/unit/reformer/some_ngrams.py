"""N-grams for networks with random weights: what a training stage would have chosen and taught."""

import itertools
import random

import torch

from training.reformer.model import ReformerPolicy
from training.reformer.ngrams import LARGEST_BYTE, MAX_LOAD, MAX_NGRAM

NGRAM_ROWS = 4096
_FIRST_ID = 256
_TYPICAL_LENGTH = 0.02 / LARGEST_BYTE


def teach_some_ngrams(policy: ReformerPolicy, seed: int = 5) -> None:
    """Single tokens that are no control tokens, random pairs and random triples, as many as there is room for."""
    assert policy.ngrams is not None
    generator = random.Random(seed)
    token_ids = range(_FIRST_ID, policy.config.vocab_size)
    most = int(MAX_LOAD * policy.ngrams.num_rows)
    chosen: list[tuple[int, ...]] = [(token_id,) for token_id in token_ids][: most // 3]
    pairs = list(itertools.product(token_ids, repeat=2))
    chosen += generator.sample(pairs, min(len(pairs), (most - len(chosen)) * 2 // 3))
    triples = {tuple(generator.choices(token_ids, k=MAX_NGRAM)) for _ in range(most - len(chosen))}
    policy.ngrams.know([*chosen, *sorted(triples)])
    torch.manual_seed(seed)
    known = torch.randint(-LARGEST_BYTE, LARGEST_BYTE + 1, policy.ngrams.table.shape)
    known[0] = 0
    policy.ngrams.table.copy_(known)
    with torch.no_grad():
        policy.ngrams.projection.weight.mul_(_TYPICAL_LENGTH)
