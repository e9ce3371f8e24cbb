"""A pack's replies in a bundle that is there: what it says changes, what computes does not."""

import shutil
from pathlib import Path

import pytest

from model_store.backends.local import LocalBackend
from model_store.bundle import open_bundle, write_bundle
from model_store.contract.control_tokens import EOS_ID
from model_store.contract.tokenizer import Tokenizer
from model_store.replies import load_replies, save_replies
from model_store.store import ModelStore
from tests.unit.stages.feedback_workspace import publish_tiny_version
from training.data.domain_pack import PACKS_DIRECTORY
from training.stages.rewording import main


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle, on a shelf."""
    folder = tmp_path_factory.mktemp("reworded")
    publish_tiny_version(ModelStore(LocalBackend(folder / "shelf")), folder / "made")
    return folder / "made" / "bundle"


def test_the_network_stays_byte_for_byte_and_says_what_another_pack_says(source: Path, tmp_path: Path) -> None:
    """A version of its own, made of the one before, whose files verify."""
    pack = tmp_path / "pack"
    shutil.copytree(PACKS_DIRECTORY / "card_desk", pack)
    options = ["--pack", str(pack), "--forget-replies"]
    assert main([str(source), str(tmp_path / "new"), *options]) == 0
    before, after = open_bundle(source).manifest, open_bundle(tmp_path / "new").manifest
    changed = {name for name in after.files if after.files[name] != before.files.get(name)}
    assert changed == {"model_card.md", "replies.npy.gz"}
    assert after.lineage.parent == before.digest and after.lineage.stages == (*before.lineage.stages, "rewording")
    assert (after.golden_run, after.quantization, after.metrics) == (
        before.golden_run,
        before.quantization,
        before.metrics,
    )
    size, tokenizer = before.architecture.vocab_size, Tokenizer.load(source / "tokenizer.json")
    said = {tokenizer.decode(reply) for reply in load_replies(tmp_path / "new", size)}
    assert any("card" in text for text in said) and said.isdisjoint(
        tokenizer.decode(reply) for reply in load_replies(source, size)
    )


def test_corrections_by_the_staff_stay_unless_they_are_to_be_forgotten(source: Path, tmp_path: Path) -> None:
    """They are the only replies of a bundle that no pack holds."""
    corrected, correction = tmp_path / "corrected", (5, 6, EOS_ID)
    shutil.copytree(source, corrected)
    manifest = open_bundle(source).manifest
    size = manifest.architecture.vocab_size
    save_replies(corrected, [correction, *load_replies(source, size)])
    write_bundle(corrected, manifest.model_dump(exclude={"files"}))
    for folder, options in (("kept", []), ("forgotten", ["--forget-replies"])):
        assert main([str(corrected), str(tmp_path / folder), *options]) == 0
    kept, forgotten = (set(load_replies(tmp_path / folder, size)) for folder in ("kept", "forgotten"))
    assert kept - forgotten == {correction} and forgotten == set(load_replies(source, size))


def test_who_rewords_again_and_again_does_not_make_the_lineage_longer(source: Path, tmp_path: Path) -> None:
    """It is one stage of a version's history; its parent is the version before."""
    assert main([str(source), str(tmp_path / "once")]) == main([str(tmp_path / "once"), str(tmp_path / "twice")]) == 0
    once, twice = (open_bundle(tmp_path / folder).manifest for folder in ("once", "twice"))
    assert twice.lineage.stages == once.lineage.stages == ("pretrain", "finetune", "rewording")
    assert twice.lineage.parent == once.digest


def test_what_is_no_bundle_and_what_would_replace_itself_is_refused(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on stderr, exit code 1, and nothing is lost."""
    assert main([str(tmp_path / "nothing"), str(tmp_path / "new")]) == 1
    assert main([str(source), str(source)]) == 1
    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == ["error", "error"]
    assert open_bundle(source).digest and not (tmp_path / "new").exists()
