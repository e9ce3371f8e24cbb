"""The cells of the table: one algorithm on some ratings with one seed, through the stages of a real run or TRL.

Every finished piece (base, ratings with their reward model, cell) is kept as files, so a run that was stopped goes on.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel

from model_store.contract.tokenizer import Tokenizer
from tests.benchmarks.learning.bases import base_network, cpu_seconds
from tests.benchmarks.learning.customers import Judges, first_ratings
from tests.benchmarks.learning.presets import NEEDS_REWARD_MODEL, OF_TRL, Preset, base_config, learning_config
from training.config import TrainingConfig
from training.data.feedback_rows import Example, read_examples, write_examples
from training.reformer.model import load_policy
from training.stages import policy, reward_model
from training.workspace import StageResult, Workspace

_Result = TypeVar("_Result", bound=BaseModel)


class Before(BaseModel):
    """The network before any thumb, on prompts that nobody rated."""

    num_prompts: int
    num_up: int
    num_replies: int
    num_liked_once: int
    """Prompts with a liked reply among `num_samples`: what choosing alone could reach."""
    num_samples: int
    distinct2: float
    """Over as many replies as a cell's."""
    proper_endings: float
    num_parameters: int
    cpu_seconds: float

    @property
    def thumbs_up(self) -> float:
        """Share of replies."""
        return self.num_up / self.num_replies

    @property
    def best(self) -> float:
        """Share of prompts with a liked reply among the samples."""
        return self.num_liked_once / self.num_prompts


class Cell(BaseModel):
    """One algorithm on some ratings with one seed."""

    algorithm: str
    num_ratings: int
    seed: int
    num_rated_up: int
    num_up: int
    num_replies: int
    kl: float
    distinct2: float
    proper_endings: float
    cpu_seconds: float
    reward_cpu_seconds: float
    """Of the reward model, where the algorithm needs one; part of `cpu_seconds`."""
    num_steps: int
    stopped_by: str
    share_kept: float
    """Of the way that its steps led, what the KL limit left; TRL has no such limit."""
    num_trainable: int

    @property
    def thumbs_up(self) -> float:
        """Share of replies to prompts that nobody rated."""
        return self.num_up / self.num_replies


class Laboratory:
    """A folder in which a preset is measured; its network is made beside it, for other folders too."""

    def __init__(self, folder: Path, preset: Preset, *, num_threads: int, adapter: str) -> None:
        torch.set_num_threads(num_threads)
        self._folder, self._preset, self._adapter = folder, preset, adapter
        self._bases, self._num_threads = folder.parent / "bases", num_threads
        self._config = base_config(preset, num_threads)
        self._judges: Judges | None = None

    def before(self) -> Before:
        """The base network's figures; makes it first where it is not there."""
        return _kept(self._folder / "before.json", Before, self._measure_base)

    def cell(self, algorithm: str, num_ratings: int, seed: int, most_ratings: int) -> Cell:
        """One cell; of `most_ratings` ratings that are drawn with this seed it takes the first."""
        suffix = "" if self._adapter == "none" else f"-{self._adapter}"
        path = self.path_of(algorithm, num_ratings, seed)
        shared = self._rated(num_ratings, seed, most_ratings)
        return _kept(path, Cell, lambda: self._learn(algorithm + suffix, algorithm, shared, seed))

    def path_of(self, algorithm: str, num_ratings: int, seed: int) -> Path:
        """Where a cell is kept: by its settings too, so that a change of one algorithm's measures no other anew."""
        settings = self._learning_config(algorithm, seed).policy.model_dump(mode="json")
        name = f"{algorithm}-{num_ratings}-{seed}-{digest_of(settings)}.json"
        return self._folder / "cells" / name

    @property
    def _base(self) -> Path:
        return base_network(self._bases, self._preset, self._num_threads)

    def judges(self) -> Judges:
        """Customers, made when they are first needed."""
        if self._judges is None:
            self._judges = Judges(Tokenizer.load(self._base / "tokenizer.json"), self._preset.num_held_out)
        return self._judges

    def _measure_base(self) -> Before:
        network = load_policy(self._base)
        opinion = self.judges().opinion(network, num_draws=self._preset.num_samples)
        as_judged = self.judges().opinion(network, num_draws=self._preset.num_draws)
        return Before(
            num_prompts=self.judges().num_held_out,
            num_up=opinion.num_up,
            num_replies=opinion.num_replies,
            num_liked_once=opinion.num_liked_once,
            num_samples=self._preset.num_samples,
            distinct2=as_judged.distinct2,
            proper_endings=opinion.proper_endings,
            num_parameters=sum(parameter.numel() for parameter in network.parameters()),
            cpu_seconds=cpu_seconds(self._base),
        )

    def _rated(self, num_ratings: int, seed: int, most_ratings: int) -> Path:
        """A workspace with ratings and their reward model."""
        folder = self._folder / "rated" / f"{num_ratings}-{seed}"
        if (folder / "reward_model.result.json").exists():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        workspace = Workspace(folder)
        workspace.path("base").symlink_to(self._base.resolve())
        ratings = first_ratings(self._ratings(seed, most_ratings), num_ratings)
        workspace.write_text("examples.jsonl", write_examples(ratings))
        started = time.process_time()
        result = reward_model.run(self._learning_config("rloo", seed), workspace)
        seconds = time.process_time() - started
        figures = {"num_ratings": num_ratings, "num_up": sum(example.is_up for example in ratings)}
        workspace.save_result("reward_model", {"cpu_seconds": seconds, **figures, "stage": dict(result)})
        return folder

    def _ratings(self, seed: int, most_ratings: int) -> list[Example]:
        path = self._folder / "rated" / f"{seed}.jsonl"
        if not path.exists():
            ratings = self.judges().rate(load_policy(self._base), most_ratings, seed=seed)
            Workspace(path.parent).write_text(path.name, write_examples(ratings))
        return list(read_examples(path))

    def _learning_config(self, algorithm: str, seed: int) -> TrainingConfig:
        return learning_config(self._config, self._preset, algorithm, seed=seed, adapter=self._adapter)

    def _learn(self, shown: str, algorithm: str, shared: Path, seed: int) -> Cell:
        folder = self._folder / "learning"
        shutil.rmtree(folder, ignore_errors=True)
        workspace = Workspace(folder)
        for name in ("base", "examples.jsonl", "reward_model"):
            workspace.path(name).symlink_to((shared / name).resolve())
        learn = _learning_of(algorithm)
        started = time.process_time()
        result: Any = learn(self._learning_config(algorithm, seed), workspace)
        seconds = time.process_time() - started
        opinion = self.judges().opinion(load_policy(workspace.path("policy")), num_draws=self._preset.num_draws)
        rated = Workspace(shared).result("reward_model") or {}
        reward_seconds = rated["cpu_seconds"] if algorithm in NEEDS_REWARD_MODEL else 0.0
        shutil.rmtree(folder)
        return Cell(
            algorithm=shown,
            num_ratings=rated["num_ratings"],
            seed=seed,
            num_rated_up=rated["num_up"],
            num_up=opinion.num_up,
            num_replies=opinion.num_replies,
            kl=result["kl"],
            distinct2=opinion.distinct2,
            proper_endings=opinion.proper_endings,
            cpu_seconds=seconds + reward_seconds,
            reward_cpu_seconds=reward_seconds,
            num_steps=result["num_steps"],
            stopped_by=result["stopped_by"],
            share_kept=result["share_kept"],
            num_trainable=result["num_trainable"],
        )


def digest_of(settings: Any) -> str:
    """Short and the same for the same settings, plain JSON."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def why_not_run(algorithm: str, adapter: str) -> str | None:
    """What keeps an algorithm from being measured here; None where nothing does."""
    if algorithm not in OF_TRL:
        return None
    if find_spec("trl") is None or find_spec("datasets") is None:
        return "TRL is not installed (pip install -e '.[trl]')"
    return None if adapter == "none" else "TRL's rows train all parameters (leave out --adapter)"


def _learning_of(algorithm: str) -> Callable[[TrainingConfig, Workspace], StageResult]:
    if algorithm not in OF_TRL:
        return policy.run
    from tests.benchmarks.learning import trl_learning  # takes seconds, and TRL is not always there

    return trl_learning.run


def _kept(path: Path, kind: type[_Result], make: Callable[[], _Result]) -> _Result:
    """What the file says, or what `make` gives, which is then kept there."""
    if path.exists():
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    made = make()
    Workspace(path.parent).write_text(path.name, made.model_dump_json(indent=1) + "\n")
    return made
