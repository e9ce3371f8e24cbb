"""Which stages a run goes through again when something has changed since."""

from collections.abc import Callable
from pathlib import Path

from training.config import TrainingConfig, load_config
from training.pipeline import BASE_STAGES, run_pipeline
from training.workspace import StageResult, Workspace

TINY = Path(__file__).parents[3] / "training" / "configs" / "tiny.yaml"


def test_changed_settings_run_their_stage_and_those_after_it_again(tmp_path: Path) -> None:
    """Other fine-tuning settings leave the corpus and the pretrained weights alone."""
    config = load_config(TINY)
    finetune = config.finetune.model_copy(update={"num_tokens": config.finetune.num_tokens + 1})
    workspace = Workspace(tmp_path)
    assert _ran(config, workspace) == list(BASE_STAGES)
    assert _ran(config, workspace) == []
    assert _ran(config.model_copy(update={"finetune": finetune}), workspace) == ["finetune", "polish", "base_bundle"]


def test_a_bundle_that_goes_on_learning_is_polished_and_nothing_else_is_tuned(tmp_path: Path) -> None:
    """What its configuration leaves out has no settings, and more sources of the polish are read anew."""
    config, workspace = load_config(TINY.with_name("continue.yaml")), Workspace(tmp_path)
    assert _ran(config, workspace) == list(BASE_STAGES)
    assert config.polish is not None
    polish = config.polish.model_copy(update={"source_shares": {"sgd": 1.0}})
    again = _ran(config.model_copy(update={"polish": polish}), workspace)
    assert again == list(BASE_STAGES)[list(BASE_STAGES).index("corpus") :]


def test_a_checkpoint_of_other_settings_is_forgotten(tmp_path: Path) -> None:
    """What a killed stage left under other settings is not gone on with."""
    config = load_config(TINY)
    workspace = Workspace(tmp_path)
    _ran(config, workspace)
    workspace.save_checkpoint("pretrain", {"step": 1})
    pretrain = config.pretrain.model_copy(update={"muon_lr": 0.5})
    assert _ran(config.model_copy(update={"pretrain": pretrain}), workspace)[0] == "pretrain"
    assert workspace.load_checkpoint("pretrain") is None


def _ran(config: TrainingConfig, workspace: Workspace) -> list[str]:
    """The names of the stages that a run went through; each only notes that it was."""
    ran: list[str] = []

    def noting(name: str) -> Callable[[TrainingConfig, Workspace], StageResult]:
        def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
            ran.append(name)
            return {"digest": "0" * 64, "directory": "nowhere"}

        return run

    run_pipeline({name: noting(name) for name in BASE_STAGES}, config, workspace)
    return ran
