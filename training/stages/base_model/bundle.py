"""Base bundle: the fine-tuned base model as a bundle, ready to ship or to be published as the first version.

Left out: a gate. There is nothing to compare a first model with; `evaluate` measures every later one against its
parent.
"""

import math
from collections.abc import Mapping, Sequence

from model_store.bundle import open_bundle
from model_store.contract.manifest import DataLicence, Lineage
from model_store.contract.tokenizer import Tokenizer
from training.config import TrainingConfig
from training.data.domain_pack import load_pack
from training.evaluation.ability import ability_by_language, answer_everything
from training.evaluation.judge import pack_judge
from training.evaluation.scorecard import authored_perplexity
from training.reformer.model import ReformerPolicy, load_policy
from training.stages.export import ReleaseNotes, export_bundle, text_sample
from training.workspace import StageResult, Workspace

BASE_BUNDLE_NAME = "bundle"


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Writes `bundle`. Result: its digest, where it lies, its measured figures. Raises ExportRefusedError."""
    last_stage, checkpoint = ("polish", "polished") if config.polish else ("finetune", "finetuned")
    policy = load_policy(workspace.path(checkpoint))
    tokenizer_file = workspace.path("tokenizer.json")
    tokenizer = Tokenizer.load(tokenizer_file)
    tuned, corpus = workspace.result(last_stage) or {}, workspace.result("corpus") or {}
    pack = load_pack(config.corpus.domain_pack)
    metrics = {
        "validation_perplexity": math.exp(tuned["validation_loss"]),
        **_measure(policy, tokenizer, config),
    }
    notes = ReleaseNotes(
        name=config.name,
        created_at=str((workspace.result("inputs") or {})["created_at"]),
        lineage=Lineage(
            parent=(workspace.result("message_summary") or {}).get("started_from"),
            config=config.digest,
            stages=_stages(config),
        ),
        licences=_licences(config, corpus["licences"]),
        metrics=metrics,
        languages=pack.languages,
        weights=config.export.weights,
    )
    destination = workspace.path(BASE_BUNDLE_NAME)
    manifest = export_bundle(policy, tokenizer_file, destination, notes, text_sample(pack, tokenizer))
    return {"digest": manifest.digest, "directory": str(destination), "metrics": manifest.metrics}


def _licences(config: TrainingConfig, own: Sequence[Mapping[str, object]]) -> tuple[DataLicence, ...]:
    """What this run read, and what the bundle had read that it started from."""
    read = [DataLicence.model_validate(licence) for licence in own]
    if config.model.start_from is None:
        return tuple(read)
    known = {licence.source for licence in read}
    before = open_bundle(config.model.start_from).manifest.licences
    return (*read, *(licence for licence in before if licence.source not in known))


def _stages(config: TrainingConfig) -> tuple[str, ...]:
    """The stages that this configuration has something to do in, in their order."""
    is_taught = config.plan_teacher.kind == "encoder"
    optional = [("plan_teacher", is_taught), ("message_summary", config.model.message_summary)]
    used = tuple(name for name, is_used in optional if is_used)
    pruned = ("pruning",) if config.pruning is not None else ()
    tuned = [name for name in ("pretrain", "finetune", "polish") if getattr(config, name) is not None]
    return (*used, *pruned, *tuned)


def _measure(policy: ReformerPolicy, tokenizer: Tokenizer, config: TrainingConfig) -> dict[str, float]:
    """Figures of greedy replies to every held-out ask; those that languages differ in, by language."""
    pack = load_pack(config.corpus.domain_pack)
    judge = pack_judge(config.corpus.domain_pack)
    replies = answer_everything(policy, tokenizer, pack, config.policy.max_completion_tokens)
    perplexity = authored_perplexity(policy, tokenizer, [reply.prompt for reply in replies])
    metrics = {"intent_fit_ceiling": judge.ceiling(), "perplexity": perplexity}
    for language, ability in ability_by_language(replies, tokenizer, judge).items():
        figures = ability.model_dump(exclude={"num_prompts"})
        metrics.update({f"{name}_{language}": figure["value"] for name, figure in figures.items()})
    return metrics
