"""KTO on the ratings themselves (Ethayarajh et al. 2024): no reward model decides, nothing is sampled to learn from.

It runs away between its first and second epoch, so its KL is measured on samples all along.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from training import distributed
from training.config import PolicyConfig
from training.data.prompts import RatedExample
from training.rlhf.logprobs import completion_logprobs
from training.rlhf.losses import kto_class_weights, kto_loss, sequence_sum
from training.rlhf.rollout import Actors, RewardFunction
from training.stages.learners.learner import StepFigures, Updater
from training.stages.learners.ratings import Probe, Ratings, packed
from training.stages.learners.replay import NO_REPLAY, Replay

_NUM_MISMATCHED = 8
"""Pairs that a step's reference point is estimated from: it is one number, and zero most of the time."""


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
        self._ratings = Ratings(examples, config.batch_size, seed)
        self._probe = Probe(actors, self._ratings, reward, config, seed)
        self._actors, self._replay, self._config = actors, replay, config
        self._class_weights = kto_class_weights(torch.tensor([e.is_up for e in self._ratings.examples]))
        self._reference_logprobs = self._of_reference()
        self.num_steps = self._ratings.num_steps(config.num_epochs, config.min_steps)
        self.num_updates = self.num_steps
        self.kl_coefficient = config.kto_beta

    def step(self, number: int, update: Updater) -> StepFigures:
        """One batch of ratings. Raises TooFewRowsError when it has fewer than there are processes."""
        scalars = self._probe.figures(number, self.num_steps)
        batch = self._ratings.batch(number)
        reference_point = self._reference_point(batch)
        replayed = self._replay.draw(self._actors, number, len(batch))
        loss = update(lambda: self._replay.mixed(self._loss(batch, reference_point), self._actors, replayed))
        return StepFigures(scalars.get("kl"), {**scalars, "loss": loss, "kl_reference": float(reference_point)})

    def state(self) -> dict[str, Any]:
        """When KL is measured next."""
        return self._probe.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a `state`."""
        self._probe.restore(state)

    def _of_reference(self) -> dict[int, float]:
        """Log-probabilities of whole completions under the reference, by `id` of the example: it never moves.

        Computed at once and in batches of their own, so that a run that goes on after a crash has the same bits.
        """
        examples = self._ratings.examples
        own, size = distributed.own_batch(examples), self._config.batch_size
        found: list[float] = []
        for start in range(0, len(own), size):
            completions = packed(self._actors, own[start : start + size])
            found += sequence_sum(self._actors.reference_logprobs(completions), completions.mask).tolist()
        everyones = distributed.gather(found, len(examples))
        return {id(example): value for example, value in zip(examples, everyones, strict=True)}

    @torch.no_grad()
    def _reference_point(self, batch: Sequence[RatedExample]) -> Tensor:
        """z0: mean log-ratio of completions under other prompts, at least 0 (Ethayarajh et al. 2024, section 4.1)."""
        limit = int(self._actors.policy.config.max_position_embeddings)
        pairs = [*zip(batch, [*batch[1:], batch[0]], strict=True)][: max(_NUM_MISMATCHED, distributed.num_processes())]
        mismatched = [(e.prompt, other.completion_ids[: limit - len(e.prompt.token_ids)]) for e, other in pairs]
        own = distributed.own_batch(mismatched)
        swapped = self._actors.pack([prompt for prompt, _ in own], [ids for _, ids in own])
        difference = self._actors.logprobs(swapped) - self._actors.reference_logprobs(swapped)
        log_ratios = distributed.gather(sequence_sum(difference, swapped.mask).tolist(), len(mismatched))
        return torch.tensor(log_ratios).mean().clamp(min=0)

    def _loss(self, batch: Sequence[RatedExample], reference_point: Tensor) -> Tensor:
        own = distributed.own_batch(batch)
        completions = packed(self._actors, own)
        logprobs = completion_logprobs(self._actors.policy, completions, self._config.temperature)
        reference = torch.tensor([self._reference_logprobs[id(example)] for example in own])
        log_ratios = sequence_sum(logprobs, completions.mask) - reference
        is_up = torch.tensor([e.is_up for e in own])
        weights = self._ratings.weights(own) * torch.where(is_up, *self._class_weights)
        loss = kto_loss(log_ratios, is_up, weights, kl=reference_point, beta=self.kl_coefficient)
        return distributed.part_of_mean(len(own), len(batch)) * loss
