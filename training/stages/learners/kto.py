"""KTO on the ratings themselves (Ethayarajh et al. 2024): no reward model decides, nothing is sampled to learn from.

It runs away between its first and second epoch, so its KL is measured on samples all along.
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from training.config import PolicyConfig
from training.data.prompts import RatedExample, prompts_with_room
from training.errors import DataNotFoundError
from training.rlhf.logprobs import completion_logprobs
from training.rlhf.losses import kto_class_weights, kto_loss, sequence_sum
from training.rlhf.rollout import Actors, RewardFunction
from training.stages.learners.learner import SEED_STRIDE, StepFigures, Updater
from training.stages.learners.replay import NO_REPLAY, Replay

_NUM_MEASUREMENTS = 8
_NUM_MEASURED_PROMPTS = 64


class KtoLearner:
    """Raises liked completions above disliked ones, a batch of ratings a step."""

    def __init__(
        self,
        actors: Actors,
        examples: Sequence[RatedExample],
        reward: RewardFunction,
        config: PolicyConfig,
        *,
        seed: int,
        replay: Replay = NO_REPLAY,
    ) -> None:
        """Leaves out completions with banned tokens. Raises DataNotFoundError when no other is there."""
        self._examples = [
            e for e in examples if not (e.prompt.banned_ids - e.prompt.opening_ids).intersection(e.completion_ids)
        ]
        if not self._examples:
            raise DataNotFoundError(
                what="A rated completion to learn from", path="the feedback", remedy="Collect more."
            )
        self._actors, self._reward, self._replay = actors, reward, replay
        self._config, self._seed = config, seed
        self._class_weights = kto_class_weights(torch.tensor([e.is_up for e in self._examples]))
        self._mean_weight = sum(e.weight for e in self._examples) / len(self._examples)
        self._steps_per_epoch = max(1, len(self._examples) // config.batch_size)
        self.num_steps = self._steps_per_epoch * config.num_epochs
        self.updates_per_step = 1
        self.kl_coefficient = config.kl_coefficient

    def step(self, number: int, update: Updater) -> StepFigures:
        """One batch of ratings."""
        scalars = self._measure(number) if number % max(1, self.num_steps // _NUM_MEASUREMENTS) == 0 else {}
        epoch, place = divmod(number, self._steps_per_epoch)
        order = random.Random(f"{self._seed}-{epoch}").sample(self._examples, len(self._examples))
        batch = order[place * self._config.batch_size : (place + 1) * self._config.batch_size]
        reference_point = self._reference_point(batch)
        replayed = self._replay.draw(self._actors, number, len(batch))
        loss = update(lambda: self._replay.mixed(self._loss(batch, reference_point), self._actors, replayed))
        return StepFigures(scalars.get("kl"), {**scalars, "loss": loss, "kl_reference": float(reference_point)})

    def _measure(self, number: int) -> dict[str, float]:
        room = int(self._actors.policy.config.max_position_embeddings) - self._config.max_completion_tokens
        fitting = prompts_with_room((e.prompt for e in self._examples), room)
        count = min(len(fitting), _NUM_MEASURED_PROMPTS)
        drawn = random.Random(f"{self._seed}-{number}").sample(fitting, count)
        if not drawn:
            return {}
        return self._actors.collect(drawn, self._reward, seed=self._seed * SEED_STRIDE + number).figures()

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
