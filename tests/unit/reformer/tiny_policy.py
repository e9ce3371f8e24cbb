"""A tiny policy with random weights scaled up, so that its distributions are not flat."""

import torch

from model_store.contract.manifest import Architecture
from tests.unit.reformer.some_ngrams import teach_some_ngrams
from training.reformer.model import ReformerPolicy, new_policy

VOCAB_SIZE = 320


def tiny_policy(
    seed: int = 3,
    *,
    max_positions: int = 192,
    vocab_size: int = VOCAB_SIZE,
    ngram_rows: int = 0,
    message_summary: bool = False,
) -> ReformerPolicy:
    """One local and one LSH layer, twice; chunks of 64; known n-grams if there are rows for them."""
    shape = Architecture(
        hidden_size=64,
        attn_layers=("local", "lsh", "local", "lsh"),
        num_attention_heads=2,
        attention_head_size=32,
        feed_forward_size=128,
        vocab_size=vocab_size,
        max_positions=max_positions,
        local_chunk_length=64,
        ngram_rows=ngram_rows,
        message_summary=message_summary,
    )
    policy = new_policy(shape, seed=seed)
    if ngram_rows:
        teach_some_ngrams(policy, seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4)
    policy.eval()
    return policy


def smallest_shape(vocab_size: int) -> Architecture:
    """One local and one LSH layer of width 32, without n-grams: for tests in which the network hardly matters."""
    return Architecture(
        hidden_size=32,
        attn_layers=("local", "lsh"),
        num_attention_heads=2,
        attention_head_size=16,
        feed_forward_size=64,
        vocab_size=vocab_size,
        max_positions=256,
        local_chunk_length=64,
    )


def random_prompt(length: int, seed: int, vocab_size: int = VOCAB_SIZE) -> list[int]:
    """Ids that are no control tokens."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, vocab_size, (length,), generator=generator).tolist()
