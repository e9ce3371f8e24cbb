"""Structure pruning: what is judged unimportant can go, what is kept stays bit for bit."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.unit.reformer.some_ngrams import NGRAM_ROWS
from tests.unit.reformer.tiny_policy import VOCAB_SIZE, tiny_policy
from training.reformer.decoder import sample_completions
from training.reformer.model import ReformerPolicy, load_policy, save_policy
from training.reformer.pruning import (
    CalibrationBatch,
    drop_layer,
    keep_heads,
    keep_units,
    layer_costs,
    mean_loss,
    measure_importance,
    most_important,
)

NUM_LAYERS, NUM_HEADS, HEAD_SIZE, NUM_UNITS = 4, 2, 32, 128


def some_batch(seed: int = 1, num_texts: int = 3, length: int = 90) -> CalibrationBatch:
    generator = torch.Generator().manual_seed(seed)
    token_ids = torch.randint(256, VOCAB_SIZE, (num_texts, length), generator=generator)
    weights = torch.ones(num_texts, length - 1)
    weights[0, :40] = 0
    return CalibrationBatch(token_ids, weights)


def logits_of(policy: ReformerPolicy) -> Tensor:
    with torch.no_grad():
        return policy.token_logits(policy.encode(some_batch(seed=9).token_ids))


def silence_units(policy: ReformerPolicy, layer: int, units: Tensor) -> None:
    """These units are never active, and of the others none is silent by chance."""
    inner = policy.reformer.encoder.layers[layer].feed_forward.dense.dense
    with torch.no_grad():
        inner.bias.fill_(2)
        inner.weight[units] = 0
        inner.bias[units] = -1


def silence_head(policy: ReformerPolicy, layer: int, head: int) -> None:
    """What this head finds is not written anywhere."""
    output = policy.reformer.encoder.layers[layer].attention.output.dense
    with torch.no_grad():
        output.weight[:, head * HEAD_SIZE : (head + 1) * HEAD_SIZE] = 0


def test_a_network_of_which_nothing_is_cut_is_the_same_bit_for_bit() -> None:
    """All heads and all units kept: same weights, same logits, and n-grams and summary are there."""
    policy = tiny_policy(ngram_rows=NGRAM_ROWS, message_summary=True)
    whole = keep_units(
        keep_heads(policy, torch.arange(NUM_HEADS).repeat(NUM_LAYERS, 1)),
        torch.arange(NUM_UNITS).repeat(NUM_LAYERS, 1),
    )
    before, after = policy.state_dict(), whole.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(logits_of(policy), logits_of(whole))


def test_silent_units_have_no_importance_and_are_cut_without_a_trace() -> None:
    """Other units in each layer, half of them: found by their importance, and the logits stay."""
    policy = tiny_policy()
    silent = [torch.randperm(NUM_UNITS, generator=torch.Generator().manual_seed(n))[:64] for n in range(NUM_LAYERS)]
    for layer, units in enumerate(silent):
        silence_units(policy, layer, units)
    importance = measure_importance(policy, [some_batch()])
    kept = most_important(importance.units, NUM_UNITS // 2)
    for layer, units in enumerate(silent):
        assert float(importance.units[layer, units].max()) == 0
        assert set(kept[layer].tolist()) == set(range(NUM_UNITS)) - set(units.tolist())
    smaller = keep_units(policy, kept)
    assert smaller.config.feed_forward_size == NUM_UNITS // 2
    torch.testing.assert_close(logits_of(smaller), logits_of(policy), atol=1e-5, rtol=1e-5)


def test_silent_heads_have_no_importance_and_are_cut_without_a_trace() -> None:
    """In local layers and LSH layers, the first head and the second."""
    policy = tiny_policy()
    silent = (0, 0, 1, 1)
    for layer, head in enumerate(silent):
        silence_head(policy, layer, head)
    importance = measure_importance(policy, [some_batch()])
    kept = most_important(importance.heads, 1)
    assert kept[:, 0].tolist() == [1 - head for head in silent]
    assert all(float(importance.heads[layer, head]) == 0 for layer, head in enumerate(silent))
    smaller = keep_heads(policy, kept)
    assert smaller.config.num_attention_heads == 1
    torch.testing.assert_close(logits_of(smaller), logits_of(policy), atol=1e-5, rtol=1e-5)


def test_a_silent_layer_costs_nothing_and_is_dropped_without_a_trace() -> None:
    """Of four layers the third adds nothing to either stream; the others cost something."""
    policy = tiny_policy()
    with torch.no_grad():
        layer = policy.reformer.encoder.layers[2]
        layer.attention.output.dense.weight.zero_()
        layer.feed_forward.output.dense.weight.zero_()
        layer.feed_forward.output.dense.bias.zero_()
    costs = layer_costs(policy, [some_batch()])
    assert costs[2] == 0 and all(abs(cost) > 0 for number, cost in enumerate(costs) if number != 2)
    smaller = drop_layer(policy, 2)
    assert smaller.config.attn_layers == ["local", "lsh", "lsh"]
    assert torch.equal(logits_of(smaller), logits_of(policy))


def test_a_layers_cost_is_what_its_absence_costs() -> None:
    """The rise of the loss that was told comes true when the layer is dropped."""
    policy, sample = tiny_policy(), [some_batch(1), some_batch(2, num_texts=2)]
    costs = layer_costs(policy, sample)
    for layer in range(NUM_LAYERS):
        rise = mean_loss(drop_layer(policy, layer), sample) - mean_loss(policy, sample)
        assert rise == pytest.approx(costs[layer], abs=1e-5)


def test_importance_is_the_gate_times_its_gradient() -> None:
    """As a gate before each unit and head would get it: of a single text, the loss's slope where the gate is 1."""
    policy, batch = tiny_policy(), some_batch(num_texts=1)
    layer = policy.reformer.encoder.layers[1]
    gates = {
        layer.feed_forward.output.dense: torch.ones(NUM_UNITS, requires_grad=True),
        layer.attention.output.dense: torch.ones(NUM_HEADS * HEAD_SIZE, requires_grad=True),
    }
    hooks = [
        matrix.register_forward_pre_hook(lambda _, inputs, gate=gate: (inputs[0] * gate,))
        for matrix, gate in gates.items()
    ]
    logits = policy.token_logits(policy.encode(batch.token_ids))[0, :-1]
    losses = F.cross_entropy(logits, batch.token_ids[0, 1:], reduction="none")
    units, channels = torch.autograd.grad((losses * batch.weights[0]).sum(), list(gates.values()))
    for hook in hooks:
        hook.remove()
    importance = measure_importance(policy, [batch])
    torch.testing.assert_close(importance.units[1], units.abs(), atol=1e-4, rtol=1e-3)
    heads = channels.view(NUM_HEADS, HEAD_SIZE).sum(1).abs()
    torch.testing.assert_close(importance.heads[1], heads, atol=1e-4, rtol=1e-3)


def test_measuring_leaves_no_trace() -> None:
    """No gradients, no hooks, all layers, and the mode that the policy was in."""
    policy = tiny_policy().train()
    measure_importance(policy, [some_batch()])
    layer_costs(policy, [some_batch()])
    assert policy.training and len(policy.reformer.encoder.layers) == NUM_LAYERS
    assert all(parameter.grad is None for parameter in policy.parameters())
    assert not any(module._forward_pre_hooks for module in policy.modules())


def test_a_pruned_policy_is_saved_loaded_and_sampled_from(tmp_path: Path) -> None:
    """With a layer, a head of each layer and half of the units less; sampling agrees with the full forward pass."""
    policy = drop_layer(tiny_policy(), 0)
    importance = measure_importance(policy, [some_batch()])
    smaller = keep_heads(policy, most_important(importance.heads, 1))
    smaller = keep_units(smaller, most_important(importance.units, 64))
    save_policy(smaller, tmp_path)
    loaded = load_policy(tmp_path).eval()
    assert torch.equal(logits_of(loaded), logits_of(smaller))
    prompt = some_batch().token_ids[0].tolist()
    (sample,) = sample_completions(
        loaded, [prompt], banned_ids=[frozenset()], temperature=0.0, max_new_tokens=4, seed=1
    )
    with torch.no_grad():
        hidden = loaded.encode(torch.tensor([[*prompt, *sample.token_ids]]))
        expected = loaded.token_logits(hidden)[0, len(prompt) - 1 : -1].argmax(-1)
    assert expected.tolist() == list(sample.token_ids)


@pytest.mark.parametrize("number", [0, NUM_HEADS + 1])
def test_no_more_and_no_less_is_kept_than_there_can_be(number: int) -> None:
    """None of the heads, or more than there are."""
    with pytest.raises(ValueError, match=f"{number} of {NUM_HEADS} cannot be kept"):
        most_important(torch.rand(NUM_LAYERS, NUM_HEADS), number)


def test_the_last_layer_cannot_be_dropped_and_a_sample_must_hold_something() -> None:
    """Both are mistakes of the caller."""
    policy = tiny_policy()
    for _ in range(NUM_LAYERS - 1):
        policy = drop_layer(policy, 0)
    with pytest.raises(ValueError, match="at least one layer"):
        drop_layer(policy, 0)
    with pytest.raises(ValueError, match="tokens that count"):
        mean_loss(policy, [])
    with pytest.raises(ValueError, match="at least one text"):
        measure_importance(policy, [])
