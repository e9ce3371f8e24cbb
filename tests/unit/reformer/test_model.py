"""The network: the stock class's weights and function, run another way."""

from pathlib import Path

import pytest
import torch
from transformers import ReformerModelWithLMHead

from model_store.contract.manifest import Architecture
from training.reformer.config import architecture_of, reformer_config
from training.reformer.model import ReformerPolicy, load_policy, new_policy, save_policy

ARCHITECTURE = Architecture(
    hidden_size=64,
    attn_layers=("local", "lsh") * 2,
    num_attention_heads=2,
    attention_head_size=32,
    feed_forward_size=128,
    vocab_size=300,
    max_positions=256,
    local_chunk_length=64,
)


@pytest.fixture
def policy() -> ReformerPolicy:
    """A policy whose weights are large enough that logits are not flat."""
    policy: ReformerPolicy = new_policy(ARCHITECTURE, seed=1).eval()
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    return policy


def token_ids(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(7, 300, (2, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_the_stock_class_loads_our_checkpoint_and_agrees(policy: ReformerPolicy, tmp_path: Path) -> None:
    """Hugging Face's ReformerModelWithLMHead gives the same logits from our files, at any length up to its chunk."""
    save_policy(policy, tmp_path)
    stock = ReformerModelWithLMHead.from_pretrained(tmp_path).eval()
    for length in (5, 64, 100, 256):
        ids = token_ids(length)
        torch.testing.assert_close(policy(ids).logits, stock(ids).logits, atol=2e-5, rtol=0)


@torch.no_grad()
def test_we_load_the_stock_class_checkpoint(tmp_path: Path) -> None:
    """A checkpoint that the stock class saved gives the same logits in ours."""
    torch.manual_seed(3)
    stock = ReformerModelWithLMHead(reformer_config(ARCHITECTURE)).eval()
    stock.save_pretrained(tmp_path)
    ours = load_policy(tmp_path).eval()
    torch.testing.assert_close(ours(token_ids(256)).logits, stock(token_ids(256)).logits, atol=2e-5, rtol=0)
    assert architecture_of(ours.config) == ARCHITECTURE


def test_the_reversible_encoder_gives_the_same_loss_and_gradients(policy: ReformerPolicy) -> None:
    """Switching the encoder changes how gradients are computed, not what they are."""
    policy.train()
    ids = token_ids(256)
    gradients = []
    losses = []
    for kind in ("plain", "reversible"):
        policy.zero_grad()
        policy.use_encoder(kind)  # type: ignore[arg-type]
        loss = policy(ids, labels=ids).loss
        loss.backward()
        losses.append(loss.item())
        gradients.append({n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None})
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 40
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-3)


@torch.no_grad()
def test_the_future_never_leaks_into_the_past(policy: ReformerPolicy) -> None:
    """Changing tokens from position 90 on leaves every earlier logit as it was."""
    ids, changed = token_ids(200), token_ids(200)
    changed[:, 90:] = token_ids(110, seed=9)
    before, after = policy(ids).logits[:, :90], policy(changed).logits[:, :90]
    torch.testing.assert_close(before, after, atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_hashed_path_is_a_switch_that_is_off(policy: ReformerPolicy, tmp_path: Path) -> None:
    """Beyond the LSH chunk the exact path goes on unless hashing is allowed; then logits differ."""
    save_policy(policy, tmp_path)
    short_chunk = load_policy(tmp_path)
    config = short_chunk.config
    config.lsh_attn_chunk_length, config.hash_seed = 64, 7
    hashed = ReformerPolicy(config).eval()
    hashed.load_state_dict(policy.state_dict())
    ids = token_ids(256)
    torch.testing.assert_close(hashed(ids).logits, policy(ids).logits, atol=2e-5, rtol=0)
    hashed.hash_beyond_chunk(True)
    assert (hashed(ids).logits - policy(ids).logits).abs().max() > 1e-3


def test_the_same_seed_gives_the_same_weights() -> None:
    """Initialisation depends on the seed alone."""
    first, second, other = (new_policy(ARCHITECTURE, seed=seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["lm_head.decoder.weight"], other["lm_head.decoder.weight"])
