"""The ladder: a learner's steps within its limits, with checkpoints, and a way back when the policy went too far.

Steps may lead somewhat beyond the KL limit: when all are taken, the policy walks back until it is within. From far
beyond it walks back at once, and goes on with half the learning rate and twice the KL coefficient, three times at most.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from torch import Tensor
from tqdm import tqdm

from training import distributed
from training.config import PolicyConfig
from training.errors import DivergedError
from training.reformer.model import ReformerPolicy
from training.stages.learners.learner import FAR, STAGE, Learner, Updater
from training.stages.learners.way_back import Measure, copy_weights, walk_back
from training.workspace import Workspace

_NUM_RUNGS = 4
_MAX_RETREATS = 3

StopReason = Literal["finished", "max_kl", "max_minutes"]


@dataclass(frozen=True)
class Climb:
    """How the ladder was climbed, and where the policy was left."""

    num_steps: int
    stopped_by: StopReason
    """max_kl: far beyond the limit once more after the last retreat that was allowed."""
    num_retreats: int
    share: float
    """What was kept of the way from the reference to where the last step had led; 1 where that was within the limit."""
    figures: Mapping[str, float]
    """As measured where the policy was left."""
    seconds: float


@dataclass
class _Progress:
    """What the ladder knows of a run that it may have to go on with."""

    step: int = 0
    num_retreats: int = 0
    seconds: float = 0.0


def climb_ladder(
    learner: Learner, policy: ReformerPolicy, config: PolicyConfig, workspace: Workspace, measure: Measure
) -> Climb:
    """Takes the learner's steps, with a checkpoint at every quarter, and leaves a policy within the KL limit.

    `measure` gives the policy's figures, `kl` among them. Resumes by itself. Raises DivergedError.
    """
    ladder = _Ladder(learner, policy, config, workspace, measure)
    try:
        stopped_by = ladder.take_steps()
        arrival = walk_back(policy, ladder.start, measure, config.max_kl)
    except FloatingPointError as error:  # nothing can be drawn from it, so nothing measured
        raise DivergedError(stage=STAGE, step=ladder.progress.step, problem=error) from error
    done = ladder.progress
    return Climb(done.step, stopped_by, done.num_retreats, arrival.share, arrival.figures, ladder.seconds())


class _Ladder:
    def __init__(
        self, learner: Learner, policy: ReformerPolicy, config: PolicyConfig, workspace: Workspace, measure: Measure
    ) -> None:
        self.start: dict[str, Tensor] = copy_weights(policy)
        self._learner, self._policy, self._config = learner, policy, config
        self._workspace, self._measure = workspace, measure
        self._update = Updater(policy, config.lr, learner.num_updates)
        self.progress = self._restored()
        self._started = time.monotonic()

    def seconds(self) -> float:
        """Spent on the ladder, before a crash as well."""
        return self.progress.seconds + time.monotonic() - self._started

    def take_steps(self) -> StopReason:
        """Up to one of the limits, or all that are left."""
        learner, progress = self._learner, self.progress
        first, rung = progress.step, max(1, learner.num_steps // _NUM_RUNGS)
        steps = _shown(first, learner.num_steps)
        with distributed.Curves(self._workspace.path("tensorboard") / STAGE, purge_step=first) as writer, steps:
            for number in steps:
                progress.step = number
                # All must stop at the same step.
                if distributed.from_first(self.seconds()) > self._config.max_minutes * 60:
                    return "max_minutes"
                if number % rung == 0:
                    distributed.copy_from_first(self._policy)
                if number % rung == 0 and number > first:
                    self._save()
                figures = learner.step(number, self._update)
                for name, value in figures.scalars.items():
                    writer.add_scalar(name, value, number)
                if figures.kl is None:
                    continue
                steps.set_postfix(kl=f"{figures.kl:.2f}", reward=f"{figures.scalars.get('reward', 0.0):.3f}")
                if not figures.kl <= FAR * self._config.max_kl and not self._retreat():
                    return "max_kl"
        progress.step = learner.num_steps
        return "finished"

    def _retreat(self) -> bool:
        """Walks back into the limit and slows down; says whether steps may go on."""
        if self.progress.num_retreats == _MAX_RETREATS:
            return False
        walk_back(self._policy, self.start, self._measure, self._config.max_kl)
        self.progress.num_retreats += 1
        self._update.slow_down()
        self._learner.kl_coefficient *= 2
        return True

    def _save(self) -> None:
        state = {**asdict(self.progress), "seconds": self.seconds(), "policy": self._policy.state_dict()}
        state |= {"kl_coefficient": self._learner.kl_coefficient, "learner": self._learner.state()}
        self._workspace.save_checkpoint(STAGE, {**state, **self._update.state()})

    def _restored(self) -> _Progress:
        """Where to go on; the beginning without a checkpoint."""
        checkpoint = self._workspace.load_checkpoint(STAGE)
        if checkpoint is None:
            return _Progress()
        self._policy.load_state_dict(checkpoint["policy"])
        self._update.restore(checkpoint)
        self._learner.kl_coefficient = checkpoint["kl_coefficient"]
        self._learner.restore(checkpoint["learner"])
        return _Progress(checkpoint["step"], checkpoint["num_retreats"], checkpoint["seconds"])


def _shown(start: int, num_steps: int) -> "tqdm[int]":
    """The steps that are left, on stderr; of several processes one shows them."""
    is_silent = not distributed.is_first()
    return tqdm(range(start, num_steps), STAGE, initial=start, total=num_steps, file=sys.stderr, disable=is_silent)
