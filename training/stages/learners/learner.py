"""What the ladder needs of an algorithm, and the optimiser step that all of them take."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from training import distributed
from training.optimization import StepGuard, build_adamw, flat_then_linear, warm_up
from training.precision import fast_matrices
from training.reformer.model import ReformerPolicy

STAGE = "policy"
SEED_STRIDE = 1_000_003
"""Between the seeds of a run's rollouts, so that neighbouring seeds of two runs share none."""
FAR = 4.0
"""KL limits beyond which a policy does not go on from where it is. Up to there it may go: it walks back in the end."""
_DECAY_SHARE = 0.9
WARM_UP_SHARE = 0.2
"""Of the updates, in which the learning rate rises to what is configured."""
_SLOWER = 0.5


class Updater:
    """Optimiser steps on the policy: bf16 with backward inside, warm-up and decay, clipped, guarded.

    Several processes take the same step: on the sum of what each computed of the loss.
    """

    def __init__(self, policy: ReformerPolicy, lr: float, num_updates: int) -> None:
        self._policy = policy
        self._optimizer = build_adamw(policy.parameters(), lr)
        self._guard = StepGuard(policy, [self._optimizer], stage=STAGE)
        self._num_updates = num_updates
        self._number = 0
        self._lr_share = 1.0

    def __call__(self, compute_loss: Callable[[], Tensor]) -> float:
        """One step; gives the loss. Raises DivergedError."""
        with fast_matrices():
            loss = distributed.backward(compute_loss(), self._policy.parameters())
        # Adam's first steps are as large in what is mere noise as elsewhere: KL that buys nothing.
        warmth = warm_up(self._number, round(WARM_UP_SHARE * self._num_updates))
        lr_factor = self._lr_share * warmth * flat_then_linear(self._number, self._num_updates, _DECAY_SHARE)
        self._guard.step(loss, number=self._number, lr_factor=lr_factor)
        self._number += 1
        return float(loss)

    def slow_down(self) -> None:
        """Halves the learning rate of all steps to come."""
        self._lr_share *= _SLOWER

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {"optimizer": self._optimizer.state_dict(), "number": self._number, "lr_share": self._lr_share}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a `state`."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._number, self._lr_share = state["number"], state["lr_share"]


@dataclass(frozen=True)
class StepFigures:
    """What a step saw, before it changed anything; `kl` is None where it was not measured."""

    kl: float | None
    scalars: dict[str, float]


class Learner(Protocol):
    """An algorithm, one step at a time.

    A step depends on its number, the seed, the policy's weights, `kl_coefficient` and `state`, on nothing else.
    """

    num_steps: int
    num_updates: int
    """Optimiser steps on the policy in all of them."""
    kl_coefficient: float
    """How much the distance from the reference costs; an algorithm may change it from step to step."""

    def step(self, number: int, update: Updater) -> StepFigures:
        """Learns once."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs beside the policy and `kl_coefficient`."""

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a `state`."""
