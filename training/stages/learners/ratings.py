"""What learners on ratings share: which completions they may learn from, batches of them, and measurements in between.

They sample nothing to learn from, so without a measurement nobody would see how far the policy has moved.
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from training import distributed
from training.config import PolicyConfig
from training.data.prompts import RatedExample, prompts_with_room
from training.errors import DataNotFoundError
from training.rlhf.kl_control import steps_to_next_measurement
from training.rlhf.logprobs import CompletionBatch
from training.rlhf.rollout import Actors, RewardFunction
from training.stages.learners.learner import FAR, SEED_STRIDE

_FIRST, _SHORTEST, _LONGEST = 4, 8, 3
"""Parts of a run: after a quarter of it comes the first measurement, after one of 8 to one of 3 the next."""
_NUM_MEASURED_PROMPTS = 16
"""Few, since nothing but too far, which is several times the limit, is decided by them."""


class Ratings:
    """Rated completions in shuffled batches, pass after pass; batch n is the same whenever it is asked for."""

    def __init__(self, examples: Sequence[RatedExample], batch_size: int, seed: int) -> None:
        """Leaves out completions with banned tokens. Raises DataNotFoundError when no other is there."""
        self.examples = [
            e for e in examples if not (e.prompt.banned_ids - e.prompt.opening_ids).intersection(e.completion_ids)
        ]
        if not self.examples:
            raise DataNotFoundError(
                what="A rated completion to learn from", path="the feedback", remedy="Collect more."
            )
        self._batch_size, self._seed = batch_size, seed
        self._steps_per_epoch = max(1, len(self.examples) // batch_size)
        self._mean_weight = sum(e.weight for e in self.examples) / len(self.examples)

    def num_steps(self, num_epochs: int, min_steps: int) -> int:
        """Batches in that many passes, and not fewer than `min_steps`."""
        return max(min_steps, self._steps_per_epoch * num_epochs)

    def batch(self, number: int) -> list[RatedExample]:
        """Batch `number` of an endless row of passes, each in an order of its own."""
        epoch, place = divmod(number, self._steps_per_epoch)
        order = random.Random(f"{self._seed}-{epoch}").sample(self.examples, len(self.examples))
        return order[place * self._batch_size : (place + 1) * self._batch_size]

    def weights(self, batch: Sequence[RatedExample]) -> Tensor:
        """How much each rating counts [B]; 1 on average."""
        return torch.tensor([e.weight / self._mean_weight for e in batch])

    def token_part(self, batch: Sequence[RatedExample]) -> float:
        """What this process's rows are of the batch's completion tokens, by weight."""
        own, everything = (
            sum(e.weight * len(e.completion_ids) for e in rows) for rows in (distributed.own_batch(batch), batch)
        )
        return distributed.part_of_mean(own, everything)


def packed(actors: Actors, batch: Sequence[RatedExample]) -> CompletionBatch:
    """Rated completions behind their prompts."""
    return actors.pack([e.prompt for e in batch], [e.completion_ids for e in batch])


class Probe:
    """Samples from the policy now and then in a run, KL first of all: the nearer to too far, the sooner again."""

    def __init__(
        self, actors: Actors, ratings: Ratings, reward: RewardFunction, config: PolicyConfig, seed: int
    ) -> None:
        """Asks what people asked, where a whole completion has room."""
        room = int(actors.policy.config.max_position_embeddings) - config.max_completion_tokens
        self._prompts = prompts_with_room((e.prompt for e in ratings.examples), room)
        self._actors, self._reward, self._too_far, self._seed = actors, reward, FAR * config.max_kl, seed
        self._next: int | None = None

    def figures(self, number: int, num_steps: int) -> dict[str, float]:
        """Figures before step `number` of `num_steps`; none between the measurements, and none without prompts."""
        if self._next is None:
            self._next = max(1, num_steps // _FIRST)
        if number < self._next or not self._prompts:
            return {}
        count = min(len(self._prompts), max(_NUM_MEASURED_PROMPTS, distributed.num_processes()))
        drawn = random.Random(f"{self._seed}-{number}").sample(self._prompts, count)
        figures = self._actors.collect(drawn, self._reward, seed=self._seed * SEED_STRIDE + number).figures()
        shortest, longest = (max(1, num_steps // parts) for parts in (_SHORTEST, _LONGEST))
        self._next = number + steps_to_next_measurement(
            number, figures["kl"], limit=self._too_far, shortest=shortest, longest=longest
        )
        return figures

    def state(self) -> dict[str, int | None]:
        """What a checkpoint needs."""
        return {"next": self._next}

    def restore(self, state: dict[str, int | None]) -> None:
        """Goes back to a `state`."""
        self._next = state["next"]
