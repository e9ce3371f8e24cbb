"""Learning from an operator's own pack, which lies outside the program and speaks one language."""

import shutil
from pathlib import Path

from model_store.contract.tokenizer import Tokenizer
from training.config import load_config
from training.data.domain_pack import PACKS_DIRECTORY, load_pack
from training.stages.base_model import corpus
from training.workspace import Workspace

TINY = Path(__file__).parents[3] / "training" / "configs" / "card_desk_tiny.yaml"


def test_a_pack_elsewhere_in_one_language_becomes_a_corpus(tmp_path: Path) -> None:
    """Its plans are the tokenizer's, and the manifest will say whose data it is without saying where it lay."""
    shutil.copytree(PACKS_DIRECTORY / "card_desk" / "en", tmp_path / "our_desk" / "en")
    shutil.copy(PACKS_DIRECTORY / "card_desk" / "slots.yaml", tmp_path / "our_desk")
    config = load_config(TINY)
    config = config.model_copy(
        update={"corpus": config.corpus.model_copy(update={"domain_pack": str(tmp_path / "our_desk")})}
    )
    workspace = Workspace(tmp_path / "workspace")
    (licence,) = corpus.run(config, workspace)["licences"]
    assert (licence["source"], licence["licence"]) == ("authored pack 'our_desk'", "the operator's own")
    assert set(Tokenizer.load(workspace.path("tokenizer.json")).plans) == set(load_pack("card_desk").plans)
