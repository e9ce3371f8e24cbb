"""Lengthen: more positions and hashing for a bundle's network, and a short training on long texts with hashing on.

Next-token training as in `base_model.language_modeling`, with the plans of all replies that have one. The positions
that repeat known ones learn with them, as one row, so that a text of 4,096 tokens also teaches places that it does not
reach. Left out: the reversible layers of the paper (Kitaev et al. 2020, section 3): a text's activations fit into
memory at this size.
"""

import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from model_store.bundle import open_bundle
from model_store.contract.control_tokens import FIRST_PLAN_ID
from training.base_config import LengtheningConfig
from training.config import TrainingConfig
from training.data.windows import Batch
from training.errors import UnfitCheckpointError
from training.optimization import StepGuard, build_muon, flat_then_linear, warm_up
from training.precision import fast_matrices
from training.reformer.hashing.lengthening import known_positions, lengthen, repeat_positions
from training.reformer.model import ReformerPolicy, load_policy, save_policy
from training.stages.base_model.language_modeling import teacher_losses, token_losses
from training.stages.lengthening.texts import TRAINING_NAME, LongTexts
from training.workspace import StageResult, Workspace

LENGTHENED = "lengthened"
"""Checkpoint of the network that reads long texts."""
_STAGE = "lengthen"
_WARM_UP_STEPS = 20


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Writes the checkpoint directory `lengthened`; goes on from the last checkpoint of its own.

    Raises UnfitCheckpointError for a bundle that cannot be lengthened, DivergedError.
    """
    assert config.lengthening is not None and config.model.start_from is not None
    lengthening = config.lengthening
    texts = {
        length: LongTexts.load(workspace.path(f"{TRAINING_NAME}_{length}.npz")) for length in lengthening.text_lengths
    }
    policy = _longer(config)
    optimizers = build_muon(policy, muon_lr=lengthening.muon_lr, adamw_lr=lengthening.adamw_lr)
    guard = StepGuard(policy, optimizers, stage=_STAGE)  # before a resume, which brings scheduled learning rates
    done = _resume(policy, optimizers, workspace)
    started = time.monotonic() - done.seconds
    policy.train()
    policy.hash_beyond(lengthening.num_known_positions)
    batches = _batches(texts, lengthening)
    with (
        SummaryWriter(str(workspace.path("tensorboard") / _STAGE)) as log,
        tqdm(total=lengthening.num_tokens, initial=done.tokens_seen, desc=_STAGE, unit="tok", file=sys.stderr) as bar,
    ):
        for batch in batches[done.step :]:
            policy.read_exactly(batch.is_exact)
            loss = batch_gradients(policy, batch(), lengthening)
            factor = flat_then_linear(done.step, len(batches), lengthening.decay_share)
            guard.step(loss, number=done.step, lr_factor=factor * warm_up(done.step, _WARM_UP_STEPS))
            done = _Done(done.step + 1, done.tokens_seen + batch.num_tokens, time.monotonic() - started)
            bar.update(batch.num_tokens)
            bar.set_postfix(loss=f"{loss.item():.3f}")
            log.add_scalar("loss", loss.item(), done.tokens_seen)
            if done.step % lengthening.checkpoint_every == 0:
                _checkpoint(policy, optimizers, workspace, done)
    policy.read_exactly(False)
    repeat_positions(policy, lengthening.num_known_positions)
    save_policy(policy, workspace.path(LENGTHENED))
    workspace.drop_checkpoint(_STAGE)
    started_from = open_bundle(config.model.start_from).manifest.digest
    seconds = round(done.seconds, 1)
    return {"num_steps": done.step, "num_tokens": done.tokens_seen, "seconds": seconds, "started_from": started_from}


@dataclass(frozen=True, slots=True)
class _Done:
    step: int = 0
    tokens_seen: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Rows:
    """Some texts of one length; called, they are a batch."""

    texts: LongTexts
    rows: np.ndarray
    is_exact: bool
    """Whether they are read without hashing. Prompts are read with it, but replies look back exactly: both are learned.
    """

    @property
    def num_tokens(self) -> int:
        return int(self.texts.token_ids[self.rows].size)

    def __call__(self) -> Batch:
        return batch_of(self.texts, self.rows)


def batch_of(texts: LongTexts, rows: np.ndarray) -> Batch:
    """Some texts as a batch; known plans are opinions that are sure."""
    where = [np.flatnonzero(texts.rows == row) for row in rows]
    openings = np.concatenate([texts.openings[own] for own in where])
    plans = np.concatenate([texts.plans[own] for own in where]) - FIRST_PLAN_ID
    batch_rows = np.repeat(np.arange(len(rows)), [len(own) for own in where])
    sure = torch.zeros(len(plans), int(texts.plans.max(initial=FIRST_PLAN_ID)) - FIRST_PLAN_ID + 1)
    sure[torch.arange(len(plans)), torch.from_numpy(plans)] = 1.0
    return Batch(
        torch.from_numpy(texts.token_ids[rows].astype(np.int64)),
        torch.from_numpy(texts.kinds[rows]),
        sure,
        torch.from_numpy(batch_rows),
        torch.from_numpy(openings),
    )


def batch_gradients(policy: ReformerPolicy, batch: Batch, config: LengtheningConfig) -> Tensor:
    """Loss of a batch, with gradients; places that repeat known ones are read as those."""
    weights = torch.tensor([0.0, config.user_token_weight, 1.0, config.plan_token_weight])  # by kind
    chunk = int(policy.config.local_attn_chunk_length)
    positions = known_positions(batch.token_ids.shape[1], config.num_known_positions, chunk)
    with fast_matrices():
        hidden = policy.encode(batch.token_ids, positions.expand(batch.token_ids.shape))
        losses, token_weights = token_losses(policy, hidden, batch, weights)
        taught = teacher_losses(policy, hidden, batch)
        total_weight = token_weights.sum() + config.plan_token_weight * len(taught)
        loss = ((losses * token_weights).sum() + config.plan_token_weight * taught.sum()) / total_weight
        loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def _longer(config: TrainingConfig) -> ReformerPolicy:
    assert config.lengthening is not None and config.model.start_from is not None
    wanted = config.lengthening
    try:
        return lengthen(
            load_policy(config.model.start_from),
            max_positions=wanted.max_positions,
            num_known=wanted.num_known_positions,
            hashing=wanted.hashing,
        )
    except ValueError as error:
        raise UnfitCheckpointError(path=config.model.start_from, problem=error) from error


def _batches(texts: dict[int, LongTexts], config: LengtheningConfig) -> list[_Rows]:
    """All texts, each once, the lengths in turns; always the same ones in the same order."""
    by_length = []
    for length, own in texts.items():
        size = max(1, config.batch_tokens // length)
        rows = [np.arange(len(own))[start : start + size] for start in range(0, len(own), size)]
        by_length.append([_Rows(own, part, number % 2 == 1) for number, part in enumerate(rows)])
    places = [(place / len(own), rows) for own in by_length for place, rows in enumerate(own)]
    return [rows for _, rows in sorted(places, key=lambda entry: entry[0])]


def _checkpoint(
    policy: ReformerPolicy, optimizers: list[torch.optim.Optimizer], workspace: Workspace, done: _Done
) -> None:
    state = {
        "policy": policy.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "step": done.step,
        "tokens_seen": done.tokens_seen,
        "seconds": done.seconds,
    }
    workspace.save_checkpoint(_STAGE, state)


def _resume(policy: ReformerPolicy, optimizers: list[torch.optim.Optimizer], workspace: Workspace) -> _Done:
    state: dict[str, Any] | None = workspace.load_checkpoint(_STAGE)
    if state is None:
        return _Done()
    policy.load_state_dict(state["policy"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return _Done(state["step"], state["tokens_seen"], state["seconds"])
