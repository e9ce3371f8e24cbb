"""A bundle of an untrained network, and a small pack for it: what jobs that start from a bundle are tried on."""

import shutil
from pathlib import Path

from model_store.contract.manifest import Lineage
from model_store.contract.tokenizer import Tokenizer
from training.config import TrainingConfig
from training.data.domain_pack import PACKS_DIRECTORY, load_pack
from training.reformer.model import new_policy
from training.stages.base_model import corpus
from training.stages.export import ReleaseNotes, export_bundle, text_sample
from training.workspace import Workspace


def make_pack(folder: Path) -> Path:
    """A pack in one language and without development asks."""
    shutil.copytree(PACKS_DIRECTORY / "card_desk" / "en", folder / "en")
    shutil.copy(PACKS_DIRECTORY / "card_desk" / "slots.yaml", folder)
    return folder


def make_bundle(config: TrainingConfig, root: Path) -> Path:
    """A bundle of an untrained network with the pack's plans."""
    workspace = Workspace(root)
    corpus.run(config, workspace)
    tokenizer_file = workspace.path("tokenizer.json")
    notes = ReleaseNotes(
        name="whole",
        created_at="2026-01-01T00:00:00Z",
        lineage=Lineage(config=config.digest, stages=("pretrain",)),
        licences=(),
        metrics={},
        languages=("en",),
        weights="float32",
    )
    sample = text_sample(load_pack(config.corpus.domain_pack), Tokenizer.load(tokenizer_file))
    policy = new_policy(config.model.architecture(), seed=1)
    export_bundle(policy, tokenizer_file, workspace.path("bundle"), notes, sample)
    return workspace.path("bundle")
