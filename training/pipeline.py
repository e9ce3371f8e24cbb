"""The ordered stages of the jobs: START READING HERE.

`BASE_STAGES` make the first model from dialogues; `RUN_STAGES` turn people's thumbs into the next version;
`PRUNE_STAGES` make a bundle smaller, `LENGTHEN_STAGES` let it read long conversations. A finished stage leaves its
result in the workspace and is not run again, so a killed run goes on where it was. When the configuration has changed
since, the stages that it concerns are run again, and with them all that come after.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from training import distributed
from training.config import TrainingConfig
from training.stages import curate, evaluate, export, gate, policy, publish, reward_model, served_graph, snapshot
from training.stages.base_model import bundle, corpus, intent_model, language_modeling, message_summary, plan_teacher
from training.stages.lengthening import bundle as long_bundle
from training.stages.lengthening import gap, lengthen, texts
from training.stages.pruning import prune, trade
from training.workspace import StageResult, Workspace

Stage = Callable[[TrainingConfig, Workspace], StageResult]

NEW_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "plan_teacher": ("seed", "corpus.domain_pack", "corpus.uniform_data_dir", "plan_teacher"),
    "intent_model": (),
    "corpus": (
        "corpus",
        "model.vocab_size",
        *(f"{stage}.source_shares" for stage in ("pretrain", "finetune", "polish")),
    ),
    "message_summary": ("model", "message_summary"),
    "prune": ("pruning", "polish", "model.start_from"),
    "pretrain": ("pretrain",),
    "finetune": ("finetune",),
    "polish": ("polish",),
    "base_bundle": ("",),
    "long_texts": ("seed", "corpus", "lengthening", "model.start_from"),
    "lengthen": (),
    "long_gap": (),
}
"""What of the configuration a stage depends on beside what the stages before it do; "", and for others: all of it."""

BASE_STAGES: Mapping[str, Stage] = {
    "plan_teacher": plan_teacher.run,
    "intent_model": intent_model.run,
    "corpus": corpus.run,
    "message_summary": message_summary.run,
    "pretrain": language_modeling.run_pretrain,
    "finetune": language_modeling.run_finetune,
    "polish": language_modeling.run_polish,
    "base_bundle": bundle.run,
}
INTENT_STAGES: Mapping[str, Stage] = {name: BASE_STAGES[name] for name in ("plan_teacher", "intent_model")}
"""Of these, what makes the intent model alone: a shop's new asks are heard without a new base."""
PRUNE_STAGES: Mapping[str, Stage] = {
    "corpus": corpus.run,
    "message_summary": message_summary.run,
    "prune": prune.run,
    "polish": language_modeling.run_polish,
    "base_bundle": bundle.run,
    "trade": trade.run,
}
"""A smaller bundle of one that goes on learning, and what that cost."""
LENGTHEN_STAGES: Mapping[str, Stage] = {
    "long_texts": texts.run,
    "lengthen": lengthen.run,
    "long_gap": gap.run,
    "base_bundle": long_bundle.run,
}
"""A bundle that reads long conversations, of one that does not; none where hashing loses too much."""
RUN_STAGES: Mapping[str, Stage] = {
    "snapshot": snapshot.run,
    "curate": curate.run,
    "reward_model": reward_model.run,
    "policy": policy.run,
    "evaluate": evaluate.run,
    "served_graph": served_graph.run,
    "gate": gate.run,
    "export": export.run,
    "publish": publish.run,
}

SHARED_STAGES = frozenset({"reward_model", "policy", "evaluate"})
"""What several processes compute together; all else is the first one's, and the others wait for its result."""

_log = logging.getLogger("training")


class ExitCode(IntEnum):
    """How a run ends. A refusal and too little feedback are outcomes, not crashes."""

    DONE = 0
    FAILED = 1
    REFUSED = 3
    OVERTAKEN = 4
    DIVERGED = 5
    """The loss stopped being a number, again and again: to try once more would end the same."""


@dataclass(frozen=True)
class Outcome:
    """The end of a run: its exit code, one sentence for people, and every stage's result."""

    exit_code: ExitCode
    message: str
    results: Mapping[str, Mapping[str, Any]]


def run_pipeline(stages: Mapping[str, Stage], config: TrainingConfig, workspace: Workspace) -> Outcome:
    """Runs the stages that have no result yet, in order, until one of them ends the run."""
    results: dict[str, Mapping[str, Any]] = {}
    settings: dict[str, Any] = {}
    for number, (name, stage) in enumerate(stages.items(), 1):
        settings |= {path: _setting(config, path) for path in NEW_SETTINGS.get(name, ("",))}
        digest, of_all = _digest(settings), f"{number}/{len(stages)}"
        result = distributed.from_first(_known(name, digest, of_all, workspace) if distributed.is_first() else None)
        if result is None:
            _log.info("stage %s: %s", of_all, name)
            result = distributed.from_first(_made(name, stage, config, workspace))
        else:
            _log.info("stage %s: %s is already done", of_all, name)
        results[name] = result
        if end := _early_end(name, result):
            return Outcome(*end, results)
    return Outcome(ExitCode.DONE, _success(results), results)


def _known(name: str, settings_digest: str, of_all: str, workspace: Workspace) -> Mapping[str, Any] | None:
    """The result that the workspace has of these settings, if any."""
    if workspace.claim(name, settings_digest):
        _log.info("stage %s: %s was made with other settings", of_all, name)
    return workspace.result(name)


def _made(name: str, stage: Stage, config: TrainingConfig, workspace: Workspace) -> Mapping[str, Any]:
    """The stage's new result, kept; of a stage that is not shared, nothing but in the first process."""
    if name in SHARED_STAGES:
        result = dict(stage(config, workspace))
    elif distributed.is_first():
        with distributed.alone():
            result = dict(stage(config, workspace))
    else:
        return {}
    workspace.save_result(name, result)
    return result


def _setting(config: TrainingConfig, path: str) -> Any:
    value: Any = config.model_dump(mode="json")
    for name in filter(None, path.split(".")):
        value = value[name] if value is not None else None
    return value


def _digest(settings: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON form."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _early_end(name: str, result: Mapping[str, Any]) -> tuple[ExitCode, str] | None:
    """Exit code and message when this result ends the run, else None."""
    if name == "curate" and not result["enough"]:
        return ExitCode.DONE, str(result["message"])
    if name == "gate" and not result["accepted"]:
        return ExitCode.REFUSED, "The gate refused the candidate: " + " ".join(result["reasons"])
    if name == "publish" and not result["promoted"]:
        return ExitCode.OVERTAKEN, str(result["message"])
    return None


def _success(results: Mapping[str, Mapping[str, Any]]) -> str:
    if published := results.get("publish"):
        place = f"{published['alias']} (generation {published['generation']})"
        gate = results.get("gate") or {}
        more = [*gate.get("not_measured", ()), *filter(None, [gate.get("ratings_plan")])]
        return " ".join([f"Version {published['digest'][:12]} is published as {place}.", *more])
    if measured := results.get("trade"):
        return trade.trade_table(trade.Trade.model_validate(measured))
    if "base_bundle" not in results:
        return f"The intent model is made; of the development asks it hears {_shares(results['intent_model'])} right."
    return f"The bundle {results['base_bundle']['digest'][:12]} lies in {results['base_bundle']['directory']}."


def _shares(result: Mapping[str, Any]) -> str:
    shares: Mapping[str, float] = result["right_on_development_asks"]
    return ", ".join(f"{share:.1%} ({language})" for language, share in shares.items())
