"""The workspace: the directory in which one run keeps what it has made, so that it can stop and go on.

A stage's result is a JSON file named after it; a stage with a result is not run again unless what it was made with has
changed. Files are replaced atomically. Of several processes only the first writes; all read, from a folder they share.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from training import distributed
from training.errors import WorkspaceError

StageResult = Mapping[str, Any]
"""What a stage found out: JSON-able, shown at the end of a run and read by later stages."""


class Workspace:
    """A run's directory. Holds results, checkpoints and data files."""

    def __init__(self, root: Path) -> None:
        """Creates or reopens `root`. Raises WorkspaceError when that is impossible."""
        self.root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceError(path=root, problem=error) from error

    def path(self, name: str) -> Path:
        """Where a file or directory of this run lies."""
        return self.root / name

    def result(self, stage: str) -> dict[str, Any] | None:
        """A finished stage's result, or None."""
        path = self.root / f"{stage}.result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def claim(self, stage: str, settings_digest: str) -> bool:
        """Makes the stage's leftovers those of these settings; True when such of others had to be forgotten."""
        owner = self.path(f"{stage}.settings")
        known = owner.read_text(encoding="utf-8").strip() if owner.exists() else None
        is_stale = known is not None and known != settings_digest
        if is_stale:
            self.path(f"{stage}.result.json").unlink(missing_ok=True)
            self.drop_checkpoint(stage)
        if known != settings_digest:
            self.write_text(owner.name, settings_digest + "\n")
        return is_stale

    def save_result(self, stage: str, result: StageResult) -> None:
        """Marks a stage as finished."""
        self.write_text(f"{stage}.result.json", json.dumps(dict(result), indent=1, sort_keys=True, ensure_ascii=False))

    def write_text(self, name: str, text: str) -> Path:
        """Writes a text file, whole or not at all."""
        path = self.path(name)
        if not distributed.is_first():
            return path
        draft = path.with_name(path.name + ".draft")
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
        return path

    def save_checkpoint(self, name: str, state: Mapping[str, Any]) -> None:
        """Writes resumable state (tensors, optimiser states, counters), whole or not at all."""
        if not distributed.is_first():
            return
        path = self.path(f"{name}.checkpoint.pt")
        draft = path.with_suffix(".draft")
        torch.save(dict(state), draft)
        os.replace(draft, path)

    def load_checkpoint(self, name: str) -> dict[str, Any] | None:
        """The last checkpoint of that name, or None."""
        path = self.path(f"{name}.checkpoint.pt")
        if not path.exists():
            return None
        state: dict[str, Any] = torch.load(path, weights_only=True)
        return state

    def drop_checkpoint(self, name: str) -> None:
        """Forgets a checkpoint once its stage is finished."""
        if distributed.is_first():
            self.path(f"{name}.checkpoint.pt").unlink(missing_ok=True)
