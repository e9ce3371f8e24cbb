"""Message summary: n-grams are chosen, and what they say about a message is learned, before the layers learn anything.

A bag of n-grams learns from few examples what the layers would only learn by heart. Once the summary tells the plan,
the layers have to add what it cannot know: the turns before, and the wording. What is learned here stays as it is from
then on. Networks without a summary skip this.
"""

import heapq
import math
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from model_store.bundle import open_bundle
from model_store.contract.chat_template import message_start, render
from model_store.contract.control_tokens import FIRST_PLAN_ID, PAD_ID
from model_store.contract.tokenizer import Tokenizer
from training.base_config import MessageSummaryConfig
from training.config import TrainingConfig
from training.data.domain_pack import DomainPack, fill_slots, intent_of, load_pack, plan_of, user_message
from training.data.typing_noise import add_typing_noise
from training.data.windows import PLAN, WindowSet
from training.optimization import flat_then_linear
from training.reformer.model import ReformerPolicy, new_policy, save_policy, take_over
from training.reformer.ngrams import MAX_LOAD, MAX_NGRAM
from training.stages.base_model.corpus import ASKS_SOURCE, MIXTURES_SOURCE
from training.workspace import StageResult, Workspace

CHECKPOINT = "summarized"
_MAX_TOKENS = 64
_BATCH = 256
_POOL = 50
"""Batches among whose messages like lengths are put together."""
_ROWS_LR_FACTOR = 3
_LABEL_SMOOTHING = 0.05
_MIN_COUNT = 3
"""An n-gram of one ask alone says nothing about others; some asks are drawn twice."""


class Example(NamedTuple):
    """A message as token ids, from the customer's marker to the assistant's, and how likely each plan is for it."""

    token_ids: np.ndarray
    plan_probabilities: np.ndarray


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Chooses n-grams, trains their rows and the summary; writes the checkpoint directory `summarized`.

    Nothing for a bundle that goes on learning with those it has. Raises UnfitCheckpointError when there is nothing to
    start from where the configuration says so.
    """
    architecture = config.model.architecture()
    if not architecture.message_summary:
        return {}
    if config.goes_on_from is not None:
        return {"started_from": open_bundle(config.goes_on_from).digest}
    policy = new_policy(architecture, seed=config.seed, dropout=config.message_summary.dropout)
    pack = load_pack(config.corpus.domain_pack)
    if config.model.start_from is not None:
        take_over(policy, config.model.start_from)
    tokenizer = Tokenizer.load(workspace.path("tokenizer.json"))
    num_plans = len(pack.plans)
    drawn, mixtures = (
        _examples(WindowSet.load(workspace.path("windows") / f"{source}.npz"), num_plans)
        for source in (ASKS_SOURCE, MIXTURES_SOURCE)
    )
    started = time.monotonic()
    assert policy.ngrams is not None
    known = [
        *authored_asks(pack, tokenizer, random.Random(config.seed), config.message_summary.authored_share),
        *drawn,
    ]
    chosen = telling_ngrams(
        [(ask.token_ids, int(ask.plan_probabilities.argmax())) for ask in known], int(MAX_LOAD * policy.ngrams.num_rows)
    )
    policy.ngrams.know(chosen)
    messages = Messages(pack, tokenizer, drawn, mixtures)
    loss = _train(policy, messages, config.message_summary, config.seed)
    save_policy(policy, workspace.path(CHECKPOINT))
    seconds = round(time.monotonic() - started, 1)
    right = right_plans(policy, pack, tokenizer)
    sizes: dict[str, object] = {"num_asks": len(known), "num_mixtures": len(mixtures), "num_ngrams": len(chosen)}
    if config.model.start_from is not None:
        sizes |= {"started_from": open_bundle(config.model.start_from).digest}
    return {**sizes, "loss": loss, "right_on_development_asks": right, "seconds": seconds}


def right_plans(policy: ReformerPolicy, pack: DomainPack, tokenizer: Tokenizer) -> dict[str, float]:
    """Of each language's development asks, the share whose intent the summary alone finds most likely."""
    policy.eval()
    is_right: dict[str, list[bool]] = defaultdict(list)
    generator = random.Random(0)
    for intent in pack.intents:
        asks = [fill_slots(ask, pack.slots[intent.language], generator) for ask in intent.development_asks]
        for start in range(0, len(asks), _BATCH):
            rendered = [_message(ask, tokenizer) for ask in asks[start : start + _BATCH]]
            with torch.no_grad():
                found = _plan_logits(policy, rendered, len(pack.plans)).argmax(-1).tolist()
            is_right[intent.language] += [intent_of(pack.plans[plan]) == intent.name for plan in found]
    return {language: float(np.mean(rights)) for language, rights in is_right.items()}


class Messages(NamedTuple):
    """What the summary is learned from."""

    pack: DomainPack
    tokenizer: Tokenizer
    drawn: Sequence[Example]
    """As people talk: after other concerns, in the middle of flows, about articles, from public data."""
    mixtures: Sequence[Example]
    """With a teacher's opinion."""


def authored_asks(
    pack: DomainPack, tokenizer: Tokenizer, generator: random.Random, share: float = 1.0
) -> list[Example]:
    """Every ask of the pack once, or a random share of them, typed as one person or another would."""
    examples: list[Example] = []
    for intent in tqdm(pack.intents, desc="authored asks", unit="intent", file=sys.stderr):
        probabilities = np.zeros(len(pack.plans), np.float16)
        probabilities[pack.plans.index(plan_of(intent.name))] = 1
        for ask in intent.asks if share == 1 else [ask for ask in intent.asks if generator.random() < share]:
            filled = fill_slots(ask, pack.slots[intent.language], generator)
            token_ids = _message(add_typing_noise(filled, intent.language, generator), tokenizer)
            examples += [Example(token_ids, probabilities)] if len(token_ids) <= _MAX_TOKENS else []
    return examples


def _message(text: str, tokenizer: Tokenizer) -> np.ndarray:
    """From the customer's marker to the assistant's."""
    token_ids = render([user_message(text)], tokenizer, for_completion=True).token_ids
    return np.array(token_ids[message_start(token_ids) :])


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


def telling_ngrams(messages: Sequence[tuple[np.ndarray, int]], most: int) -> list[tuple[int, ...]]:
    """The n-grams of 1 to 3 tokens that say most about a message's plan, the most telling first.

    Messages are token ids and plan. Telling is the log-likelihood ratio of the plans with the n-gram to those of all
    messages (Dunning 1993), in nats, the messages that hold it summed up.
    """
    plans_with: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    plans_at_all: Counter[int] = Counter()
    for token_ids, plan in tqdm(messages, desc="counting n-grams", unit="message", file=sys.stderr):
        plans_at_all[plan] += 1
        for ngram in _ngrams_of(token_ids.tolist()):
            plans_with[ngram][plan] += 1
    share = {plan: count / len(messages) for plan, count in plans_at_all.items()}

    def ratio(plans: Counter[int]) -> float:
        total = plans.total()
        return sum(count * math.log(count / total / share[plan]) for plan, count in plans.items())

    ratios = {ngram: ratio(plans) for ngram, plans in plans_with.items() if plans.total() >= _MIN_COUNT}
    return heapq.nlargest(most, ratios, key=lambda ngram: (ratios[ngram], ngram))


def _ngrams_of(token_ids: Sequence[int]) -> set[tuple[int, ...]]:
    sizes = range(1, MAX_NGRAM + 1)
    return {tuple(token_ids[end - size : end]) for size in sizes for end in range(size, len(token_ids) + 1)}


def _train(
    policy: ReformerPolicy,
    messages: Messages,
    config: MessageSummaryConfig,
    seed: int,
) -> float:
    """Returns the mean loss of the last hundred steps."""
    assert policy.ngrams is not None and policy.summary is not None
    torch.manual_seed(seed)
    rows = policy.ngrams.start_learning()
    policy.summary.projection.requires_grad_(True)
    matrices = [policy.ngrams.projection.weight, policy.summary.projection.weight, policy.lm_head.decoder.weight]
    # Sparse: momentum would push a row on for many steps after the one message in a thousand that holds its n-gram.
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.SparseAdam([rows.weight], lr=_ROWS_LR_FACTOR * config.lr, betas=(0.9, 0.99)),
        torch.optim.AdamW(matrices, lr=config.lr, betas=(0.9, 0.99), weight_decay=0.0),
    ]
    base_lrs = [float(optimizer.param_groups[0]["lr"]) for optimizer in optimizers]
    batches = list(_batches(messages, config, random.Random(seed)))
    policy.train()
    losses: list[float] = []
    for step, batch in enumerate(tqdm(batches, desc="message summary", unit="step", file=sys.stderr)):
        loss = _loss(policy, batch)
        for optimizer, base_lr in zip(optimizers, base_lrs, strict=True):
            optimizer.param_groups[0]["lr"] = base_lr * flat_then_linear(step, len(batches), 1.0)
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
    policy.ngrams.stop_learning()
    policy.summary.projection.requires_grad_(False)
    return float(np.mean(losses[-100:]))


def _batches(messages: Messages, config: MessageSummaryConfig, generator: random.Random) -> Iterator[list[Example]]:
    """Every authored ask once an epoch, typed anew, beside others drawn at random; like lengths share a batch."""
    for _ in range(config.num_epochs):
        asks = authored_asks(messages.pack, messages.tokenizer, generator, config.authored_share)
        asks += generator.sample(messages.drawn, min(len(messages.drawn), round(len(asks) * config.drawn_share)))
        examples = list(asks)
        if messages.mixtures:
            num_mixtures = round(len(asks) * config.mixture_share / (1 - config.mixture_share))
            examples += generator.choices(messages.mixtures, k=num_mixtures)
        generator.shuffle(examples)
        for start in range(0, len(examples), _POOL * config.batch_size):
            pool = sorted(examples[start : start + _POOL * config.batch_size], key=lambda each: len(each.token_ids))
            batches = [pool[first : first + config.batch_size] for first in range(0, len(pool), config.batch_size)]
            generator.shuffle(batches)
            yield from batches


def _loss(policy: ReformerPolicy, batch: Sequence[Example]) -> Tensor:
    """Mean cross-entropy in nats of the plans by the summary alone."""
    wanted = torch.from_numpy(np.stack([example.plan_probabilities for example in batch]).astype(np.float32))
    logits = _plan_logits(policy, [example.token_ids for example in batch], wanted.shape[1])
    return F.cross_entropy(logits, wanted, label_smoothing=_LABEL_SMOOTHING)


def _plan_logits(policy: ReformerPolicy, messages: Sequence[Sequence[int] | np.ndarray], num_plans: int) -> Tensor:
    """[B, num plans] by the summary alone, of messages that end with the assistant's marker."""
    token_ids = torch.full((len(messages), max(map(len, messages))), PAD_ID, dtype=torch.long)
    for row, message in enumerate(messages):
        token_ids[row, : len(message)] = torch.from_numpy(np.asarray(message, np.int64))
    openings = torch.tensor([len(message) - 1 for message in messages])
    states = policy.summary_states(token_ids, torch.arange(len(messages)), openings)
    plans = policy.lm_head.decoder.weight[FIRST_PLAN_ID : FIRST_PLAN_ID + num_plans]
    return F.linear(states, plans)
