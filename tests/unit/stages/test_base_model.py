"""Making a base model: deterministic, resumable, and it learns."""

import math
from pathlib import Path

import pytest
import torch

from training.config import TrainingConfig, load_config
from training.reformer.model import load_policy
from training.stages.base_model import corpus, language_modeling
from training.workspace import Workspace

TINY = Path(__file__).parents[3] / "training" / "configs" / "tiny.yaml"


def small_run(**changes: object) -> TrainingConfig:
    config = load_config(TINY)
    pretrain = config.pretrain.model_copy(
        update={"num_tokens": 16_000, "batch_tokens": 1024, "checkpoint_every": 4, **changes}
    )
    return config.model_copy(update={"pretrain": pretrain})


def prepare(config: TrainingConfig, root: Path) -> Workspace:
    workspace = Workspace(root, config.digest)
    corpus.run(config, workspace)
    return workspace


class KilledError(Exception):
    """Stands for kill -9 in the middle of a stage."""


def test_a_killed_pretraining_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after its second checkpoint and started again, a run ends with the very weights of an unbroken one."""
    config = small_run()
    unbroken = prepare(config, tmp_path / "a")
    language_modeling.run_pretrain(config, unbroken)

    broken = prepare(config, tmp_path / "b")
    save = Workspace.save_checkpoint
    saved: list[int] = []

    def save_then_die(self: Workspace, name: str, state: dict[str, object]) -> None:
        save(self, name, state)
        saved.append(int(str(state["step"])))
        if len(saved) == 2:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "save_checkpoint", save_then_die)
        with pytest.raises(KilledError):
            language_modeling.run_pretrain(config, broken)
    assert saved == [4, 8]
    language_modeling.run_pretrain(config, broken)

    first, second = (load_policy(w.path("pretrained")).state_dict() for w in (unbroken, broken))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert broken.load_checkpoint("pretrain") is None


def test_training_learns_something(tmp_path: Path) -> None:
    """A few thousand tokens bring the loss on unseen conversations well below that of guessing."""
    config = small_run(num_tokens=60_000)
    result = language_modeling.run_pretrain(config, prepare(config, tmp_path))
    assert result["validation_loss"] < 0.9 * math.log(config.model.vocab_size)
