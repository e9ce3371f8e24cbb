"""A whole learning job of the small network: a real shelf, a run's workspace over rows of ratings, and what came of it.

The runs are those of `python -m training run`, stage by stage.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from model_store.backends.places import open_backend
from model_store.backends.protocol import Alias
from model_store.bundle import Bundle
from model_store.contract.manifest import DataLicence, Lineage
from model_store.contract.tokenizer import Tokenizer
from model_store.store import ModelStore
from training.config import TrainingConfig
from training.data.domain_pack import load_pack
from training.data.feedback_rows import RawRow
from training.evaluation.held_out import known_phrases
from training.pipeline import RUN_STAGES, Outcome, run_pipeline
from training.precision import kept_to
from training.reformer.model import ReformerPolicy, load_policy
from training.stages.export import ReleaseNotes, export_bundle, text_sample
from training.workspace import Workspace

_CREATED_AT = "2026-01-01T00:00:00+00:00"


def shelf(folder: Path) -> ModelStore:
    """The shelf that lies in a folder."""
    return ModelStore(open_backend(str(folder)))


def publish_first(store: ModelStore, base: Path, config: TrainingConfig, destination: Path) -> None:
    """Exports the base network into `destination` and makes it the stable version, where there is none yet."""
    if store.history(Alias.STABLE):
        return
    pack, tokenizer_file = load_pack(config.corpus.domain_pack), base / "tokenizer.json"
    notes = ReleaseNotes(
        name=config.name,
        created_at=_CREATED_AT,
        lineage=Lineage(config=config.digest, stages=("pretrain", "finetune")),
        licences=(DataLicence(source="authored", licence="Apache-2.0", num_rows=1),),
        metrics={},
        languages=pack.languages,
        weights=config.export.weights,
    )
    sample = text_sample(pack, Tokenizer.load(tokenizer_file))
    export_bundle(load_policy(base), tokenizer_file, destination, notes, sample)
    store.promote(Alias.STABLE, store.publish(destination), reason="first")


def as_served(bundle: Bundle) -> ReformerPolicy:
    """A version, kept to the phrases that it is kept to where it is served."""
    policy = load_policy(bundle.directory)
    policy.phrases = known_phrases(bundle.directory, policy)
    return policy


def as_lines(rows: Sequence[RawRow]) -> str:
    """Rows of ratings as an export has them."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def learn(config: TrainingConfig, root: Path, ratings: str, models: Path) -> tuple[Outcome, Workspace]:
    """A run in the workspace `root` over lines of ratings, from the stable version of that shelf; goes on by itself."""
    workspace = Workspace(root)
    workspace.write_text("ratings.jsonl", ratings)
    places = {"feedback_file": str(workspace.path("ratings.jsonl")), "model_store": str(models)}
    workspace.save_result("inputs", {"created_at": _CREATED_AT, **places})
    with kept_to(config.precision):
        return run_pipeline(RUN_STAGES, config, workspace), workspace


def candidate(workspace: Workspace) -> ReformerPolicy:
    """What a run learned, published or not, as it would be served."""
    policy = load_policy(workspace.path("policy"))
    policy.phrases = known_phrases(workspace.path("base"), policy)
    return policy
