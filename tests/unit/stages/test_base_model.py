"""Making a base model: deterministic, resumable, and it learns."""

import math
from pathlib import Path

import pytest
import torch

from training.config import TrainingConfig, load_config
from training.data.windows import WindowSet, pad_batch
from training.errors import InvalidConfigError
from training.reformer.model import ReformerPolicy, load_policy, new_policy
from training.stages.base_model import corpus, language_modeling, message_summary
from training.workspace import Workspace

TINY = Path(__file__).parents[3] / "training" / "configs" / "tiny.yaml"


def small_run(**changes: object) -> TrainingConfig:
    config = load_config(TINY)
    pretrain = config.pretrain.model_copy(
        update={"num_tokens": 16_000, "batch_tokens": 1024, "checkpoint_every": 4, **changes}
    )
    return config.model_copy(update={"pretrain": pretrain})


def prepare(config: TrainingConfig, root: Path) -> Workspace:
    workspace = Workspace(root)
    corpus.run(config, workspace)
    message_summary.run(config, workspace)
    return workspace


def summarized_run(root: Path, **changes: object) -> tuple[TrainingConfig, Workspace]:
    """A small run after its message summary, which has read the few asks often enough to know them."""
    config = small_run(**changes)
    summary = config.message_summary.model_copy(update={"num_epochs": 30})
    config = config.model_copy(update={"message_summary": summary})
    return config, prepare(config, root)


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
    """A hundred thousand tokens bring the loss on unseen conversations well below that of guessing."""
    config = small_run(num_tokens=100_000)
    result = language_modeling.run_pretrain(config, prepare(config, tmp_path))
    assert result["validation_loss"] < 0.9 * math.log(config.model.vocab_size)


def test_the_summary_learns_plans_first_and_stays_as_it_is_while_the_layers_learn(tmp_path: Path) -> None:
    """Plans by the summary alone become far likelier; pretraining leaves its weights alone, and the head true."""
    shares = {"domain_pack": 0.5, "domain_asks": 0.5}
    config, workspace = summarized_run(tmp_path, summary_weight=0.5, source_shares=shares)
    windows = WindowSet.load(workspace.path("windows") / "domain_asks.npz")
    batch = pad_batch([windows.window(index) for index in range(64)])

    def loss_by_summary(policy: ReformerPolicy) -> float:
        with torch.no_grad():
            return float(language_modeling.summary_loss(policy.eval(), batch))

    fresh = loss_by_summary(new_policy(config.model.architecture(), seed=config.seed))
    taught = loss_by_summary(load_policy(workspace.path(message_summary.CHECKPOINT)))
    assert taught < 0.5 * fresh
    language_modeling.run_pretrain(config, workspace)
    before, after = (load_policy(workspace.path(name)) for name in (message_summary.CHECKPOINT, "pretrained"))
    assert loss_by_summary(after) < 1.1 * taught
    learned = [name for name in before.state_dict() if name.startswith(("ngrams.", "summary."))]
    assert len(learned) == 4
    assert all(torch.equal(before.state_dict()[name], after.state_dict()[name]) for name in learned)
    assert not torch.equal(before.lm_head.decoder.weight, after.lm_head.decoder.weight)


def test_a_summary_without_asks_to_learn_from_is_refused(tmp_path: Path) -> None:
    """The error names what to set."""
    text = TINY.read_text(encoding="utf-8").replace("num_generated_asks: 400", "num_generated_asks: 0")
    (tmp_path / "broken.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidConfigError, match="set corpus.num_generated_asks"):
        load_config(tmp_path / "broken.yaml")
