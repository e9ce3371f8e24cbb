"""Hashed attention: the rule as its docstring states it, against the same rule written out as one mask."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from model_store.contract.manifest import Architecture, Hashing
from training.reformer.attention import lsh_keys, lsh_mask
from training.reformer.config import architecture_of
from training.reformer.hashing.causal_attention import Rule, buckets_of, draw_rotations, hashed_attention
from training.reformer.model import ReformerPolicy, load_policy, new_policy, save_policy

HEADS, SIZE = 2, 32
CHUNK = 16


def random_text(length: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Query-keys and values [1, heads, S, D]; neighbouring tokens are alike, so that buckets are uneven."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(1, HEADS, length, SIZE, generator=generator)
    return steps + 0.5 * steps.cumsum(2) / 4, torch.randn(1, HEADS, length, SIZE, generator=generator)


def some_buckets(query_keys: Tensor, num_hashes: int, num_buckets: int = 8) -> Tensor:
    hashing = Hashing(hash_beyond=1, num_hashes=num_hashes, num_buckets=num_buckets, bucket_window=1)
    return buckets_of(query_keys, draw_rotations(hashing, SIZE, torch.Generator().manual_seed(1)))


def what_is_seen(buckets: Tensor, rule: Rule) -> Tensor:
    """[heads, S, S] bool, token by token: the rule's two sentences and nothing clever."""
    _, heads, length, num_hashes = buckets.shape
    seen = torch.zeros(heads, length, length, dtype=torch.bool)
    for head in range(heads):
        for query in range(length):
            near = max(0, (query // rule.chunk - 1) * rule.chunk)
            seen[head, query, near : query + 1] = True
            for number in range(num_hashes):
                own = buckets[0, head, query, number]
                sharing = [key for key in range(near) if buckets[0, head, key, number] == own]
                seen[head, query, sharing[-rule.window :]] = True
    return seen


def written_out(query_keys: Tensor, values: Tensor, buckets: Tensor, rule: Rule) -> Tensor:
    length = query_keys.shape[2]
    scores = query_keys @ lsh_keys(query_keys).transpose(-1, -2) + lsh_mask(length, length, torch.float32)
    return scores.masked_fill(~what_is_seen(buckets, rule)[None], float("-inf")).softmax(-1) @ values


@pytest.mark.parametrize("num_hashes", [1, 2, 3])
@pytest.mark.parametrize("window", [3, 20, 500])
def test_hashed_attention_is_one_softmax_over_what_the_rule_shows(num_hashes: int, window: int) -> None:
    """Near tokens and each round's latest W of the own bucket, each once, share one softmax."""
    query_keys, values = random_text(12 * CHUNK)
    buckets, rule = some_buckets(query_keys, num_hashes), Rule(CHUNK, window)
    found = hashed_attention(query_keys, lsh_keys(query_keys), values, buckets, rule)
    torch.testing.assert_close(found, written_out(query_keys, values, buckets, rule), atol=1e-5, rtol=0)


def test_the_rule_shows_far_tokens_and_hides_others() -> None:
    """What the comparison above stands on: the mask is neither empty nor full where it matters."""
    query_keys, _ = random_text(12 * CHUNK)
    seen = what_is_seen(some_buckets(query_keys, 2), Rule(CHUNK, 20))
    far = seen[:, -1, : 10 * CHUNK]
    assert 0 < int(far.sum()) < far.numel()


def test_hashing_that_leaves_nothing_out_is_exact_attention() -> None:
    """With one bucket for all and a window as long as the text, every token sees everything before it."""
    query_keys, values = random_text(10 * CHUNK)
    length = query_keys.shape[2]
    everything = torch.zeros(1, HEADS, length, 2, dtype=torch.long)
    found = hashed_attention(query_keys, lsh_keys(query_keys), values, everything, Rule(CHUNK, length))
    mask = lsh_mask(length, length, torch.float32)
    exact = (query_keys @ lsh_keys(query_keys).transpose(-1, -2) + mask).softmax(-1) @ values
    torch.testing.assert_close(found, exact, atol=1e-5, rtol=0)


def test_a_text_reads_the_same_at_every_length() -> None:
    """The first tokens of a text give what they give alone: later tokens change nothing before them."""
    query_keys, values = random_text(12 * CHUNK)
    buckets, rule = some_buckets(query_keys, 2), Rule(CHUNK, 7)
    whole = hashed_attention(query_keys, lsh_keys(query_keys), values, buckets, rule)
    for length in (CHUNK, 5 * CHUNK, 11 * CHUNK):
        first, given = query_keys[:, :, :length], values[:, :, :length]
        part = hashed_attention(first, lsh_keys(first), given, buckets[:, :, :length], rule)
        torch.testing.assert_close(part, whole[:, :, :length], atol=1e-5, rtol=0)


def test_gradients_are_those_of_the_mask_written_out() -> None:
    """Training through the sorted text learns what training through the mask would."""
    gradients = []
    for attention in (hashed_attention, None):
        query_keys, values = (x.clone().requires_grad_() for x in random_text(8 * CHUNK))
        buckets, rule = some_buckets(query_keys.detach(), 2), Rule(CHUNK, 9)
        if attention is None:
            found = written_out(query_keys, values, buckets, rule)
        else:
            found = attention(query_keys, lsh_keys(query_keys), values, buckets, rule)
        found.pow(2).sum().backward()  # type: ignore[no-untyped-call]
        gradients.append((query_keys.grad, values.grad))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)


def test_a_bucket_does_not_depend_on_a_vectors_length() -> None:
    """Keys are cached normalised, and hash to where their query-keys do."""
    query_keys, _ = random_text(64)
    assert torch.equal(some_buckets(query_keys, 3), some_buckets(7 * query_keys, 3))
    assert torch.equal(some_buckets(query_keys, 3), some_buckets(lsh_keys(query_keys), 3))
    assert len(some_buckets(query_keys, 1).unique()) > 4


LONG = Architecture(
    hidden_size=64,
    attn_layers=("local", "lsh") * 2,
    num_attention_heads=2,
    attention_head_size=32,
    feed_forward_size=128,
    vocab_size=300,
    max_positions=1024,
    local_chunk_length=64,
    hashing=Hashing(hash_beyond=200, num_hashes=2, num_buckets=8, bucket_window=16),
)


def long_policy(architecture: Architecture = LONG) -> ReformerPolicy:
    policy: ReformerPolicy = new_policy(architecture, seed=1).eval()
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    return policy


def token_ids(length: int) -> Tensor:
    return torch.randint(7, 300, (2, length), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_only_long_texts_are_hashed() -> None:
    """Up to `hash_beyond` tokens the network is the one without hashing; beyond, it is not, unless told to be exact."""
    hashed, plain = long_policy(), long_policy(LONG.model_copy(update={"hashing": None}))
    for length in (100, 200):
        assert torch.equal(hashed(token_ids(length)).logits, plain(token_ids(length)).logits)
    ids = token_ids(700)
    assert (hashed(ids).logits - plain(ids).logits).abs().max() > 1e-2
    hashed.read_exactly(True)
    assert torch.equal(hashed(ids).logits, plain(ids).logits)


@torch.no_grad()
def test_no_later_token_changes_what_a_long_text_gave_before() -> None:
    """Through all layers: other tokens at the end leave every earlier logit as it was."""
    policy, ids = long_policy(), token_ids(650)
    changed = ids.clone()
    changed[:, 600:] = 299 - changed[:, 600:] + 7
    before, after = policy(ids).logits, policy(changed).logits
    torch.testing.assert_close(before[:, :600], after[:, :600], atol=1e-5, rtol=0)
    assert (before[:, 600:] - after[:, 600:]).abs().max() > 1e-2


@torch.no_grad()
def test_a_checkpoint_keeps_its_rotations(tmp_path: Path) -> None:
    """A saved network hashes as it did, whatever draws random numbers by then, and knows its hashing."""
    policy = long_policy()
    for layer in policy.reformer.encoder.layers:
        attention = layer.attention.self_attention
        if hasattr(attention, "rotations"):
            attention.rotations.copy_(draw_rotations(LONG.hashing, 32, torch.Generator().manual_seed(99)))
    save_policy(policy, tmp_path)
    loaded = load_policy(tmp_path).eval()
    assert architecture_of(loaded.config) == LONG
    assert torch.equal(policy(token_ids(500)).logits, loaded(token_ids(500)).logits)
