"""Policy: moves the policy towards the reward, by RLOO or KTO, no further from the reference than the KL limit.

Left out against the papers: PPO's value network and GAE (Ahmadian et al. 2024: a leave-one-out baseline is enough); a
supervised mix (made no measurable difference here). KTO runs away between its first and second epoch, so its KL is
measured on samples all along. Reads `base`, `reward_model`, `examples.jsonl`; writes `policy`.
"""

import random
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from model_store.contract.tokenizer import Tokenizer
from training.config import PolicyConfig, RewardConfig, TrainingConfig
from training.data.generator import training_prompts
from training.data.prompts import Prompt, RatedExample, build_prompt, read_examples, unique_prompts
from training.errors import DataNotFoundError
from training.optimization import StepGuard, build_adamw, flat_then_linear
from training.reformer.decoder import Sample
from training.reformer.heads import RewardModel, score_batches
from training.reformer.model import ReformerPolicy, load_policy, save_policy
from training.rlhf.advantages import rloo, whiten
from training.rlhf.logprobs import completion_logprobs
from training.rlhf.losses import clipped_policy_loss, kto_class_weights, kto_loss, sequence_sum
from training.rlhf.rewards import RatedCompletion, RewardTerms, RewardWeights, reward_terms
from training.rlhf.rollout import Actors, RewardFunction, Rollout, RolloutPrompt, SamplingSettings
from training.workspace import StageResult, Workspace

STAGE = "policy"
_DECAY_SHARE = 0.9
_NUM_RUNGS = 4
_NUM_KTO_MEASUREMENTS = 8
_NUM_MEASURED_PROMPTS = 64
_MIN_AUTHORED_PROMPTS = 64
_SEED_STRIDE = 1_000_003
_MEASURE_SEED = 7

StopReason = Literal["finished", "max_kl", "max_minutes"]


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Optimises the base policy and saves the result; goes on from its last checkpoint after a crash.

    Raises:
        DataNotFoundError: there is nothing to learn from.
        InvalidFeedbackDataError: a row of the curated feedback is malformed.
        DivergedError: the loss stopped being a number, again and again.
    """
    base, settings = workspace.path("base"), config.policy
    tokenizer = Tokenizer.load(base / "tokenizer.json")
    sampling = SamplingSettings(settings.temperature, settings.max_completion_tokens, tokenizer.opening_ids)
    actors = Actors(load_policy(base), load_policy(base), sampling)
    reward = CompositeReward(RewardModel.load(workspace.path("reward_model")), tokenizer, config)
    examples = read_examples(
        workspace.path("examples.jsonl"),
        tokenizer,
        max_positions=int(actors.policy.config.max_position_embeddings),
        correction_weight=config.feedback.correction_weight,
    )
    prompts = _prompt_pool(examples, tokenizer, config, actors.policy)
    held_out = _fitting((e.prompt for e in examples if e.split == "validation"), settings, actors.policy)
    measured = (held_out or prompts)[:_NUM_MEASURED_PROMPTS]
    learner: Learner
    if settings.algorithm == "rloo":
        learner = RlooLearner(actors, prompts, reward, settings, config.seed)
    else:
        train = [example for example in examples if example.split == "train"]
        learner = KtoLearner(actors, train, reward, settings, config.seed)
    before = actors.collect(measured, reward, seed=_MEASURE_SEED).figures()
    climb = climb_ladder(learner, actors.policy, settings, workspace)
    after = actors.collect(measured, reward, seed=_MEASURE_SEED).figures()
    stopped_by = climb.stopped_by
    if after["kl"] > settings.max_kl and climb.verified:
        actors.policy.load_state_dict(climb.verified)
        after, stopped_by = actors.collect(measured, reward, seed=_MEASURE_SEED).figures(), "max_kl"
    save_policy(actors.policy, workspace.path(STAGE))
    shutil.copyfile(base / "tokenizer.json", workspace.path(STAGE) / "tokenizer.json")
    workspace.drop_checkpoint(STAGE)
    return {
        "algorithm": settings.algorithm,
        "num_steps": climb.num_steps,
        "num_prompts": len(prompts),
        "stopped_by": stopped_by,
        "seconds": round(climb.seconds, 1),
        "kl": after["kl"],
        "before": before,
        "after": after,
    }


class CompositeReward:
    """The reward function of a run: the reward model's score with the configured terms around it."""

    def __init__(self, model: RewardModel, tokenizer: Tokenizer, config: TrainingConfig) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._weights = _reward_weights(config.reward)
        self._max_tokens = config.policy.max_completion_tokens

    def __call__(self, prompts: Sequence[RolloutPrompt], samples: Sequence[Sample]) -> list[RewardTerms]:
        """Terms of each completion."""
        sequences = [[*p.token_ids, *sample.token_ids] for p, sample in zip(prompts, samples, strict=True)]
        scores = score_batches(self._model, sequences).tolist()
        return [
            reward_terms(
                RatedCompletion(
                    self._tokenizer.decode(sample.token_ids), sample.token_ids, sample.ended, score, prompt.references
                ),
                self._weights,
                max_tokens=self._max_tokens,
            )
            for prompt, sample, score in zip(prompts, samples, scores, strict=True)
        ]


class Updater:
    """Optimiser steps on the policy: bf16 with backward inside, warm-up and decay, clipped, guarded."""

    def __init__(self, policy: ReformerPolicy, lr: float, num_updates: int) -> None:
        self._optimizer = build_adamw(policy.parameters(), lr)
        self._guard = StepGuard(policy, [self._optimizer], stage=STAGE)
        self._num_updates = num_updates
        self._number = 0

    def __call__(self, compute_loss: Callable[[], Tensor]) -> float:
        """One step; gives the loss. Raises DivergedError."""
        with torch.autocast("cpu", torch.bfloat16):
            loss = compute_loss()
            loss.backward()  # type: ignore[no-untyped-call]
        lr_factor = flat_then_linear(self._number, self._num_updates, _DECAY_SHARE)
        self._guard.step(loss, number=self._number, lr_factor=lr_factor)
        self._number += 1
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {"optimizer": self._optimizer.state_dict(), "number": self._number}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a `state`."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._number = state["number"]


@dataclass(frozen=True)
class StepFigures:
    """What a step saw, before it changed anything; `kl` is None where it was not measured."""

    kl: float | None
    scalars: dict[str, float]


class Learner(Protocol):
    """An algorithm, one step at a time. A step depends on its number, the seed and the weights, on nothing else."""

    num_steps: int
    updates_per_step: int

    def step(self, number: int, update: Updater) -> StepFigures:
        """Learns once."""


class RlooLearner:
    """REINFORCE with a leave-one-out baseline, the KL penalty inside the reward, and PPO's clip."""

    def __init__(
        self, actors: Actors, prompts: Sequence[RolloutPrompt], reward: RewardFunction, config: PolicyConfig, seed: int
    ) -> None:
        """Raises DataNotFoundError without prompts."""
        if not prompts:
            raise DataNotFoundError(
                what="A prompt to learn from", path="the feedback and the pack", remedy="Collect more."
            )
        self._actors, self._prompts, self._reward = actors, prompts, reward
        self._config, self._seed = config, seed
        self.num_steps = config.num_steps
        self.updates_per_step = config.updates_per_step

    def step(self, number: int, update: Updater) -> StepFigures:
        """Samples, rates, and updates `updates_per_step` times on the same rollout."""
        config = self._config
        drawn = random.Random(f"{self._seed}-{number}").choices(self._prompts, k=config.prompts_per_step)
        prompts = [prompt for prompt in drawn for _ in range(config.samples_per_prompt)]
        rollout = self._actors.collect(prompts, self._reward, seed=self._seed * _SEED_STRIDE + number)
        penalised = rollout.rewards - config.kl_coefficient * rollout.kl
        advantages = whiten(rloo(penalised.view(-1, config.samples_per_prompt))).flatten()
        losses = [update(lambda: self._loss(rollout, advantages)) for _ in range(config.updates_per_step)]
        figures = rollout.figures()
        return StepFigures(figures["kl"], {**figures, "loss": losses[-1]})

    def _loss(self, rollout: Rollout, advantages: Tensor) -> Tensor:
        logprobs = completion_logprobs(self._actors.policy, rollout.batch, self._config.temperature).values
        return clipped_policy_loss(logprobs, rollout.logprobs, advantages, rollout.batch.mask, self._config.clip_range)


class KtoLearner:
    """KTO on the ratings themselves; its KL is measured on samples, since the loss does not hold it."""

    def __init__(
        self, actors: Actors, examples: Sequence[RatedExample], reward: RewardFunction, config: PolicyConfig, seed: int
    ) -> None:
        """Leaves out completions with banned tokens. Raises DataNotFoundError when no other is there."""
        openings = actors.sampling.opening_ids
        self._examples = [e for e in examples if not (e.prompt.banned_ids - openings).intersection(e.completion_ids)]
        if not self._examples:
            raise DataNotFoundError(
                what="A rated completion to learn from", path="the feedback", remedy="Collect more."
            )
        self._actors, self._reward, self._config, self._seed = actors, reward, config, seed
        self._class_weights = kto_class_weights(torch.tensor([e.is_up for e in self._examples]))
        self._mean_weight = sum(e.weight for e in self._examples) / len(self._examples)
        self._steps_per_epoch = max(1, len(self._examples) // config.batch_size)
        self.num_steps = self._steps_per_epoch * config.num_epochs
        self.updates_per_step = 1

    def step(self, number: int, update: Updater) -> StepFigures:
        """One batch of ratings."""
        scalars = self._measure(number) if number % max(1, self.num_steps // _NUM_KTO_MEASUREMENTS) == 0 else {}
        epoch, place = divmod(number, self._steps_per_epoch)
        order = random.Random(f"{self._seed}-{epoch}").sample(self._examples, len(self._examples))
        batch = order[place * self._config.batch_size : (place + 1) * self._config.batch_size]
        reference_point = self._reference_point(batch)
        loss = update(lambda: self._loss(batch, reference_point))
        return StepFigures(scalars.get("kl"), {**scalars, "loss": loss, "kl_reference": float(reference_point)})

    def _measure(self, number: int) -> dict[str, float]:
        fitting = _fitting((e.prompt for e in self._examples), self._config, self._actors.policy)
        count = min(len(fitting), _NUM_MEASURED_PROMPTS)
        drawn = random.Random(f"{self._seed}-{number}").sample(fitting, count)
        if not drawn:
            return {}
        return self._actors.collect(drawn, self._reward, seed=self._seed * _SEED_STRIDE + number).figures()

    @torch.no_grad()
    def _reference_point(self, batch: Sequence[RatedExample]) -> Tensor:
        """z0: mean log-ratio of completions under other prompts, at least 0 (Ethayarajh et al. 2024, section 4.1)."""
        limit = int(self._actors.policy.config.max_position_embeddings)
        pairs = zip(batch, [*batch[1:], batch[0]], strict=True)
        mismatched = [(e.prompt, other.completion_ids[: limit - len(e.prompt.token_ids)]) for e, other in pairs]
        packed = self._actors.pack([prompt for prompt, _ in mismatched], [ids for _, ids in mismatched])
        difference = self._actors.logprobs(packed).values - self._actors.reference_logprobs(packed)
        return sequence_sum(difference, packed.mask).mean().clamp(min=0)

    def _loss(self, batch: Sequence[RatedExample], reference_point: Tensor) -> Tensor:
        packed = self._actors.pack([e.prompt for e in batch], [e.completion_ids for e in batch])
        logprobs = completion_logprobs(self._actors.policy, packed, self._config.temperature).values
        log_ratios = sequence_sum(logprobs - self._actors.reference_logprobs(packed), packed.mask)
        is_up = torch.tensor([e.is_up for e in batch])
        weights = torch.tensor([e.weight / self._mean_weight for e in batch]) * torch.where(is_up, *self._class_weights)
        return kto_loss(log_ratios, is_up, weights, kl=reference_point, beta=self._config.kl_coefficient)


@dataclass(frozen=True)
class Climb:
    """How the ladder was climbed; `verified` holds the last weights whose KL was measured and below the limit."""

    num_steps: int
    stopped_by: StopReason
    seconds: float
    verified: dict[str, Tensor]


def climb_ladder(learner: Learner, policy: ReformerPolicy, config: PolicyConfig, workspace: Workspace) -> Climb:
    """Takes the learner's steps, with a checkpoint at every quarter, until one of the limits is reached.

    Above the KL limit the policy goes back to the last weights that were measured below it. Resumes by itself.
    """
    update = Updater(policy, config.lr, learner.num_steps * learner.updates_per_step)
    start, seconds_before, verified = _restore(policy, update, workspace)
    started = time.monotonic()
    stopped_by: StopReason = "finished"
    number = start
    rung = max(1, learner.num_steps // _NUM_RUNGS)
    steps = tqdm(range(start, learner.num_steps), STAGE, initial=start, total=learner.num_steps, file=sys.stderr)
    with SummaryWriter(str(workspace.path("tensorboard") / STAGE), purge_step=start) as writer, steps:
        for number in steps:
            seconds = seconds_before + time.monotonic() - started
            if seconds > config.max_minutes * 60:
                stopped_by = "max_minutes"
                break
            weights = _copy_weights(policy)
            if number % rung == 0 and number > start:
                state = {"step": number, "seconds": seconds, "policy": weights, "verified": verified, **update.state()}
                workspace.save_checkpoint(STAGE, state)
            figures = learner.step(number, update)
            for name, value in figures.scalars.items():
                writer.add_scalar(name, value, number)
            if figures.kl is None:
                continue
            steps.set_postfix(kl=f"{figures.kl:.2f}", reward=f"{figures.scalars.get('reward', 0.0):.3f}")
            if figures.kl > config.max_kl:
                policy.load_state_dict(verified or weights)
                stopped_by = "max_kl"
                break
            verified = weights
        else:
            number = learner.num_steps
    return Climb(number, stopped_by, seconds_before + time.monotonic() - started, verified)


def _restore(policy: ReformerPolicy, update: Updater, workspace: Workspace) -> tuple[int, float, dict[str, Tensor]]:
    """Step to go on from, seconds spent before it, and verified weights; the beginning without a checkpoint."""
    checkpoint = workspace.load_checkpoint(STAGE)
    if checkpoint is None:
        return 0, 0.0, {}
    policy.load_state_dict(checkpoint["policy"])
    update.restore(checkpoint)
    return checkpoint["step"], checkpoint["seconds"], checkpoint["verified"]


def _copy_weights(policy: ReformerPolicy) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in policy.state_dict().items()}


def _prompt_pool(
    examples: Sequence[RatedExample], tokenizer: Tokenizer, config: TrainingConfig, policy: ReformerPolicy
) -> list[Prompt]:
    """Prompts that people asked (train split) and as many authored ones."""
    asked = unique_prompts(example.prompt for example in examples if example.split == "train")
    count = max(len(asked), _MIN_AUTHORED_PROMPTS)
    authored = training_prompts(config.corpus.domain_pack, count, config.seed)
    pool = [*asked, *(build_prompt(messages, tokenizer) for messages in authored)]
    return _fitting(pool, config.policy, policy)


def _fitting(prompts: Iterable[Prompt], config: PolicyConfig, policy: ReformerPolicy) -> list[Prompt]:
    """Prompts without duplicates that leave room for a whole completion."""
    room = int(policy.config.max_position_embeddings) - config.max_completion_tokens
    return [prompt for prompt in unique_prompts(prompts) if len(prompt.token_ids) <= room]


def _reward_weights(config: RewardConfig) -> RewardWeights:
    return RewardWeights(
        overlap=config.overlap_weight,
        unsafe=config.unsafe_penalty,
        empty=config.empty_penalty,
        overlong=config.overlong_penalty,
        repetition=config.repetition_penalty,
        improper_ending=config.improper_ending_penalty,
    )
