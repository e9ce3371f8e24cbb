"""The network before any thumb, made once for all runs of a preset, whatever they ask of it."""

import hashlib
import json
import shutil
import time
from pathlib import Path

from tests.benchmarks.learning.presets import Preset, base_config
from training.pipeline import BASE_STAGES
from training.workspace import Workspace

_FILES = ("config.json", "model.safetensors")
_MADE = "made.json"
_SECTIONS = {"seed", "precision", "model", "corpus", "plan_teacher", "message_summary", "pretrain", "finetune"}


def base_network(bases: Path, preset: Preset, num_threads: int) -> Path:
    """A folder with the preset's checkpoint and tokenizer; a run that was stopped while it made them goes on."""
    folder = bases / f"{preset.name}-{_digest(preset)}"
    if (folder / _MADE).exists():
        return folder
    config, workspace = base_config(preset, num_threads), Workspace(folder / "making")
    started = time.process_time()
    for name, stage in BASE_STAGES.items():
        if name != "base_bundle" and workspace.result(name) is None:
            workspace.save_result(name, stage(config, workspace))
    for name in _FILES:
        shutil.copyfile(workspace.path("finetuned") / name, folder / name)
    shutil.copyfile(workspace.path("tokenizer.json"), folder / "tokenizer.json")
    figures = {"cpu_seconds": time.process_time() - started}
    Workspace(folder).write_text(_MADE, json.dumps(figures) + "\n")  # last: it says that all is there
    shutil.rmtree(workspace.root)
    return folder


def _digest(preset: Preset) -> str:
    """Of what the network is made with, and nothing else."""
    made_with = base_config(preset, 1).model_dump(mode="json", include=_SECTIONS)
    return hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()[:12]


def cpu_seconds(base: Path) -> float:
    """What it took to make the network; of one that was made in several goes, what the last took."""
    return float(json.loads((base / _MADE).read_text(encoding="utf-8"))["cpu_seconds"])
