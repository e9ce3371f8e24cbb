"""Forgetting: takes erased conversations out of what finished and unfinished runs have kept.

The list of what was erased is the service's (`model_store.erasures`). Weights are not touched, and cannot be: the
versions that learned from an erased conversation are named, to be rolled back or trained again from what is left.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_store.durable import discard, replace_file
from model_store.erasures import ErasureList
from training.errors import WorkspaceError
from training.stages.curation.many.parquet import WORK_FOLDER, digest_and_newest, freeze, num_ratings
from training.stages.reward_model import REPORT_FOLDER
from training.stages.snapshot import PARQUET_NAME, SNAPSHOT_NAME, TURNS_NAME
from training.workspace import Workspace

_KEPT_RESULTS = ("inputs", "snapshot")
_COUNTED = {"num_rows": SNAPSHOT_NAME, "num_turns": TURNS_NAME, "num_preferences": "preferences.jsonl"}
"""What of a snapshot its result counts, where it does."""
NOTE_NAME = "forgotten.json"

_log = logging.getLogger("training")


@dataclass(frozen=True, slots=True)
class ForgottenRun:
    """What was taken out of a run's workspace, and the version that had been trained on it, if there is one."""

    workspace: str
    num_rows: int
    version: str | None
    is_restarted: bool
    """Whether the run had not ended: it begins again after its snapshot."""


def forget(runs: Path, erased: ErasureList) -> list[ForgottenRun]:
    """Cleans every workspace in a folder, or the folder itself where it is one; gives those that had something.

    Not for a run that is going on. Raises WorkspaceError naming a file that cannot be read or written.
    """
    found = []
    for root in workspaces(runs):
        try:
            if (run := _forget_in(root, erased)) is not None:
                found.append(run)
        except (OSError, ValueError) as error:
            raise WorkspaceError(path=root, problem=f"{type(error).__name__}: {error}") from error
    return found


def workspaces(runs: Path) -> Iterator[Path]:
    """Workspaces of learning runs, by name."""
    candidates = [runs, *sorted(runs.iterdir())] if runs.is_dir() else []
    return (path for path in candidates if (path / SNAPSHOT_NAME).is_file())


def _forget_in(root: Path, erased: ErasureList) -> ForgottenRun | None:
    files = sorted(root.rglob("*.jsonl"))
    num_rows = sum(_drop_rows(path, erased) for path in files) + _drop_frozen(root / PARQUET_NAME, erased)
    if num_rows == 0:
        return None
    for path in _may_quote(root, files):
        discard(path)
    workspace = Workspace(root)
    published, gate = workspace.result("publish"), workspace.result("gate")
    is_over = published is not None or (gate is not None and not gate["accepted"])
    if not is_over:
        _begin_again(workspace)
    version = str(published["digest"]) if published else None
    run = ForgottenRun(str(root), num_rows, version, is_restarted=not is_over)
    note = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **asdict(run)}
    replace_file(root / NOTE_NAME, json.dumps(note, indent=1).encode())
    _log.info("%s: %d rows taken out", root, num_rows)
    return run


def _drop_rows(path: Path, erased: ErasureList) -> int:
    """Rewrites a file without the rows of erased conversations; gives their number."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not _is_erased(line, erased)]
    if len(kept) < len(lines):
        replace_file(path, "".join(kept).encode())
    return len(lines) - len(kept)


def _drop_frozen(parquet: Path, erased: ErasureList) -> int:
    """The same for ratings that are frozen as Parquet."""
    if not parquet.is_file():
        return 0
    before, left = num_ratings(parquet), parquet.with_name("left.parquet")
    freeze(parquet, left, erased)
    num_erased = before - num_ratings(left)
    if num_erased:
        os.replace(left, parquet)
    discard(left)
    return num_erased


def _is_erased(line: str, erased: ErasureList) -> bool:
    row = json.loads(line) if line.strip() else None
    return isinstance(row, dict) and erased.covers(row)


def _may_quote(root: Path, files: list[Path]) -> Iterator[Path]:
    """What may repeat prompts without saying whose they are: pages, reports, and rows that name no conversation."""
    yield from root.rglob("*.html")
    yield root / REPORT_FOLDER
    yield root / WORK_FOLDER
    for path in files:
        if path.is_file() and not _names_conversations(path):
            yield path


def _names_conversations(path: Path) -> bool:
    with path.open(encoding="utf-8") as stream:
        first: Any = next((json.loads(line) for line in stream if line.strip()), {})
    return path.name == SNAPSHOT_NAME or (isinstance(first, dict) and "conversation_id" in first)


def _begin_again(workspace: Workspace) -> None:
    """Lets a resumed run learn from what is left: only its inputs and its snapshot are still good."""
    for path in workspace.root.glob("*.result.json"):
        if path.name.removesuffix(".result.json") not in _KEPT_RESULTS:
            path.unlink()
    for path in workspace.root.glob("*.checkpoint.pt"):
        path.unlink()
    if (snapshot := workspace.result("snapshot")) is not None:
        files = {figure: workspace.path(name) for figure, name in _COUNTED.items() if figure in snapshot}
        texts = {figure: path.read_bytes() if path.is_file() else b"" for figure, path in files.items()}
        digest = hashlib.sha256(texts["num_rows"] + texts.get("num_preferences", b"")).hexdigest()
        counts = {name: text.count(b"\n") for name, text in texts.items()}
        if (parquet := workspace.path(PARQUET_NAME)).is_file():
            beside = texts.get("num_preferences", b"").decode()
            digest, _ = digest_and_newest(parquet, max_rows=0, beside=beside)
            counts["num_rows"] = num_ratings(parquet)
        workspace.save_result("snapshot", {**snapshot, **counts, "data_snapshot": digest})
