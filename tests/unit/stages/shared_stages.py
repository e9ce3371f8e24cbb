"""A program that torchrun starts: a reward model, and a policy by one algorithm after the other, in a workspace each.

Usage: `shared_stages.py FOLDER NAME …`, where FOLDER has a workspace of each name; without torchrun it is one process.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.unit.stages.learning_workspace import make_config
from training import distributed
from training.precision import kept_to
from training.stages import policy, reward_model
from training.workspace import Workspace

CASES: dict[str, dict[str, Any]] = {
    "rloo": {},
    "grpo, ratio of completions": {"algorithm": "grpo", "ratio": "completion", "prompts_per_step": 3},
    "kto": {"algorithm": "kto"},
    "filtered": {"algorithm": "filtered"},
    "ilql": {"algorithm": "ilql", "q_learning": {"num_epochs": 1}},
    "ilql, regressed": {"algorithm": "ilql", "q_learning": {"num_epochs": 1, "extraction": "regress"}},
}
_SHORT = {"num_steps": 3, "min_steps": 3, "samples_per_prompt": 3, "lr": 1e-4}
_REWARD = {"num_epochs": 1, "contrast_share": 0.25, "batch_size": 13, "lr": 2e-4}
"""Batches that two cannot halve, and a last one of a single row."""
_PACK = "card_desk"
"""Of few words: five processes read it for a few contrasts."""


def run_stages(folder: Path, names: Sequence[str]) -> None:
    """Leaves `reward_model` in the workspace of that name, `policy` in the others, which have a reward model."""
    for name in names:
        policy_settings = {**_SHORT, **CASES.get(name, {})}
        config = make_config(reward=_REWARD, policy=policy_settings, corpus={"domain_pack": _PACK})
        stage = reward_model if name == "reward_model" else policy
        workspace = Workspace(folder / name)
        with kept_to("float32"):
            workspace.save_result(name, stage.run(config, workspace))
        distributed.from_first(None)  # as the pipeline does between stages


if __name__ == "__main__":
    with distributed.together(int(os.environ.get("WORLD_SIZE", "1"))):
        run_stages(Path(sys.argv[1]), sys.argv[2:])
