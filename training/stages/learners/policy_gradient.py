"""REINFORCE on whole completions: rollouts, their advantages, the KL penalty inside the reward, and PPO's clip.

Left out against the papers: PPO's value network and GAE (Ahmadian et al. 2024: other samples of the prompt are baseline
enough), and GRPO's KL term in the loss instead of the reward (Shao et al. 2024, eq. 3), so that the two advantages
differ in nothing else here.
"""

import random
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from training import distributed
from training.config import PolicyConfig
from training.errors import DataNotFoundError
from training.rlhf.advantages import grpo, rloo, whiten
from training.rlhf.kl_control import adapted_kl_coefficient
from training.rlhf.logprobs import completion_logprobs
from training.rlhf.losses import clipped_completion_loss, clipped_policy_loss
from training.rlhf.rollout import Actors, RewardFunction, Rollout, RolloutPrompt
from training.stages.learners.learner import SEED_STRIDE, StepFigures, Updater
from training.stages.learners.replay import NO_REPLAY, Replay, Replayed


class PolicyGradientLearner:
    """Policy gradient with the advantages of RLOO or GRPO, and a KL coefficient that keeps to a target."""

    def __init__(
        self,
        actors: Actors,
        prompts: Sequence[RolloutPrompt],
        reward: RewardFunction,
        config: PolicyConfig,
        *,
        seed: int,
        replay: Replay = NO_REPLAY,
    ) -> None:
        """Raises DataNotFoundError without prompts."""
        if not prompts:
            raise DataNotFoundError(
                what="A prompt to learn from", path="the feedback and the pack", remedy="Collect more."
            )
        self._actors, self._prompts, self._reward, self._replay = actors, prompts, reward, replay
        self._config, self._seed = config, seed
        self.num_steps = config.num_steps
        self.num_updates = config.num_steps * config.updates_per_step
        self.kl_coefficient = config.kl_coefficient

    def step(self, number: int, update: Updater) -> StepFigures:
        """Samples, rates, and updates `updates_per_step` times on the same rollout."""
        config = self._config
        drawn = random.Random(f"{self._seed}-{number}").choices(self._prompts, k=config.prompts_per_step)
        prompts = [prompt for prompt in drawn for _ in range(config.samples_per_prompt)]
        rollout = self._actors.collect(prompts, self._reward, seed=self._seed * SEED_STRIDE + number)
        replayed = self._replay.draw(self._actors, number, len(prompts))
        advantages = self._advantages(rollout)
        losses = [update(lambda: self._loss(rollout, advantages, replayed)) for _ in range(config.updates_per_step)]
        figures = rollout.figures()
        scalars = {**figures, "loss": losses[-1], "kl_coefficient": self.kl_coefficient}
        if config.target_kl is not None:
            self.kl_coefficient = adapted_kl_coefficient(
                self.kl_coefficient, figures["kl"], target=config.target_kl, gain=config.kl_gain
            )
        return StepFigures(figures["kl"], scalars)

    def state(self) -> dict[str, Any]:
        """Nothing that the ladder does not keep anyway."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to do."""

    def _advantages(self, rollout: Rollout) -> Tensor:
        penalised = (rollout.rewards - self.kl_coefficient * rollout.kl).view(-1, self._config.samples_per_prompt)
        by_prompt = grpo(penalised) if self._config.algorithm == "grpo" else whiten(rloo(penalised))
        return by_prompt.flatten()

    def _loss(self, rollout: Rollout, advantages: Tensor, replayed: Replayed) -> Tensor:
        logprobs = completion_logprobs(self._actors.policy, rollout.batch, self._config.temperature)
        mask, own_advantages = rollout.batch.mask, advantages[list(distributed.own_rows(len(advantages)))]
        of_completions = self._config.ratio == "completion"
        clipped_loss = clipped_completion_loss if of_completions else clipped_policy_loss
        loss = clipped_loss(logprobs, rollout.logprobs, own_advantages, mask, self._config.clip_range)
        part = (
            distributed.part_of_mean(len(mask), len(advantages))
            if of_completions
            else distributed.part_of_mean(int(mask.sum()), rollout.num_tokens)
        )
        return self._replay.mixed(part * loss, self._actors, replayed)
