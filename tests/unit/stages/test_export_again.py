"""A bundle exported anew: the same network and where it comes from, graphs as they are made now."""

from pathlib import Path

import pytest

from model_store.backends.local import LocalBackend
from model_store.bundle import open_bundle
from model_store.contract.control_tokens import EOS_ID
from model_store.contract.manifest import Manifest
from model_store.replies import load_conditions, load_replies
from model_store.store import ModelStore
from service.engine.engine import Engine, golden_run
from service.engine.types import EngineOptions
from tests.unit.stages.feedback_workspace import publish_tiny_version
from training.stages import export
from training.stages.export import main


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle."""
    folder = tmp_path_factory.mktemp("again")
    publish_tiny_version(ModelStore(LocalBackend(folder / "shelf")), folder / "made")
    return folder / "made" / "bundle"


@pytest.mark.parametrize("weight_format", ["int8_static", "int8_block64"])
def test_the_network_stays_and_its_graph_is_made_anew(source: Path, tmp_path: Path, weight_format: str) -> None:
    """In either format, and an engine repeats the golden run that the new manifest holds."""
    before = open_bundle(source).manifest
    assert main([str(source), str(tmp_path / "new"), "--weights", weight_format]) == 0
    after: Manifest = open_bundle(tmp_path / "new").manifest
    assert after.quantization.weights == weight_format
    assert after.lineage.parent == before.digest == open_bundle(source).manifest.digest
    assert after.lineage.stages == (*before.lineage.stages, "export")
    assert after.lineage.data_snapshot == before.lineage.data_snapshot
    assert (after.name, after.licences, after.architecture) == (before.name, before.licences, before.architecture)
    same = {name for name in before.files if after.files.get(name) == before.files[name]}
    assert {"model.safetensors", "tokenizer.json", "replies.npy.gz"} <= same
    engine = Engine.open(tmp_path / "new", after, EngineOptions(num_slots=1))
    assert after.golden_run is not None
    golden_run(engine, after.golden_run)
    engine.close()


def test_what_a_bundle_says_and_the_pack_does_not_can_be_forgotten(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply that was reworded or withdrawn would be said to everybody; the staff's corrections go with it."""
    corrected = (5, 6, EOS_ID)
    monkeypatch.setattr(export, "load_replies", lambda *_: iter([corrected]))
    for folder, options in (("kept", []), ("forgotten", ["--forget-replies"])):
        assert main([str(source), str(tmp_path / folder), *options]) == 0
    size = open_bundle(source).manifest.architecture.vocab_size
    kept, forgotten = (set(load_replies(tmp_path / folder, size)) for folder in ("kept", "forgotten"))
    assert kept - forgotten == {corrected}


def test_what_authors_withdrew_keeps_its_condition(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was written for some customers, and is not said to everybody because the pack does not hold it any more."""
    monkeypatch.setattr(export, "load_replies", lambda *_: iter([(5, 6, EOS_ID), (5, 7, EOS_ID)]))
    monkeypatch.setattr(export, "load_conditions", lambda *_: {1: ("cost",)})
    assert main([str(source), str(tmp_path / "again")]) == 0
    replies = list(load_replies(tmp_path / "again", open_bundle(source).manifest.architecture.vocab_size))
    conditions = load_conditions(tmp_path / "again", len(replies))
    assert conditions[replies.index((5, 7, EOS_ID))] == ("cost",)
    assert replies.index((5, 6, EOS_ID)) not in conditions


def test_what_is_no_bundle_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stderr, exit code 1, nothing written."""
    assert main([str(tmp_path / "nothing"), str(tmp_path / "new")]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "new").exists()
