"""Structure pruning: how much layers, attention heads and feed-forward units matter, and a policy without some of them.

A layer matters as much as the cross-entropy rises without it. Heads and units are judged by what a first-order Taylor
expansion says their removal would change, |activation x gradient|, summed over a text's tokens (heads: Michel et al.
2019, 1905.10650; units: Molchanov et al. 2019, 1906.10771). Left out: widths that differ by layer, which a manifest
cannot say, so every layer keeps as many heads and units, each its own most important ones; and scores that are compared
across layers. What to drop, and tuning again afterwards: `stages.pruning`.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.reformer.model import ReformerPolicy

_LAYERS = "reformer.encoder.layers."
_UNIT_ROWS = ("feed_forward.dense.dense.weight", "feed_forward.dense.dense.bias")
_UNIT_COLUMNS = ("feed_forward.output.dense.weight",)
_HEAD_ROWS = tuple(f"attention.self_attention.{name}.weight" for name in ("query", "key", "query_key", "value"))
_HEAD_COLUMNS = ("attention.output.dense.weight",)


@dataclass(frozen=True, slots=True)
class CalibrationBatch:
    """Texts that importance is measured on."""

    token_ids: Tensor
    """[B, S]."""
    weights: Tensor
    """[B, S - 1]: how much predicting the token after each position counts."""


@dataclass(frozen=True, slots=True)
class Importance:
    """How much of the loss hangs on each head and unit, in nats a text; comparable within a layer."""

    heads: Tensor
    """[layers, heads]."""
    units: Tensor
    """[layers, feed-forward size]."""


def mean_loss(policy: ReformerPolicy, sample: Sequence[CalibrationBatch]) -> float:
    """Weighted mean cross-entropy in nats a token. Raises ValueError for a sample in which nothing counts."""
    total_weight = float(sum(batch.weights.sum() for batch in sample))
    if not total_weight:
        raise ValueError("importance needs a sample with tokens that count")
    with torch.no_grad(), _in_evaluation(policy):
        return sum(float(_summed_loss(policy, batch)) for batch in sample) / total_weight


def layer_costs(policy: ReformerPolicy, sample: Sequence[CalibrationBatch]) -> list[float]:
    """By layer, by how many nats a token the loss rises when it is skipped; negative where it falls."""
    with_all = mean_loss(policy, sample)
    costs = []
    for layer in range(len(policy.reformer.encoder.layers)):
        with _skipped(policy, layer):
            costs.append(mean_loss(policy, sample) - with_all)
    return costs


def measure_importance(policy: ReformerPolicy, sample: Sequence[CalibrationBatch]) -> Importance:
    """Of all heads and units, by one backward pass a batch; the weights get no gradient."""
    config = policy.config
    num_layers, num_heads = len(config.attn_layers), config.num_attention_heads
    heads = torch.zeros(num_layers, num_heads)
    units = torch.zeros(num_layers, config.feed_forward_size)
    num_texts = 0
    with _in_evaluation(policy), _inputs_of_outputs(policy) as (contexts, activations):
        for batch in sample:
            contexts.clear()
            activations.clear()
            loss = _summed_loss(policy, batch)
            gradients = torch.autograd.grad(loss, [*contexts, *activations])
            for layer in range(num_layers):
                by_channel = (contexts[layer].detach() * gradients[layer]).sum(1)
                heads[layer] += by_channel.view(len(by_channel), num_heads, -1).sum(2).abs().sum(0)
                by_unit = (activations[layer].detach() * gradients[num_layers + layer]).sum(1)
                units[layer] += by_unit.abs().sum(0)
            num_texts += len(batch.token_ids)
    if not num_texts:
        raise ValueError("importance needs a sample of at least one text")
    return Importance(heads / num_texts, units / num_texts)


def most_important(importance: Tensor, number: int) -> Tensor:
    """[layers, number]: of each layer the places of the largest, in the order in which they stand.

    Raises ValueError for a number below 1 or above what there is.
    """
    if not 1 <= number <= importance.shape[1]:
        raise ValueError(f"{number} of {importance.shape[1]} cannot be kept")
    places: Tensor = importance.topk(number, dim=1).indices.sort(dim=1).values
    return places


def drop_layer(policy: ReformerPolicy, dropped: int) -> ReformerPolicy:
    """A policy without one layer; the rest is as it was. Raises ValueError where no layer would be left."""
    kinds = [kind for layer, kind in enumerate(policy.config.attn_layers) if layer != dropped]
    if not kinds:
        raise ValueError("a network needs at least one layer")
    weights = {}
    for name, tensor in policy.state_dict().items():
        if not name.startswith(_LAYERS):
            weights[name] = tensor
            continue
        layer, _, rest = name.removeprefix(_LAYERS).partition(".")
        if int(layer) != dropped:
            weights[f"{_LAYERS}{int(layer) - (int(layer) > dropped)}.{rest}"] = tensor
    return _rebuilt(policy, weights, attn_layers=kinds, num_hidden_layers=len(kinds))


def keep_heads(policy: ReformerPolicy, kept: Tensor) -> ReformerPolicy:
    """A policy with these heads [layers, number] of each layer."""
    size = policy.config.attention_head_size
    channels = (kept[:, :, None] * size + torch.arange(size)).flatten(1)
    weights = _cut(policy, channels, _HEAD_ROWS, _HEAD_COLUMNS)
    return _rebuilt(policy, weights, num_attention_heads=kept.shape[1])


def keep_units(policy: ReformerPolicy, kept: Tensor) -> ReformerPolicy:
    """A policy with these feed-forward units [layers, number] of each layer."""
    weights = _cut(policy, kept, _UNIT_ROWS, _UNIT_COLUMNS)
    return _rebuilt(policy, weights, feed_forward_size=kept.shape[1])


def _cut(policy: ReformerPolicy, kept: Tensor, rows: Iterable[str], columns: Iterable[str]) -> dict[str, Tensor]:
    """All weights; of the named ones of each layer only the rows, or columns, `kept` [layers, number]."""
    weights = dict(policy.state_dict())
    for layer, places in enumerate(kept):
        for dim, names in enumerate((rows, columns)):
            for name in (f"{_LAYERS}{layer}.{name}" for name in names):
                if name in weights:  # query and key of a local layer, their common matrix of an LSH layer
                    weights[name] = weights[name].index_select(dim, places)
    return weights


def _rebuilt(policy: ReformerPolicy, weights: Mapping[str, Tensor], **shape: object) -> ReformerPolicy:
    """A policy of its own with these weights; what it is heard and kept to phrases by is left behind."""
    config = copy.deepcopy(policy.config)
    for name, value in shape.items():
        setattr(config, name, value)
    smaller = ReformerPolicy(config)
    smaller.load_state_dict(weights)
    smaller.train(policy.training)
    return smaller


def _summed_loss(policy: ReformerPolicy, batch: CalibrationBatch) -> Tensor:
    is_target = batch.weights > 0
    logits = policy.token_logits(policy.encode(batch.token_ids)[:, :-1][is_target]).float()
    losses = F.cross_entropy(logits, batch.token_ids[:, 1:][is_target], reduction="none")
    return (losses * batch.weights[is_target]).sum()


@contextmanager
def _in_evaluation(policy: ReformerPolicy) -> Iterator[None]:
    was_training = policy.training
    policy.eval()
    try:
        yield
    finally:
        policy.train(was_training)


@contextmanager
def _skipped(policy: ReformerPolicy, skipped: int) -> Iterator[None]:
    """The policy runs without a layer meanwhile."""
    encoder, layers = policy.reformer.encoder, policy.reformer.encoder.layers
    encoder.layers = nn.ModuleList(layer for number, layer in enumerate(layers) if number != skipped)
    try:
        yield
    finally:
        encoder.layers = layers


@contextmanager
def _inputs_of_outputs(policy: ReformerPolicy) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Collects, layer by layer, what heads and units give to the matrices behind them: [B, S, heads x D], [B, S, F]."""
    contexts: list[Tensor] = []
    activations: list[Tensor] = []

    def collect(found: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, arguments: found.append(arguments[0])

    hooks = []
    for layer in policy.reformer.encoder.layers:
        hooks.append(layer.attention.output.dense.register_forward_pre_hook(collect(contexts)))
        hooks.append(layer.feed_forward.output.dense.register_forward_pre_hook(collect(activations)))
    try:
        yield contexts, activations
    finally:
        for hook in hooks:
            hook.remove()
