"""Implicit language Q-learning on the ratings (Snell et al. 2022, 2206.11871): a critic first, then the policy from it.

A reply's thumb is the reward of its last token; V and two Q say what each earlier token had to do with it. The paper
decodes with log π + β (Q - V) from three networks; we serve one graph, so the shifted distribution is distilled into
the policy, on the states that were rated. `extraction: regress` imitates the seen tokens by exp(β (Q - V)) instead; it
hears of no token but those, so distilling is the default (`make bench-learning` measures both; see `EXPERIMENTS.md`).
Against the paper: λ-returns in place of one step, since a few dozen updates carry a thumb no further than a few tokens
back; the conservative term weighs tokens by the reference. Left out: the paper's supervised loss on all data.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from training import distributed
from training.config import PolicyConfig
from training.data.prompts import RatedExample
from training.optimization import StepGuard, build_adamw, flat_then_linear
from training.precision import fast_matrices
from training.reformer.critic import Critic
from training.rlhf.logprobs import CompletionBatch, completion_distributions, completion_logprobs
from training.rlhf.losses import supervised_loss
from training.rlhf.rollout import Actors, RewardFunction
from training.rlhf.value_learning import (
    conservative_loss,
    distillation_loss,
    expectile_loss,
    lambda_returns,
    polyak_update,
    regression_weights,
    shifted_logprobs,
    squared_loss,
)
from training.stages.learners.learner import STAGE, StepFigures, Updater
from training.stages.learners.ratings import Probe, Ratings, packed
from training.stages.learners.replay import NO_REPLAY, Replay

_DECAY_SHARE = 0.5


class IlqlLearner:
    """The critic's steps, then as many batches as other learners take, in which the policy learns what it says."""

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
        self._num_critic_steps = self._ratings.num_steps(config.q_learning.num_epochs, config.min_steps)
        self.num_updates = self._ratings.num_steps(config.num_epochs, config.min_steps)
        self.num_steps = self._num_critic_steps + self.num_updates
        self.kl_coefficient = 0.0
        share_up = sum(example.is_up for example in self._ratings.examples) / len(self._ratings.examples)
        self._critic = Critic(actors.reference, mean_reward=share_up, seed=seed)
        self._optimizer = build_adamw(self._critic.parameters(), config.q_learning.lr)
        self._guard = StepGuard(self._critic, [self._optimizer], stage=STAGE)

    def step(self, number: int, update: Updater) -> StepFigures:
        """One batch of ratings, for the critic or for the policy.

        Raises TooFewRowsError when it has fewer than there are processes.
        """
        batch = self._ratings.batch(number)
        if number < self._num_critic_steps:
            return StepFigures(None, self._step_critic(number, batch))
        scalars = self._probe.figures(number - self._num_critic_steps, self.num_updates)
        replayed = self._replay.draw(self._actors, number, len(batch))
        own = distributed.own_batch(batch)
        completions = packed(self._actors, own)
        if self._config.q_learning.extraction == "regress":
            weights = self._regression_weights(completions, own)
            part = distributed.part_of_mean(float(weights.sum()), distributed.total(float(weights.sum())))
            loss = update(
                lambda: self._replay.mixed(part * self._regression(completions, weights), self._actors, replayed)
            )
        else:
            part = self._ratings.token_part(batch)
            loss = update(
                lambda: self._replay.mixed(part * self._distillation(completions, own), self._actors, replayed)
            )
        return StepFigures(scalars.get("kl"), {**scalars, "loss": loss})

    def state(self) -> dict[str, Any]:
        """Critic and its optimiser, and when KL is measured next."""
        critic = {"critic": self._critic.state_dict(), "optimizer": self._optimizer.state_dict()}
        return {**critic, "probe": self._probe.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a `state`."""
        self._critic.load_state_dict(state["critic"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._probe.restore(state["probe"])

    def _step_critic(self, number: int, batch: Sequence[RatedExample]) -> dict[str, float]:
        own, part = distributed.own_batch(batch), self._ratings.token_part(batch)
        with fast_matrices():
            losses = {name: part * loss for name, loss in self._critic_losses(packed(self._actors, own), own).items()}
            total = distributed.backward(sum(losses.values(), torch.zeros(())), self._critic.parameters())
        factor = flat_then_linear(number, self._num_critic_steps, _DECAY_SHARE)
        self._guard.step(total, number=number, lr_factor=factor)
        polyak_update(
            self._critic.target_heads.parameters(), self._critic.q_heads.parameters(), self._config.q_learning.polyak
        )
        return {f"critic_{name}": distributed.total(float(loss.detach())) for name, loss in losses.items()}

    def _critic_losses(self, completions: CompletionBatch, batch: Sequence[RatedExample]) -> dict[str, Tensor]:
        settings, mask = self._config.q_learning, completions.mask
        values = self._critic(completions.token_ids, mask)
        token_ids = completions.token_ids[:, 1:][mask]
        weights = _by_token(self._ratings.weights(batch), mask)
        rewards = torch.tensor([float(example.is_up) for example in batch])
        by_state = torch.zeros(mask.shape).masked_scatter(mask, values.value.detach())
        returns = lambda_returns(by_state, rewards, mask, discount=settings.discount, trace=settings.trace)[mask]
        slow = _chosen(values.target, token_ids)
        losses = {"value": expectile_loss(slow - values.value, weights, settings.expectile)}
        with torch.no_grad():
            prior = completion_distributions(self._actors.reference, completions, self._config.temperature)
        for name, action_values in (("q1", values.first), ("q2", values.second)):
            losses[name] = squared_loss(_chosen(action_values, token_ids), returns, weights)
            conservative = conservative_loss(action_values, token_ids, prior, weights)
            losses[f"{name}_conservative"] = settings.conservative_weight * conservative
        return losses

    def _distillation(self, completions: CompletionBatch, batch: Sequence[RatedExample]) -> Tensor:
        """KL from the reference with shifted logits, at every state of the rated completions."""
        temperature = self._config.temperature
        with torch.no_grad():
            values = self._critic(completions.token_ids, completions.mask)
            prior = completion_distributions(self._actors.reference, completions, temperature)
            scale = self._config.q_learning.advantage_scale
            target = shifted_logprobs(prior, values.target, values.value, scale)
        logprobs = completion_distributions(self._actors.policy, completions, temperature)
        return distillation_loss(logprobs, target, _by_token(self._ratings.weights(batch), completions.mask))

    @torch.no_grad()
    def _regression_weights(self, completions: CompletionBatch, batch: Sequence[RatedExample]) -> Tensor:
        """How much each token is imitated, by its advantage, [B, S - 1]."""
        mask, scale = completions.mask, self._config.q_learning.advantage_scale
        with fast_matrices():
            values = self._critic(completions.token_ids, mask)
            advantages = _chosen(values.target, completions.token_ids[:, 1:][mask]) - values.value
            weights = regression_weights(advantages, scale) * _by_token(self._ratings.weights(batch), mask)
        return torch.zeros(mask.shape).masked_scatter(mask, weights)

    def _regression(self, completions: CompletionBatch, weights: Tensor) -> Tensor:
        """Negative log-likelihood of the rated completions, weighed by token."""
        logprobs = completion_logprobs(self._actors.policy, completions, self._config.temperature)
        return supervised_loss(logprobs, weights)


def _chosen(action_values: Tensor, token_ids: Tensor) -> Tensor:
    return action_values.gather(-1, token_ids[:, None])[:, 0]


def _by_token(weights: Tensor, mask: Tensor) -> Tensor:
    """A completion's weight for each of its tokens, in the mask's order."""
    return weights[:, None].expand(mask.shape)[mask]
