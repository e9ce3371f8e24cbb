"""Message summary: token embeddings and n-gram tables learn what messages are about before the layers learn anything.

A bag of n-grams learns from few examples what the layers would only learn by heart. Once the summary tells the plan,
the layers have to add what it cannot know: the turns before, and the wording. Networks without a summary skip this.
"""

import random
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from model_store.contract.chat_template import message_start
from model_store.contract.control_tokens import FIRST_PLAN_ID, PAD_ID
from training.config import MessageSummaryConfig, TrainingConfig
from training.data.domain_pack import load_pack
from training.data.windows import PLAN, WindowSet
from training.optimization import flat_then_linear
from training.reformer.model import ReformerPolicy, new_policy, save_policy
from training.stages.base_model.corpus import ASKS_SOURCE, MIXTURES_SOURCE
from training.workspace import StageResult, Workspace

CHECKPOINT = "summarized"
_MAX_TOKENS = 64
_TABLE_LR_FACTOR = 3
_LABEL_SMOOTHING = 0.05


class Example(NamedTuple):
    """A message as token ids, from the customer's marker to the assistant's, and how likely each plan is for it."""

    token_ids: np.ndarray
    plan_probabilities: np.ndarray


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Trains fresh embeddings, tables and summary; writes the checkpoint directory `summarized`."""
    architecture = config.model.architecture()
    if not architecture.message_summary:
        return {}
    policy = new_policy(architecture, seed=config.seed, dropout=config.message_summary.dropout)
    num_plans = len(load_pack(config.corpus.domain_pack).plans)
    asks, mixtures = (
        _examples(WindowSet.load(workspace.path("windows") / f"{source}.npz"), num_plans)
        for source in (ASKS_SOURCE, MIXTURES_SOURCE)
    )
    started = time.monotonic()
    loss = _train(policy, asks, mixtures, config.message_summary, config.seed)
    save_policy(policy, workspace.path(CHECKPOINT))
    return {"num_asks": len(asks), "loss": loss, "seconds": round(time.monotonic() - started, 1)}


def _examples(windows: WindowSet, num_plans: int) -> list[Example]:
    """The last message of every window that ends with a plan, or with a teacher's opinion of it."""
    examples: list[Example] = []
    for token_ids, kinds, probabilities in map(windows.window, range(len(windows))):
        if probabilities is None and kinds[-1] == PLAN:
            probabilities = np.zeros(num_plans, np.float16)
            probabilities[token_ids[-1] - FIRST_PLAN_ID] = 1
            token_ids = token_ids[:-1]
        if probabilities is not None:
            message = token_ids[message_start(token_ids.tolist()) :]
            examples += [Example(message, probabilities)] if len(message) <= _MAX_TOKENS else []
    return examples


def _train(
    policy: ReformerPolicy,
    asks: Sequence[Example],
    mixtures: Sequence[Example],
    config: MessageSummaryConfig,
    seed: int,
) -> float:
    """Returns the mean loss of the last hundred steps."""
    assert policy.ngrams is not None and policy.summary is not None
    tables = [policy.ngrams.tables.weight, policy.reformer.embeddings.word_embeddings.weight]
    matrices = [policy.ngrams.projection.weight, policy.summary.projection.weight, policy.lm_head.decoder.weight]
    groups = [{"params": tables, "lr": _TABLE_LR_FACTOR * config.lr}, {"params": matrices, "lr": config.lr}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    base_lrs = [float(group["lr"]) for group in optimizer.param_groups]
    batches = list(_batches(asks, mixtures, config, random.Random(seed)))
    policy.train()
    torch.manual_seed(seed)
    losses: list[float] = []
    for step, batch in enumerate(tqdm(batches, desc="message summary", unit="step", file=sys.stderr)):
        for group, base_lr in zip(optimizer.param_groups, base_lrs, strict=True):
            group["lr"] = base_lr * flat_then_linear(step, len(batches), 1.0)
        loss = _loss(policy, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses[-100:]))


def _batches(
    asks: Sequence[Example], mixtures: Sequence[Example], config: MessageSummaryConfig, generator: random.Random
) -> Iterator[list[Example]]:
    """Every ask once an epoch, beside mixtures drawn at random."""
    num_mixtures = round(config.batch_size * config.mixture_share) if mixtures else 0
    num_asks = config.batch_size - num_mixtures
    for _ in range(config.num_epochs):
        order = generator.sample(range(len(asks)), len(asks))
        for start in range(0, len(order), num_asks):
            chosen = [asks[index] for index in order[start : start + num_asks]]
            yield chosen + (generator.choices(mixtures, k=num_mixtures) if num_mixtures else [])


def _loss(policy: ReformerPolicy, batch: Sequence[Example]) -> Tensor:
    """Mean cross-entropy in nats of the plans by the summary alone."""
    token_ids = torch.full((len(batch), max(len(example.token_ids) for example in batch)), PAD_ID, dtype=torch.long)
    for row, example in enumerate(batch):
        token_ids[row, : len(example.token_ids)] = torch.from_numpy(example.token_ids.astype(np.int64))
    openings = torch.tensor([len(example.token_ids) - 1 for example in batch])
    wanted = torch.from_numpy(np.stack([example.plan_probabilities for example in batch]).astype(np.float32))
    plans = slice(FIRST_PLAN_ID, FIRST_PLAN_ID + wanted.shape[1])
    logits = policy.summary_logits(token_ids, torch.arange(len(batch)), openings)[:, plans]
    return F.cross_entropy(logits, wanted, label_smoothing=_LABEL_SMOOTHING)
