"""Making a smaller bundle of one: `python -m training prune` from end to end on a tiny network, and what it refuses."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from model_store.bundle import open_bundle
from tests.unit.stages.untrained_bundle import make_bundle, make_pack
from training.base_config import PruningConfig
from training.cli import main
from training.config import load_config
from training.errors import InvalidConfigError, UnfitPruningError
from training.reformer.model import new_policy
from training.stages.base_model import corpus
from training.stages.base_model.distillation import divergences
from training.stages.pruning.prune import check_enough_left

CONFIGS = Path(__file__).parents[3] / "training" / "configs"
SHAPE = {
    "hidden_size": 32,
    "num_layers": 4,
    "num_attention_heads": 2,
    "attention_head_size": 16,
    "feed_forward_size": 64,
    "vocab_size": 700,
    "max_positions": 256,
    "ngram_rows": 2048,
    "message_summary": True,
}


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A pack in one language and without development asks."""
    return make_pack(tmp_path / "desk")


def configuration(pack: Path, bundle: Path | None, path: Path, **changes: object) -> Path:
    """Written to `path`; without a bundle, one to make a bundle by."""
    language_model = {
        "num_tokens": 3000,
        "batch_tokens": 1024,
        "source_shares": {"domain_pack": 0.8, "domain_asks": 0.2},
    }
    fields: dict[str, object] = {
        "num_threads": 1,
        "policy": {"max_completion_tokens": 8},
        "model": SHAPE | ({"start_from": str(bundle)} if bundle else {}),
        "corpus": {"domain_pack": str(pack), "num_generated_conversations": 60, "num_generated_asks": 40},
        "polish": language_model | ({"distillation_share": 0.5} if bundle else {}),
        "export": {"weights": "float32"},
    }
    fields |= {} if bundle else {"pretrain": language_model, "finetune": language_model}
    path.write_text(yaml.safe_dump(fields | changes), encoding="utf-8")
    return path


def test_one_command_prunes_tunes_exports_and_prints_the_trade(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle that comes of it is of the new shape, names its parent, and is measured beside it."""
    monkeypatch.setattr(corpus, "_NUM_VALIDATION", 20)
    monkeypatch.setattr("training.evaluation.ability._ALL", 40)
    monkeypatch.setattr("training.stages.pruning.trade._NUM_RATED", 40)
    whole = make_bundle(load_config(configuration(pack, None, tmp_path / "whole.yaml")), tmp_path / "whole")
    pruning = {"drop_layers": 1, "drop_heads": 1, "feed_forward_share": 0.5, "calibration_batches": 2}
    path = configuration(pack, whole, tmp_path / "prune.yaml", pruning=pruning)
    assert main(["prune", "--config", str(path), "--workspace", str(tmp_path / "run"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    pruned = open_bundle(tmp_path / "run" / "bundle").manifest
    shape = pruned.architecture
    assert (len(shape.attn_layers), shape.num_attention_heads, shape.feed_forward_size) == (3, 1, 32)
    assert pruned.lineage.parent == open_bundle(whole).digest
    assert pruned.lineage.stages == ("message_summary", "pruning", "polish")
    trade = printed["trade"]
    assert (trade["unpruned"]["digest"], trade["pruned"]["digest"]) == (open_bundle(whole).digest, pruned.digest)
    assert trade["pruned"]["num_parameters"] < trade["unpruned"]["num_parameters"]
    assert trade["pruned"]["graph_bytes"] == (tmp_path / "run" / "bundle" / "model.onnx").stat().st_size
    assert trade["pruned"]["graph_bytes"] < trade["unpruned"]["graph_bytes"]
    assert trade["latency_ratio"]["low"] > 0
    assert "thumbs up, simulated" in printed["message"] and "right plan, en" in printed["message"]
    assert (tmp_path / "run" / "trade.txt").read_text(encoding="utf-8").strip() == printed["message"].strip()


def test_a_network_of_which_nothing_would_be_left_is_not_pruned() -> None:
    """The error names what would be missing, before anything is measured."""
    config = load_config(CONFIGS / "prune.yaml")
    policy = new_policy(config.model.architecture(), seed=1)
    check_enough_left(policy, config)
    pruning = PruningConfig(drop_layers=6, drop_heads=4, feed_forward_share=1e-4)
    with pytest.raises(UnfitPruningError, match="no layers, attention heads, feed-forward units would be left"):
        check_enough_left(policy, config.model_copy(update={"pruning": pruning}))


def test_only_a_bundle_that_goes_on_learning_is_pruned(pack: Path, tmp_path: Path) -> None:
    """Pruning and distillation need the network that there was before."""
    with pytest.raises(InvalidConfigError, match="pruning is for a bundle that goes on learning"):
        load_config(configuration(pack, None, tmp_path / "a.yaml", pruning={"drop_layers": 1}))
    polish = {"num_tokens": 1, "source_shares": {"domain_pack": 1.0}, "distillation_share": 0.5}
    with pytest.raises(InvalidConfigError, match="distillation_share is for the polish of a bundle"):
        load_config(configuration(pack, None, tmp_path / "b.yaml", polish=polish))


@pytest.mark.parametrize(("command", "config"), [("prune", "continue.yaml"), ("base", "prune.yaml")])
def test_a_command_refuses_the_other_ones_configuration(
    command: str, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is written."""
    assert main([command, "--config", str(CONFIGS / config), "--workspace", str(tmp_path / "run")]) == 1
    assert "pruning" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_divergence_is_none_between_equals_and_that_of_two_coins() -> None:
    """KL(fair ‖ 1 in 4) = ½ ln(½ / ¼) + ½ ln(½ / ¾), by hand 0.1438 nats."""
    fair, loaded = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    assert divergences(fair, fair).tolist() == [0.0]
    assert divergences(fair, loaded).item() == pytest.approx(0.1438, abs=1e-4)
