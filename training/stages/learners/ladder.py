"""The ladder: a learner's steps within its limits, with checkpoints, and a way back when the policy went too far."""

import sys
import time
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from tqdm import tqdm

from training import distributed
from training.config import PolicyConfig
from training.reformer.model import ReformerPolicy
from training.stages.learners.learner import STAGE, Learner, Updater
from training.workspace import Workspace

_NUM_RUNGS = 4

StopReason = Literal["finished", "max_kl", "max_minutes"]


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
    update = Updater(policy, config.lr, learner.num_updates)
    start, seconds_before, verified = _restore(policy, update, learner, workspace)
    started = time.monotonic()
    stopped_by: StopReason = "finished"
    number = start
    rung = max(1, learner.num_steps // _NUM_RUNGS)
    steps = _progress(start, learner.num_steps)
    with distributed.Curves(workspace.path("tensorboard") / STAGE, purge_step=start) as writer, steps:
        for number in steps:
            # All must stop at the same step.
            seconds = distributed.from_first(seconds_before + time.monotonic() - started)
            if seconds > config.max_minutes * 60:
                stopped_by = "max_minutes"
                break
            if number % rung == 0:
                distributed.copy_from_first(policy)
            weights = _copy_weights(policy)
            if number % rung == 0 and number > start:
                state = {"step": number, "seconds": seconds, "policy": weights, "verified": verified}
                state |= {"kl_coefficient": learner.kl_coefficient, "learner": learner.state(), **update.state()}
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


def _progress(start: int, num_steps: int) -> "tqdm[int]":
    """The steps that are left, on stderr; of several processes one shows them."""
    is_silent = not distributed.is_first()
    return tqdm(range(start, num_steps), STAGE, initial=start, total=num_steps, file=sys.stderr, disable=is_silent)


def _restore(
    policy: ReformerPolicy, update: Updater, learner: Learner, workspace: Workspace
) -> tuple[int, float, dict[str, Tensor]]:
    """Step to go on from, seconds spent before it, and verified weights; the beginning without a checkpoint."""
    checkpoint = workspace.load_checkpoint(STAGE)
    if checkpoint is None:
        return 0, 0.0, {}
    policy.load_state_dict(checkpoint["policy"])
    update.restore(checkpoint)
    learner.kl_coefficient = checkpoint["kl_coefficient"]
    learner.restore(checkpoint["learner"])
    return checkpoint["step"], checkpoint["seconds"], checkpoint["verified"]


def _copy_weights(policy: ReformerPolicy) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in policy.state_dict().items()}
