"""`python -m training base · prune · lengthen · run · eval · …`: results on stdout, logs and progress on stderr.

Exit codes: 0 done (also when there is too little feedback yet), 1 a named error, 3 the gate refused, 4 another
version came first, 5 the loss stopped being a number.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch

from model_store.backends.places import open_backend
from model_store.backends.protocol import RunOutcome
from model_store.bundle import open_bundle
from model_store.erasures import ERASURES_NAME, read_erasures
from model_store.errors import AliasConflictError, StoreError
from model_store.intents.intent_model import IntentModel
from model_store.signing import SigningKey
from model_store.store import DEFAULT_BUNDLE, ModelStore
from training import distributed
from training.canary.evidence import gather, read_rated, read_served
from training.canary.judge import judge
from training.canary.release import act
from training.canary.report import NO_CANARY, judgement_fields, judgement_text
from training.config import TrainingConfig, load_config
from training.data_commands import add_data_commands
from training.errors import DivergedError, InvalidConfigError, SeveralProcessesError, TrainingError, WorkspaceError
from training.evaluation.dialogues.asking_back import SERVICE_RULES_FILE
from training.evaluation.explanations.page import explanation_page
from training.evaluation.explanations.sources import newest_run, open_explainer, read_exported, read_stored
from training.evaluation.report import evaluate_bundle
from training.evaluation.reporting.files import evaluation_json, evaluation_text, write_evaluation
from training.forgetting import forget
from training.pipeline import (
    BASE_STAGES,
    INTENT_STAGES,
    LENGTHEN_STAGES,
    PRUNE_STAGES,
    RUN_STAGES,
    ExitCode,
    Outcome,
    Stage,
    run_pipeline,
)
from training.precision import kept_to
from training.workspace import Workspace

_DEFAULT_CONFIG = Path("training/configs/small.yaml")
_PRUNING_CONFIG = Path("training/configs/prune.yaml")
_LENGTHENING_CONFIG = Path("training/configs/long.yaml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        return int(options.run(options))
    except (TrainingError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return int(ExitCode.DIVERGED if isinstance(error, DivergedError) else ExitCode.FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="The offline training job.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    data_dir = Path(os.environ.get("DATA_DIR") or "data")
    base = commands.add_parser("base", help="make a base model from dialogues")
    _add_job_arguments(base)
    base_data = "folder of uniform JSON lines (*.jsonl.gz) besides the authored pack"
    base.add_argument("--data-dir", type=Path, help=base_data)
    base.set_defaults(run=_run_base)
    intents = commands.add_parser("intents", help="make the intent model alone, from an authored pack's asks")
    _add_job_arguments(intents)
    intents.add_argument("--data-dir", type=Path, help=base_data)
    intents.set_defaults(run=_run_intents)
    pruning = commands.add_parser("prune", help="make a smaller bundle of one, and print what that costs")
    _add_job_arguments(pruning)
    pruning.set_defaults(run=_run_pruning, config=_PRUNING_CONFIG)
    lengthening = commands.add_parser("lengthen", help="make a bundle that reads long conversations of one")
    _add_job_arguments(lengthening)
    lengthening.add_argument("bundle", nargs="?", type=Path, help="folder of the bundle; default: the configuration's")
    lengthening.add_argument("--data-dir", type=Path, help=base_data)
    lengthening.set_defaults(run=_run_lengthening, config=_LENGTHENING_CONFIG)
    _add_learning(commands, data_dir)
    judging = commands.add_parser("judge-canary", help="promote the candidate, wait, or roll it back, by its thumbs")
    judging.add_argument("--config", type=Path, default=_DEFAULT_CONFIG, help="its section `canary` holds the rules")
    _add_feedback_arguments(judging, data_dir)
    judging.add_argument("--apply", action="store_true", help="move the alias; without it the move is only printed")
    judging.add_argument("--json", action="store_true", help="print one JSON object")
    judging.set_defaults(run=_judge_canary)
    _add_evaluation(commands)
    _add_explaining(commands, data_dir)
    _add_forgetting(commands, data_dir)
    add_data_commands(commands)
    return parser


def _add_learning(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", data_dir: Path) -> None:
    run = commands.add_parser("run", help="learn from stored thumbs, gate, publish")
    _add_job_arguments(run)
    _add_feedback_arguments(run, data_dir).add_argument(
        "--feedback-parquet",
        metavar="PLACE",
        type=Path,
        help="Parquet file of training_examples, or a folder of them: any number of ratings, weighed on disk",
    )
    for name, table in (("turns", "conversation_turns"), ("preferences", "preference_examples")):
        exported = f"`python -m service export --table {table}`"
        run.add_argument(f"--{name}-file", type=Path, help=f"beside feedback files: {exported}")
    _add_erasures(run, data_dir)
    _add_signing_key(run)
    run.set_defaults(run=_run_learning)


def _add_evaluation(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    evaluation = commands.add_parser("eval", help="measure a bundle on all that was written to measure with")
    evaluation.add_argument("bundle", nargs="?", type=Path, default=DEFAULT_BUNDLE, help="folder of the bundle")
    evaluation.add_argument("--against", type=Path, help="another bundle, to say what has changed since")
    evaluation.add_argument("--config", type=Path, default=_DEFAULT_CONFIG)
    evaluation.add_argument("--data-dir", type=Path, help="folder of uniform JSON lines: public data is read as well")
    evaluation.add_argument("--plan-rules", type=Path, default=SERVICE_RULES_FILE, help="the service's plan rules")
    evaluation.add_argument("--network-alone", action="store_true", help="without the service's intent model")
    evaluation.add_argument("--output", type=Path, help="folder for the report as text and JSON, and pages to read")
    evaluation.set_defaults(run=_evaluate)


def _add_explaining(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", data_dir: Path) -> None:
    explaining = commands.add_parser("explain", help="say why a stored completion scores as it does")
    explaining.add_argument("completion", help="its id")
    explaining.add_argument("--config", type=Path, default=_DEFAULT_CONFIG)
    explaining.add_argument("--workspace", type=Path, help="the run whose reward model is asked; without it the newest")
    explaining.add_argument("--output", type=Path, help="a file for the page to read")
    _add_feedback_arguments(explaining, data_dir)
    explaining.set_defaults(run=_explain)


def _add_forgetting(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", data_dir: Path) -> None:
    forgetting = commands.add_parser("forget", help="take erased conversations out of what runs have kept")
    forgetting.add_argument("--runs", type=Path, help="folder of workspaces; default: where runs keep theirs")
    forgetting.add_argument("--json", action="store_true", help="print one JSON object a run")
    _add_erasures(forgetting, data_dir)
    forgetting.set_defaults(run=_forget)


def _add_erasures(parser: argparse.ArgumentParser, data_dir: Path) -> None:
    path = os.environ.get("SERVICE_ERASURES_FILE") or data_dir / ERASURES_NAME
    parser.add_argument("--erasures", type=Path, default=Path(path), help="the service's list of what was erased")


def _add_job_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, default=_DEFAULT_CONFIG)
    parser.add_argument("--workspace", type=Path, help="where the run keeps its state; name it again to resume")
    parser.add_argument("--json", action="store_true", help="print every stage's result as one JSON object")


def _add_feedback_arguments(parser: argparse.ArgumentParser, data_dir: Path) -> "argparse._MutuallyExclusiveGroup":
    """Gives the sources, of which one can be named."""
    source = parser.add_mutually_exclusive_group()
    database = os.environ.get("SERVICE_DATABASE_URL") or f"sqlite:///{data_dir}/rejoinder.db"
    source.add_argument("--database-url", default=database, help="the service's database")
    source.add_argument("--feedback-file", type=Path, help="JSON lines from `python -m service export-feedback`")
    store = os.environ.get("MODEL_STORE") or str(data_dir / "models")
    parser.add_argument("--model-store", metavar="PLACE", default=store, help="a path or s3://…")
    return source


def _add_signing_key(parser: argparse.ArgumentParser) -> None:
    path = os.environ.get("MODEL_SIGNING_KEY")
    parser.add_argument(
        "--signing-key", type=Path, default=Path(path) if path else None, help="PEM file; the new version is signed"
    )


def _run_base(options: argparse.Namespace) -> int:
    config = _base_config(options)
    if not config.makes_base:
        raise InvalidConfigError(
            path=options.config, problem="a base needs pretrain and finetune, or polish alone, and no pruning"
        )
    return _make(BASE_STAGES, options, config, "base")


def _run_intents(options: argparse.Namespace) -> int:
    config = _base_config(options)
    if config.plan_teacher.kind != "encoder":
        raise InvalidConfigError(path=options.config, problem="plan_teacher.kind must be encoder")
    return _make(INTENT_STAGES, options, config, "intents")


def _run_pruning(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    if config.pruning is None:
        raise InvalidConfigError(path=options.config, problem="it has no section pruning")
    return _make(PRUNE_STAGES, options, config, "prune")


def _run_lengthening(options: argparse.Namespace) -> int:
    config = _base_config(options)
    if options.bundle:
        config = config.model_copy(update={"model": config.model.model_copy(update={"start_from": options.bundle})})
    if config.lengthening is None or config.model.start_from is None:
        raise InvalidConfigError(path=options.config, problem="it needs a section lengthening and model.start_from")
    return _make(LENGTHEN_STAGES, options, config, "lengthen")


def _make(stages: Mapping[str, Stage], options: argparse.Namespace, config: TrainingConfig, kind: str) -> int:
    if _num_processes() != 1:
        raise SeveralProcessesError(num_processes=_num_processes(), job=kind)
    workspace = _open_workspace(options, config, kind)
    with kept_to(config.precision):
        return _report(run_pipeline(stages, config, workspace), workspace, as_json=options.json)


def _base_config(options: argparse.Namespace) -> TrainingConfig:
    config = load_config(options.config)
    if not options.data_dir:
        return config
    return config.model_copy(update={"corpus": config.corpus.model_copy(update={"uniform_data_dir": options.data_dir})})


def _run_learning(options: argparse.Namespace) -> int:
    """Alone, or with the other processes that torchrun started: of these the first one writes and prints."""
    if _num_processes() == 1 and {"ACCELERATE_USE_CPU", "MASTER_ADDR"} <= os.environ.keys():
        # Of several processes accelerate tells its script where the first one is; with --cpu it leaves them to MPI.
        logging.getLogger("training").warning(
            "accelerate launch was asked for several processes and has started one: name --multi_gpu instead of --cpu"
            " (no GPU is needed), or use torchrun"
        )
    with distributed.together(_num_processes()):
        if not distributed.is_first():
            logging.getLogger().setLevel(logging.WARNING)
        return _learn(options)


def _learn(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    workspace = _open_workspace(options, config, "learn")
    inputs = workspace.result("inputs") or {}
    source = _source(options)
    places = {"model_store": str(options.model_store), "erasures": str(options.erasures)}
    if options.signing_key is not None and distributed.is_first():
        SigningKey.load(options.signing_key)  # an hour of learning must not end at a wrong path
        source["signing_key"] = str(options.signing_key)
    workspace.save_result("inputs", {**inputs, **source, **places})
    outcome = None
    try:
        with kept_to(config.precision):
            outcome = run_pipeline(RUN_STAGES, config, workspace)
    finally:  # a run that is ended from outside leaves no note: its age tells
        if distributed.is_first():
            _note_end(ModelStore(open_backend(options.model_store)), outcome)
    return _report(outcome, workspace, as_json=options.json) if distributed.is_first() else int(outcome.exit_code)


def _source(options: argparse.Namespace) -> dict[str, str]:
    """Where ratings come from, as a run's inputs name it."""
    beside = {name: str(getattr(options, name) or "") for name in ("turns_file", "preferences_file")}
    if options.feedback_parquet:
        return {"feedback_parquet": str(options.feedback_parquet), **beside}
    if options.feedback_file:
        return {"feedback_file": str(options.feedback_file), **beside}
    return {"database_url": options.database_url}


def _note_end(store: ModelStore, outcome: Outcome | None) -> None:
    """Leaves on the shelf how the run ended, where the service finds it for its metrics; None: it failed."""
    try:
        store.note_run(_run_outcome(outcome))
    except StoreError as error:
        logging.getLogger("training").warning("the end of this run could not be noted: %s", error)


def _run_outcome(outcome: Outcome | None) -> RunOutcome:
    if outcome is None:
        return RunOutcome.FAILED
    if outcome.exit_code is ExitCode.DONE:
        return RunOutcome.PUBLISHED if "publish" in outcome.results else RunOutcome.TOO_LITTLE_FEEDBACK
    return RunOutcome.REFUSED if outcome.exit_code is ExitCode.REFUSED else RunOutcome.OVERTAKEN


def _judge_canary(options: argparse.Namespace) -> int:
    """Any verdict is exit code 0; 4 when the alias moved while thumbs were counted."""
    rules = load_config(options.config).canary
    store = ModelStore(open_backend(options.model_store))
    release = store.release()
    if release.candidate is None:
        print(json.dumps({"verdict": None, "reason": NO_CANARY}) if options.json else NO_CANARY)
        return 0
    from_file = options.feedback_file is not None
    rows = read_rated(options.feedback_file, release) if from_file else read_served(options.database_url, release)
    stable, candidate = gather(rows, release, max_ratings_per_rater=rules.max_ratings_per_rater)
    judgement = judge(stable, candidate, rules)
    try:
        planned = act(store, release, judgement, is_dry_run=not options.apply)
    except AliasConflictError as conflict:
        print(f"error: {conflict}", file=sys.stderr)
        return int(ExitCode.OVERTAKEN)
    if options.json:
        print(json.dumps(judgement_fields(judgement, release, planned), ensure_ascii=False))
    else:
        print(judgement_text(judgement, release, planned))
    return 0


def _runs_folder() -> Path:
    data_dir = os.environ.get("DATA_DIR")
    return Path(data_dir) / "runs" if data_dir else Path("runs")


def _open_workspace(options: argparse.Namespace, config: TrainingConfig, kind: str) -> Workspace:
    """The named workspace, or a new one under `runs/`; remembers when its run began.

    Raises WorkspaceError where processes that share a run do not share the folder.
    """
    torch.set_num_threads(config.num_threads)
    now = datetime.now(UTC)
    root = Path(distributed.from_first(str(options.workspace or _runs_folder() / f"{kind}-{now:%Y%m%d-%H%M%S}")))
    workspace = Workspace(root)
    if workspace.result("inputs") is None:
        workspace.save_result("inputs", {"created_at": now.isoformat(timespec="seconds")})
    began = distributed.from_first((workspace.result("inputs") or {}).get("created_at"))
    if (workspace.result("inputs") or {}).get("created_at") != began:
        raise WorkspaceError(path=root, problem="the first process wrote into another folder of this name")
    logging.getLogger("training").info("workspace %s", root)
    return workspace


def _num_processes() -> int:
    """How many share this job, as torchrun and `accelerate launch --multi_gpu` tell it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _forget(options: argparse.Namespace) -> int:
    for run in forget(options.runs or _runs_folder(), read_erasures(options.erasures)):
        if options.json:
            print(json.dumps(asdict(run)))
            continue
        learned = f"version {run.version} learned from them" if run.version else "no version came of it"
        print(f"{run.workspace}: {run.num_rows} rows taken out; {learned}.")
    return 0


def _report(outcome: Outcome, workspace: Workspace, *, as_json: bool) -> int:
    if as_json:
        print(
            json.dumps(
                {"exit_code": outcome.exit_code, "message": outcome.message, **outcome.results}, ensure_ascii=False
            )
        )
    else:
        print(outcome.message)
        print(f"Details: {workspace.root}")
    return int(outcome.exit_code)


def _evaluate(options: argparse.Namespace) -> int:
    """Tables for people, and one JSON object with the same figures as the last line."""
    config = load_config(options.config)
    torch.set_num_threads(config.num_threads)
    measure = partial(
        evaluate_bundle,
        pack_name=config.corpus.domain_pack,
        intents=None if options.network_alone else IntentModel.load(),
        data_dir=options.data_dir,
        plan_rules=options.plan_rules,
    )
    evaluation = measure(open_bundle(options.bundle))
    against = measure(open_bundle(options.against)) if options.against else None
    if options.output:
        write_evaluation(options.output, evaluation, against)
    print(evaluation_text(evaluation, against))
    print(evaluation_json(evaluation, against))
    return 0


def _explain(options: argparse.Namespace) -> int:
    """One JSON object, and with `--output` the same as a page."""
    config = load_config(options.config)
    torch.set_num_threads(config.num_threads)
    if options.feedback_file:
        stored, rows = read_exported(options.completion, options.feedback_file)
    else:
        stored, rows = read_stored(options.completion, options.database_url)
    found = open_explainer(options.workspace or newest_run(_runs_folder()), config, rows).explain(stored)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(explanation_page(found), encoding="utf-8")
    print(found.model_dump_json(indent=1))
    return 0
