"""Language modelling: pretraining on all dialogues, then supervised fine-tuning on the pack's.

Both are next-token training over weighted windows (assistant 1, customer less, structure 0) and differ only in
data, weights and schedule. Where a window brings a teacher's opinion of the plan, the model learns to share it.
Deterministic: weights, batches and dropout follow from the seed; resumable at any kill from the last checkpoint.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from model_store.contract.control_tokens import FIRST_PLAN_ID
from training.base_config import LanguageModelConfig
from training.config import TrainingConfig
from training.data.windows import PLAN, Batch, BatchStream, WindowSet, tempered_shares
from training.optimization import StepGuard, build_muon, flat_then_linear, warm_up
from training.precision import fast_matrices
from training.reformer.model import ReformerPolicy, load_policy, new_policy, save_policy
from training.stages.base_model import message_summary
from training.stages.base_model.corpus import VALIDATION_SOURCE
from training.stages.base_model.distillation import Distillation
from training.workspace import StageResult, Workspace

PRUNED = "pruned"
"""Checkpoint of a network that was made smaller."""


def run_pretrain(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Trains fresh or summarising weights on every source; writes the checkpoint directory `pretrained`."""
    if config.pretrain is None:
        return {}
    architecture = config.model.architecture()
    if architecture.message_summary:
        policy = load_policy(workspace.path(message_summary.CHECKPOINT), dropout=config.pretrain.dropout)
    else:
        policy = new_policy(architecture, seed=config.seed, dropout=config.pretrain.dropout)
    return _train(policy, config.pretrain, _Run("pretrain", "pretrained", config.seed, workspace))


def run_finetune(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Tunes `pretrained` on the pack's conversations; writes the checkpoint directory `finetuned`."""
    if config.finetune is None:
        return {}
    policy = load_policy(workspace.path("pretrained"), dropout=config.finetune.dropout)
    return _train(policy, config.finetune, _Run("finetune", "finetuned", config.seed + 1, workspace))


def run_polish(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Tunes `finetuned`, or a bundle, whole or pruned, once more where the configuration says so; writes `polished`.

    The learning rate starts anew: wordings settle when plans have been learned.
    """
    if config.polish is None:
        return {}
    checkpoint = workspace.path(PRUNED) if config.pruning else config.goes_on_from or workspace.path("finetuned")
    policy = load_policy(checkpoint, dropout=config.polish.dropout)
    distillation = None
    if config.polish.distillation_share and config.goes_on_from is not None:
        distillation = Distillation(load_policy(config.goes_on_from).eval(), config.polish.distillation_share)
    return _train(policy, config.polish, _Run("polish", "polished", config.seed + 2, workspace, distillation))


@dataclass(frozen=True)
class _Run:
    stage: str
    output: str
    seed: int
    workspace: Workspace
    distillation: Distillation | None = None


def _train(policy: ReformerPolicy, config: LanguageModelConfig, run: _Run) -> StageResult:
    windows = _load_windows(run.workspace)
    validation = windows.pop(VALIDATION_SOURCE)
    shares = tempered_shares(windows, config.source_shares, config.source_temperature)
    stream = BatchStream(windows, shares, batch_tokens=config.batch_tokens, seed=run.seed)
    optimizers = build_muon(policy, muon_lr=config.muon_lr, adamw_lr=config.adamw_lr)
    guard = StepGuard(policy, optimizers, stage=run.stage)  # before a resume, which brings scheduled learning rates
    step, tokens_seen, seconds_before = _resume(policy, optimizers, run)
    started = time.monotonic() - seconds_before
    policy.train()
    with (
        SummaryWriter(str(run.workspace.path("tensorboard") / run.stage)) as log,
        tqdm(total=config.num_tokens, initial=tokens_seen, desc=run.stage, unit="tok", file=sys.stderr) as progress,
    ):
        for batch in stream.batches(skip=step):
            if tokens_seen >= config.num_tokens:
                break
            torch.manual_seed(run.seed * 1_000_003 + step)  # dropout of step n is the same after a resume
            factor = flat_then_linear(tokens_seen, config.num_tokens, config.decay_share)
            loss = batch_gradients(policy, batch, config, run.distillation)
            norm = guard.step(loss, number=step, lr_factor=factor * warm_up(step))
            step += 1
            tokens_seen += batch.token_ids.numel()
            progress.update(batch.token_ids.numel())
            if step % 20 == 0:
                progress.set_postfix(loss=f"{loss.item():.3f}")
                _log(log, tokens_seen, loss=loss.item(), gradient_norm=norm, lr_factor=factor)
            if step % config.checkpoint_every == 0:
                progress_made = {"step": step, "tokens_seen": tokens_seen, "seconds": time.monotonic() - started}
                _checkpoint(policy, optimizers, run, progress_made)
    validation_loss = evaluate_loss(policy, validation, batch_tokens=config.batch_tokens)
    save_policy(policy, run.workspace.path(run.output))
    run.workspace.drop_checkpoint(run.stage)
    seconds = round(time.monotonic() - started, 1)
    return {"validation_loss": validation_loss, "num_tokens": tokens_seen, "num_steps": step, "seconds": seconds}


def batch_gradients(
    policy: ReformerPolicy, batch: Batch, config: LanguageModelConfig, distillation: Distillation | None = None
) -> Tensor:
    """Loss of a batch, with gradients; backward runs inside the autocast region, else it would use fp32."""
    weights = torch.tensor([0.0, config.user_token_weight, 1.0, config.plan_token_weight])  # by kind
    with fast_matrices():
        hidden = policy.encode(batch.token_ids)
        losses, token_weights = token_losses(
            policy, hidden, batch, weights, label_smoothing=config.label_smoothing, distillation=distillation
        )
        taught = teacher_losses(policy, hidden, batch)
        total_weight = token_weights.sum() + config.plan_token_weight * len(taught)
        loss = ((losses * token_weights).sum() + config.plan_token_weight * taught.sum()) / total_weight
        if config.summary_weight:
            loss = loss + config.summary_weight * summary_loss(policy, batch)
        loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def token_losses(
    policy: ReformerPolicy,
    hidden: Tensor,
    batch: Batch,
    weights: Tensor,
    *,
    label_smoothing: float = 0.0,
    distillation: Distillation | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy [N] in nats and weight [N] of every token that weighs something; the head runs on those only.

    `hidden` [B, S, 2H] are the batch's encoded windows. With `distillation`, its divergence is mixed in.
    """
    target_weights = weights[batch.kinds[:, 1:].long()]
    is_target = target_weights > 0
    logits = policy.token_logits(hidden[:, :-1][is_target]).float()
    losses = F.cross_entropy(
        logits, batch.token_ids[:, 1:][is_target], reduction="none", label_smoothing=label_smoothing
    )
    if distillation is not None:
        losses = distillation.mixed(losses, logits, batch.token_ids, is_target)
    return losses, target_weights[is_target]


def teacher_losses(policy: ReformerPolicy, hidden: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy [M] in nats of the plan against a teacher's opinion, in the windows that bring one."""
    if not len(batch.teacher_rows):
        return hidden.new_zeros(0, dtype=torch.float32)
    log_probabilities = policy.token_logits(hidden[batch.teacher_rows, batch.openings]).float().log_softmax(-1)
    num_plans = batch.plan_probabilities.shape[1]
    plans = log_probabilities[:, FIRST_PLAN_ID : FIRST_PLAN_ID + num_plans]
    return -(batch.plan_probabilities * plans).sum(-1)


def summary_loss(policy: ReformerPolicy, batch: Batch) -> Tensor:
    """Mean cross-entropy in nats of a batch's plans, known or a teacher's, by the messages' summaries alone."""
    known_rows, known_openings = (batch.kinds[:, 1:] == PLAN).nonzero(as_tuple=True)
    rows, openings = torch.cat([known_rows, batch.teacher_rows]), torch.cat([known_openings, batch.openings])
    if not len(rows):
        return torch.zeros(())
    log_probabilities = policy.summary_logits(batch.token_ids, rows, openings).float().log_softmax(-1)
    known, taught = log_probabilities[: len(known_rows)], log_probabilities[len(known_rows) :]
    plans = batch.token_ids[:, 1:][known_rows, known_openings]
    total = -known.gather(1, plans[:, None]).sum()
    if len(taught):
        num_plans = batch.plan_probabilities.shape[1]
        total = total - (batch.plan_probabilities * taught[:, FIRST_PLAN_ID : FIRST_PLAN_ID + num_plans]).sum()
    return total / len(rows)


@torch.no_grad()
def evaluate_loss(policy: ReformerPolicy, windows: WindowSet, *, batch_tokens: int) -> float:
    """Mean nats an assistant token over all windows; their perplexity is its exponential."""
    policy.eval()
    weights = torch.tensor([0.0, 0.0, 1.0, 1.0])
    total, count = 0.0, 0
    stream = BatchStream({"all": windows}, {"all": 1.0}, batch_tokens=batch_tokens, seed=0)
    for number, batch in enumerate(stream.batches()):
        losses, _ = token_losses(policy, policy.encode(batch.token_ids), batch, weights)
        total += float(losses.sum())
        count += len(losses)
        if number * batch_tokens > len(windows.token_ids):
            break
    policy.train()
    return total / max(1, count)


def _load_windows(workspace: Workspace) -> dict[str, WindowSet]:
    return {path.stem: WindowSet.load(path) for path in sorted(workspace.path("windows").glob("*.npz"))}


def _checkpoint(
    policy: ReformerPolicy, optimizers: list[torch.optim.Optimizer], run: _Run, progress_made: Mapping[str, float]
) -> None:
    state = {
        "policy": policy.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        **progress_made,
    }
    run.workspace.save_checkpoint(run.stage, state)


def _resume(policy: ReformerPolicy, optimizers: list[torch.optim.Optimizer], run: _Run) -> tuple[int, int, float]:
    """Continues from the last checkpoint; returns (step, tokens seen, seconds spent so far)."""
    state: Mapping[str, Any] | None = run.workspace.load_checkpoint(run.stage)
    if state is None:
        return 0, 0, 0.0
    policy.load_state_dict(state["policy"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return state["step"], state["tokens_seen"], state["seconds"]


def _log(log: SummaryWriter, tokens_seen: int, **scalars: float) -> None:
    for name, value in scalars.items():
        log.add_scalar(name, value, tokens_seen)
