"""Filtered supervised tuning: imitates the replies that people liked and that score best (the cheap baseline).

Thumbs say which replies; the reward drops the worst of them, which at 10 % wrong thumbs are mostly wrong ones. Left out
against RAFT (Dong et al. 2023) and best-of-n tuning: nothing is sampled, so no reply is better than one that was given.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from model_store.contract.control_tokens import EOS_ID
from training import distributed
from training.config import PolicyConfig
from training.data.prompts import RatedExample
from training.reformer.decoder import Sample
from training.rlhf.logprobs import completion_logprobs
from training.rlhf.losses import supervised_loss
from training.rlhf.rollout import Actors, RewardFunction
from training.stages.learners.learner import StepFigures, Updater
from training.stages.learners.ratings import Probe, Ratings, packed
from training.stages.learners.replay import NO_REPLAY, Replay


class FilteredLearner:
    """Raises the likelihood of liked, well-scored completions, a batch of them a step."""

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
        """Scores what is rated up. Raises DataNotFoundError when nothing usable is."""
        self._ratings = Ratings(best_scored(examples, reward, config.filtered_share), config.batch_size, seed)
        self._probe = Probe(actors, self._ratings, reward, config, seed)
        self._actors, self._replay = actors, replay
        self.num_steps = self._ratings.num_steps(config.num_epochs, config.min_steps)
        self.num_updates = self.num_steps
        self.kl_coefficient = 0.0

    def step(self, number: int, update: Updater) -> StepFigures:
        """One batch of replies. Raises TooFewRowsError when it has fewer than there are processes."""
        scalars = self._probe.figures(number, self.num_steps)
        batch = self._ratings.batch(number)
        replayed = self._replay.draw(self._actors, number, len(batch))
        loss = update(lambda: self._replay.mixed(self._loss(batch), self._actors, replayed))
        return StepFigures(scalars.get("kl"), {**scalars, "loss": loss})

    def state(self) -> dict[str, Any]:
        """When KL is measured next."""
        return self._probe.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a `state`."""
        self._probe.restore(state)

    def _loss(self, batch: Sequence[RatedExample]) -> Tensor:
        own = distributed.own_batch(batch)
        completions = packed(self._actors, own)
        logprobs = completion_logprobs(self._actors.policy, completions, 1.0)
        loss = supervised_loss(logprobs, completions.mask, self._ratings.weights(own))
        return self._ratings.token_part(batch) * loss


def best_scored(examples: Sequence[RatedExample], reward: RewardFunction, share: float) -> list[RatedExample]:
    """That share of the completions rated up, at least one of them, whose reward is highest; in their order."""
    liked = [example for example in examples if example.is_up]
    samples = [Sample(e.completion_ids, (), e.completion_ids[-1] == EOS_ID) for e in liked]
    totals = [terms.total for terms in reward([e.prompt for e in liked], samples)] if liked else []
    ranked = sorted(range(len(liked)), key=lambda index: -totals[index])
    return [liked[index] for index in sorted(ranked[: max(1, round(share * len(liked)))])]
