"""Base bundle: the fine-tuned base model as a bundle, ready to ship or to be published as the first version.

Left out: a gate. There is nothing to compare a first model with; `evaluate` measures every later one against its
parent.
"""

import math

from model_store.contract.manifest import DataLicence, Lineage
from model_store.contract.tokenizer import Tokenizer
from training.config import TrainingConfig
from training.data.domain_pack import load_pack
from training.evaluation.held_out import Sampling, gate_prompts, outside_prompts, sample_replies
from training.evaluation.judge import pack_judge
from training.evaluation.scorecard import authored_perplexity, policy_figures
from training.reformer.model import ReformerPolicy, load_policy
from training.stages.export import ReleaseNotes, export_bundle, text_sample
from training.workspace import StageResult, Workspace

BASE_BUNDLE_NAME = "bundle"
_ALL = 10_000


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Writes `bundle`. Result: its digest, where it lies, its measured figures. Raises ExportRefusedError."""
    policy = load_policy(workspace.path("finetuned"))
    tokenizer_file = workspace.path("tokenizer.json")
    tokenizer = Tokenizer.load(tokenizer_file)
    finetuned, corpus = workspace.result("finetune") or {}, workspace.result("corpus") or {}
    pack = load_pack(config.corpus.domain_pack)
    metrics = {
        "validation_perplexity": math.exp(finetuned["validation_loss"]),
        **_measure(policy, tokenizer, config),
    }
    notes = ReleaseNotes(
        name=config.name,
        created_at=str((workspace.result("inputs") or {})["created_at"]),
        lineage=Lineage(config=config.digest, stages=("pretrain", "finetune")),
        licences=tuple(DataLicence.model_validate(licence) for licence in corpus["licences"]),
        metrics=metrics,
        weights=config.export.weights,
    )
    destination = workspace.path(BASE_BUNDLE_NAME)
    manifest = export_bundle(policy, tokenizer_file, destination, notes, text_sample(pack, tokenizer))
    return {"digest": manifest.digest, "directory": str(destination), "metrics": manifest.metrics}


def _measure(policy: ReformerPolicy, tokenizer: Tokenizer, config: TrainingConfig) -> dict[str, float]:
    """Figures of greedy replies to every held-out ask, by language where that matters."""
    pack = load_pack(config.corpus.domain_pack)
    judge = pack_judge(config.corpus.domain_pack)
    prompts = [*gate_prompts(pack, _ALL), *outside_prompts(pack, _ALL)]
    sampling = Sampling(temperature=0.0, max_new_tokens=config.policy.max_completion_tokens)
    replies = sample_replies(policy, tokenizer, prompts, sampling)
    figures = policy_figures(replies, judge, perplexity=authored_perplexity(policy, tokenizer, prompts))
    metrics = {
        "intent_fit": figures.intent_fit.value,
        "intent_fit_ceiling": judge.ceiling(),
        "language_match": figures.language_match.value,
        "proper_endings": figures.proper_endings.value,
        "invented_digits": figures.invented_digits.value,
        "perplexity": figures.perplexity,
    }
    for language in sorted({prompt.language for prompt in prompts}):
        own = [reply for reply in replies if reply.prompt.language == language]
        fits = judge.fits([reply.prompt.intent for reply in own], [reply.text for reply in own])
        metrics[f"intent_fit_{language}"] = sum(fits) / len(fits)
    return metrics
