"""A bundle that goes on learning: without pretraining and fine-tuning of its own, it is polished as it is."""

from pathlib import Path

import pytest
import torch
import yaml

from model_store.bundle import open_bundle
from training.cli import main
from training.config import TrainingConfig, load_config
from training.errors import InvalidConfigError, UnfitCheckpointError
from training.reformer.model import load_policy
from training.stages.base_model import corpus, language_modeling, message_summary
from training.workspace import Workspace

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "training" / "configs" / "continue.yaml"
SHIPPED = ROOT / "model_store" / "default"


def continuing(**corpus_changes: object) -> TrainingConfig:
    """The configuration that ships, cut down to one small batch."""
    config = load_config(CONFIG)
    sizes = {"num_generated_conversations": 40, "num_generated_asks": 10, "num_mixtures": 0, "num_given_plans": 10}
    assert config.polish is not None
    return config.model_copy(
        update={
            "corpus": config.corpus.model_copy(update={**sizes, **corpus_changes}),
            "model": config.model.model_copy(update={"start_from": SHIPPED}),
            "polish": config.polish.model_copy(update={"num_tokens": 1, "batch_tokens": 256}),
        }
    )


def test_a_bundle_is_polished_from_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vocabulary and n-grams stay, the weights move by no more than one step; nothing else is trained."""
    monkeypatch.setattr(corpus, "_NUM_VALIDATION", 2)
    config, workspace = continuing(), Workspace(tmp_path)
    corpus.run(config, workspace)
    assert message_summary.run(config, workspace) == {"started_from": open_bundle(SHIPPED).digest}
    assert language_modeling.run_pretrain(config, workspace) == {}
    assert language_modeling.run_finetune(config, workspace) == {}
    result = language_modeling.run_polish(config, workspace)
    assert result["num_steps"] == 1
    before, after = (load_policy(path).state_dict() for path in (SHIPPED, workspace.path("polished")))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith(("ngrams.", "summary.")))
    moved = max(float((before[name] - after[name]).abs().max()) for name in before)
    assert 0 < moved < 0.05


def test_a_pack_with_other_plans_is_refused(tmp_path: Path) -> None:
    """Or a plan's token would mean another plan than it did when it was learned."""
    with pytest.raises(UnfitCheckpointError, match="it knows other plans than the domain pack"):
        corpus.run(continuing(domain_pack="card_desk"), Workspace(tmp_path))


@pytest.mark.parametrize("missing", [("pretrain",), ("pretrain", "finetune", "model")])
def test_a_configuration_with_nothing_to_go_on_from_is_refused(tmp_path: Path, missing: tuple[str, ...]) -> None:
    """The error says what to set."""
    with pytest.raises(InvalidConfigError, match="set both|set model.start_from"):
        load_config(write_without(missing, tmp_path))


def test_no_base_is_made_where_no_stage_is_set_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Such a configuration is for the intent model alone; before anything is written."""
    path = write_without(("pretrain", "finetune", "polish"), tmp_path)
    assert main(["base", "--config", str(path), "--workspace", str(tmp_path / "run")]) == 1
    assert "pretrain and finetune, or polish" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def write_without(missing: tuple[str, ...], directory: Path) -> Path:
    """The configuration of the model that ships, without these sections."""
    fields = yaml.safe_load((ROOT / "training" / "configs" / "small.yaml").read_text(encoding="utf-8"))
    kept = {name: value for name, value in fields.items() if name not in missing}
    (directory / "broken.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")
    return directory / "broken.yaml"
