"""Prune: takes layers, attention heads and feed-forward units out of the bundle that goes on learning.

Layers go first, one at a time, each time the one whose absence costs least then (a greedy search: of two layers that do
the same work only one goes); what is left of heads and units is judged afterwards, on the smaller network. Left out:
cutting a little, tuning, and cutting again (Molchanov et al. 2019), which costs a tuning for every cut.
"""

import itertools

import torch

from training.base_config import PruningConfig
from training.config import TrainingConfig
from training.data.windows import BatchStream, WindowSet
from training.errors import UnfitPruningError
from training.reformer.config import architecture_of
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
from training.stages.base_model.corpus import VALIDATION_SOURCE
from training.stages.base_model.language_modeling import PRUNED
from training.workspace import StageResult, Workspace

_SEED_OFFSET = 3


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Writes the checkpoint directory `pruned`. Raises UnfitPruningError where nothing would be left.

    Result: what each layer would have cost when the choice was made, which went (numbered as in the bundle), the losses
    on the calibration sample before and after, in nats a token, and the new shape.
    """
    assert config.pruning is not None and config.goes_on_from is not None
    policy = load_policy(config.goes_on_from)
    check_enough_left(policy, config)
    sample = calibration_sample(config, workspace)
    before = mean_loss(policy, sample)
    layers = list(range(len(policy.config.attn_layers)))
    dropped, costs = [], []
    for _ in range(config.pruning.drop_layers):
        found = layer_costs(policy, sample)
        cheapest = min(range(len(found)), key=found.__getitem__)
        costs.append({str(layer): round(cost, 4) for layer, cost in zip(layers, found, strict=True)})
        dropped.append(layers.pop(cheapest))
        policy = drop_layer(policy, cheapest)
    policy = thin_out(policy, config.pruning, sample)
    after = mean_loss(policy, sample)
    save_policy(policy, workspace.path(PRUNED))
    return {
        "layer_costs": costs,
        "dropped_layers": dropped,
        "loss_before": before,
        "loss_after": after,
        "architecture": architecture_of(policy.config).model_dump(mode="json"),
    }


def thin_out(policy: ReformerPolicy, pruning: PruningConfig, sample: list[CalibrationBatch]) -> ReformerPolicy:
    """The policy with fewer heads and units in every layer, the least important ones gone."""
    num_heads = policy.config.num_attention_heads - pruning.drop_heads
    num_units = num_units_left(policy, pruning)
    if (num_heads, num_units) == (policy.config.num_attention_heads, policy.config.feed_forward_size):
        return policy
    importance = measure_importance(policy, sample)
    policy = keep_heads(policy, most_important(importance.heads, num_heads))
    return keep_units(policy, most_important(importance.units, num_units))


def num_units_left(policy: ReformerPolicy, pruning: PruningConfig) -> int:
    """Feed-forward units that every layer keeps."""
    return round(pruning.feed_forward_share * int(policy.config.feed_forward_size))


def check_enough_left(policy: ReformerPolicy, config: TrainingConfig) -> None:
    """Raises UnfitPruningError where the configuration would leave no layer, head or unit of this policy."""
    assert config.pruning is not None
    left = {
        "layers": len(policy.config.attn_layers) - config.pruning.drop_layers,
        "attention heads": policy.config.num_attention_heads - config.pruning.drop_heads,
        "feed-forward units": num_units_left(policy, config.pruning),
    }
    gone = [name for name, number in left.items() if number < 1]
    if gone:
        raise UnfitPruningError(path=config.goes_on_from, problem=f"no {', '.join(gone)} would be left")


def calibration_sample(config: TrainingConfig, workspace: Workspace) -> list[CalibrationBatch]:
    """Batches as the tuning will see them, of the assistant's tokens alone; none of those that validate."""
    assert config.pruning is not None and config.polish is not None
    paths = sorted(workspace.path("windows").glob("*.npz"))
    windows = {path.stem: WindowSet.load(path) for path in paths if path.stem != VALIDATION_SOURCE}
    stream = BatchStream(
        windows,
        config.polish.source_shares,
        batch_tokens=config.polish.batch_tokens,
        seed=config.seed + _SEED_OFFSET,
    )
    by_kind = torch.tensor([0.0, 0.0, 1.0, config.polish.plan_token_weight])
    return [
        CalibrationBatch(batch.token_ids, by_kind[batch.kinds[:, 1:].long()])
        for batch in itertools.islice(stream.batches(), config.pruning.calibration_batches)
    ]
