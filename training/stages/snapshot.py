"""The first stage: freezes what a run rests on, the ratings and the version that they are about.

Later stages read the copies only, so ratings that arrive while the run goes on change nothing. Judging rows is
`curate`'s business.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from model_store.backends.places import open_backend
from model_store.backends.protocol import Alias
from model_store.bundle import Bundle
from model_store.contract.feedback import CONVERSATION_TURNS_COLUMNS, TRAINING_EXAMPLES_COLUMNS
from model_store.contract.manifest import MANIFEST_NAME, Manifest
from model_store.erasures import ErasureList, read_erasures
from model_store.replies import CONDITIONS_NAME, OLDER_NAMES, ORDER_NAME, REPLIES_NAME
from model_store.store import ModelStore
from training.config import TrainingConfig
from training.data.feedback_rows import RawRow, read_export, read_turns, read_view
from training.data.preferences import PREFERENCES_NAME, preferences_text, read_preference_rows
from training.errors import DataNotFoundError
from training.stages.curation.many.parquet import digest_and_newest, freeze, num_ratings
from training.workspace import StageResult, Workspace

SNAPSHOT_NAME = "snapshot.jsonl"
PARQUET_NAME = "snapshot.parquet"
"""All ratings of a run that takes them from Parquet; `SNAPSHOT_NAME` then has the newest of them."""
TURNS_NAME = "turns.jsonl"
BASE_NAME = "base"
FIRST_NAME = "first"
CHECKPOINT_FILES = ("config.json", "model.safetensors", "tokenizer.json")
"""What training needs of a bundle."""
KNOWN_REPLIES = (REPLIES_NAME, ORDER_NAME, CONDITIONS_NAME, *OLDER_NAMES.values())
"""What its wording is kept to where it is served, which an older bundle lacks: without them the gate would measure
replies that nobody gets, and what corrections have taught would end with the next version."""


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Copies ratings, what was said beside them, and the base version into the workspace.

    Result: `num_rows`; `num_preferences`; `data_snapshot`, sha256 of both; `num_turns`, rated or not; `parent`, digest
    of the version behind `stable`; `first_version`, that of the first of its line, None where it is that itself, and
    `versions_since_first`; `generation`, that of the alias the gate will move (0: never set). Raises
    DataNotFoundError, ImportFormatError, InvalidFeedbackDataError and what `ModelStore.open` raises.
    """
    inputs = workspace.result("inputs") or {}
    erased = read_erasures(Path(inputs["erasures"])) if "erasures" in inputs else ErasureList(())
    turns = turns_text(
        _without(erased, _read_turns(inputs, config.feedback.max_turns)), max_turns=config.feedback.max_turns
    )
    workspace.write_text(TURNS_NAME, turns)
    preferred = _without(erased, read_preference_rows(inputs))
    preferences = preferences_text(preferred, max_rows=config.feedback.max_ratings)
    workspace.write_text(PREFERENCES_NAME, preferences)
    num_rows, data_snapshot = _freeze_ratings(config, workspace, inputs, erased, preferences)
    store = ModelStore(open_backend(inputs["model_store"]))
    moves = store.history(config.gate.alias)
    bundle = store.open(Alias.STABLE)
    copy_checkpoint(bundle, workspace.path(BASE_NAME))
    line = line_of(store, bundle.manifest, config.gate.first_version)
    if len(line) > 1:
        copy_checkpoint(store.open(line[-1]), workspace.path(FIRST_NAME))
    return {
        "num_rows": num_rows,
        "num_turns": turns.count("\n"),
        "num_preferences": preferences.count("\n"),
        "data_snapshot": data_snapshot,
        "parent": bundle.digest,
        "parent_name": bundle.manifest.name,
        "first_version": line[-1] if len(line) > 1 else None,
        "versions_since_first": len(line) - 1,
        "generation": moves[-1].generation if moves else 0,
    }


def _freeze_ratings(
    config: TrainingConfig, workspace: Workspace, inputs: dict[str, str], erased: ErasureList, preferences: str
) -> tuple[int, str]:
    """Writes what later stages read of the ratings; gives their number, and sha256 of them and the preferences."""
    max_rows, parquet = config.feedback.max_ratings, workspace.path(PARQUET_NAME)
    parquet.unlink(missing_ok=True)
    if inputs.get("feedback_parquet"):
        freeze(Path(inputs["feedback_parquet"]), parquet, erased)
        digest, text = digest_and_newest(parquet, max_rows=max_rows, beside=preferences)
        workspace.write_text(SNAPSHOT_NAME, text)
        return num_ratings(parquet), digest
    text = snapshot_text(_without(erased, _read_rows(inputs)), max_rows=max_rows)
    workspace.write_text(SNAPSHOT_NAME, text)
    return text.count("\n"), hashlib.sha256((text + preferences).encode()).hexdigest()


def snapshot_text(rows: list[RawRow], *, max_rows: int) -> str:
    """The newest rows as canonical JSON lines: the same ratings give the same bytes, however they were read."""
    return _canonical(rows, TRAINING_EXAMPLES_COLUMNS, ("rated_at", "completion_id", "rater"), max_rows)


def turns_text(rows: list[RawRow], *, max_turns: int) -> str:
    """The same for finished completions, rated or not."""
    return _canonical(rows, CONVERSATION_TURNS_COLUMNS, ("created_at", "completion_id"), max_turns)


def line_of(store: ModelStore, manifest: Manifest, first: str) -> list[str]:
    """The digests of a version and its parents, the oldest last, as far back as the shelf holds them, or to `first`.

    A parent that reads other tokens, or was published without its weights, is of another line. Raises
    DataNotFoundError where `first` names none of them.
    """
    line, held = [manifest.digest], {version.digest for version in store.versions(verify_contents=False)}
    tokenizer = manifest.files.get("tokenizer.json")
    while not (first and line[-1].startswith(first)) and manifest.lineage.parent in held:
        manifest = store.inspect(str(manifest.lineage.parent))
        if not manifest.files.keys() >= set(CHECKPOINT_FILES) or manifest.files["tokenizer.json"] != tokenizer:
            break
        line.append(manifest.digest)
    if first and not line[-1].startswith(first):
        raise DataNotFoundError(
            what=f"Version {first} (gate.first_version)",
            path=store.location,
            remedy="Name the stable version or one that it was made of; leave it out for the oldest of these.",
        )
    return line


def copy_checkpoint(bundle: Bundle, directory: Path) -> None:
    """Copies a verified version's training files, known replies and manifest into a fresh directory.

    Raises DataNotFoundError for a version that was published without them.
    """
    absent = [name for name in CHECKPOINT_FILES if name not in bundle.manifest.files]
    if absent:
        raise DataNotFoundError(
            what=f"The file {absent[0]} of version {bundle.digest}",
            path=bundle.directory,
            remedy="Only a version that was published with its weights can be trained further.",
        )
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name in (*CHECKPOINT_FILES, *bundle.manifest.files.keys() & set(KNOWN_REPLIES)):
        (directory / name).write_bytes(bundle.read_bytes(name))
    (directory / MANIFEST_NAME).write_bytes(bundle.manifest.canonical_bytes())


def _canonical(rows: list[RawRow], columns: Sequence[str], order: Sequence[str], max_rows: int) -> str:
    canonical = [{name: row.get(name) for name in columns} for row in rows]
    canonical.sort(key=lambda row: [str(row[name]) for name in order])
    lines = [json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":")) for row in canonical]
    return "".join(line + "\n" for line in lines[max(0, len(lines) - max_rows) :])


def _without(erased: ErasureList, rows: list[RawRow]) -> list[RawRow]:
    """An export, or a database that was restored, may still hold what was erased since."""
    return [row for row in rows if not erased.covers(row)]


def _read_rows(inputs: dict[str, str]) -> list[RawRow]:
    if inputs.get("feedback_file"):
        return read_export(Path(inputs["feedback_file"]))
    return read_view(inputs["database_url"])


def _read_turns(inputs: dict[str, str], max_turns: int) -> list[RawRow]:
    """None where ratings come from a file without one beside it."""
    if inputs.get("turns_file"):
        return read_export(Path(inputs["turns_file"]))
    if inputs.get("feedback_parquet"):
        return []
    return read_turns(inputs["database_url"], max_turns=max_turns) if inputs.get("database_url") else []
