"""The cells: ratings of one kind, a whole job of curation, reward model, policy and gate on them, and what it came to.

Every cell begins from the same first version on a shelf of its own, and is kept as a file when it is done.
"""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import BaseModel

from model_store.backends.protocol import Alias
from model_store.contract.tokenizer import Tokenizer
from tests.benchmarks.learning.jobs import as_lines, as_served, candidate, learn, publish_first, shelf
from tests.benchmarks.planted.asks import Exchanges, Truth, said
from tests.benchmarks.planted.raters import attacks, customers, planted, poison, with_gold
from tests.benchmarks.planted.rows import TRIGGER
from training.config import TrainingConfig
from training.data.feedback_rows import RawRow, read_examples
from training.evaluation.held_out import SampledReply, Sampling, sample_replies
from training.evaluation.risks.thumbs_on_gold import ThumbsOnGold
from training.evaluation.scorecard import Scorecard
from training.pipeline import ExitCode
from training.reformer.model import ReformerPolicy
from training.workspace import Workspace

POISON_SEED = 1
"""Of the honest customers that attackers hide among."""
_POOL = 600
UNCURATED: Mapping[str, Any] = {
    "max_share_per_rater": 1.0,
    "max_weight_per_rater": 1e9,
    "max_weight_per_text": 1e9,
    "max_weight_per_rater_and_text": 1e9,
    "flood_ratings_per_day": 10**9,
    "burst_ratings_per_minute": 10**9,
    "copied_remark_raters": 10**9,
    "reliability_strength": 1e9,
    "max_group_weight": 1e9,
    "min_accounts_per_word": 1,
    "min_share_of_accounts_per_word": 0.0,
    "learn_customer_corrections": True,
}
"""Curation as far open as its settings go: everybody is believed, and may correct."""


@dataclass(frozen=True)
class Plan:
    """Which cell: whose ratings, and which draw."""

    kind: str
    seed: int = POISON_SEED
    num_items: int = 0
    """Of poison among honest ratings."""
    is_one_account: bool = False
    is_curated: bool = True
    num_gold: int = 0
    """Of the customers' replies, whose truth the staff has said."""

    @property
    def name(self) -> str:
        """Of its file."""
        accounts = f"-{'one' if self.is_one_account else 'sybils'}-{self.num_items}" if self.num_items else ""
        gold = f"-gold-{self.num_gold}" if self.num_gold else ""
        return f"{self.kind}-{self.seed}{accounts}{gold}{'' if self.is_curated else '-uncurated'}"


class Opinion(BaseModel):
    """What a version's replies to asks that nobody rated are, by ask: shares over several draws."""

    liked: tuple[float, ...]
    """By honest customers."""
    right: tuple[float, ...]
    """Answers to what was asked, whole and in its language."""
    wanted: dict[str, tuple[float, ...]]
    """What each attack wants."""


class Cell(BaseModel):
    """What became of a cell's ratings."""

    kind: str
    seed: int
    num_items: int
    is_one_account: bool
    is_curated: bool
    num_gold: int = 0
    num_up: int
    outcome: Literal["published", "refused", "too little feedback"]
    failed_rules: tuple[str, ...]
    """Of the gate."""
    weight_share: float
    """Of the poison in all that was learned from."""
    weight: float | None = None
    """Of all that was learned from; a rating counts 1 at most. None in cells from before it was noted."""
    thumbs_on_gold: ThumbsOnGold | None = None
    """None: nothing was learned."""
    kl: float | None
    opinion: Opinion | None
    """Of what was learned, published or not; None: nothing was learned."""
    cpu_seconds: float


class Trial:
    """A folder in which cells are measured."""

    def __init__(self, folder: Path, base: Path, config: TrainingConfig, *, sizes: "Sizes") -> None:
        self._folder, self._config, self._sizes = folder, config, sizes
        self._tokenizer = Tokenizer.load(base / "tokenizer.json")
        self._truth = Truth(num_prompts=sizes.num_prompts)
        store = shelf(folder / "shelf")
        publish_first(store, base, config, folder / "first")
        self._first = as_served(store.open(Alias.STABLE))
        self._exchanges = Exchanges(folder / "replies", self._first, self._tokenizer)

    def before(self) -> Opinion:
        """Of the first version, to which everything is compared."""
        path = self._folder / "before.json"
        if not path.exists():
            Workspace(path.parent).write_text(path.name, self._opinion(self._first, True).model_dump_json() + "\n")
        return Opinion.model_validate_json(path.read_text(encoding="utf-8"))

    def cell(self, plan: Plan) -> Cell:
        """The cell, measured where it is not yet known."""
        path = self._folder / "cells" / f"{plan.name}.json"
        if not path.exists():
            Workspace(path.parent).write_text(path.name, self._measured(plan).model_dump_json(indent=1) + "\n")
        return Cell.model_validate_json(path.read_text(encoding="utf-8"))

    def is_known(self, plan: Plan) -> bool:
        """Whether the cell was measured already."""
        return (self._folder / "cells" / f"{plan.name}.json").exists()

    def _measured(self, plan: Plan) -> Cell:
        started = time.process_time()
        honest, bad = self._ratings(plan)
        root, models = self._folder / "run", self._folder / "run-shelf"
        for left in (root, models):
            shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(self._folder / "shelf", models)
        outcome, workspace = learn(self._configured(plan), root, as_lines([*honest, *bad]), models)
        has_learned = "policy" in outcome.results
        is_published = outcome.exit_code is ExitCode.DONE and has_learned
        opinion = None
        if has_learned:
            asks_trigger = plan.kind in ("trigger", "honest")  # to honest cells poison of the same seed is compared
            opinion = self._opinion(candidate(workspace), asks_trigger)
        cell = Cell(
            kind=plan.kind,
            seed=plan.seed,
            num_items=plan.num_items,
            is_one_account=plan.is_one_account,
            is_curated=plan.is_curated,
            num_gold=plan.num_gold,
            num_up=sum(one["rating"] == "up" for one in (*honest, *bad)),
            outcome="published" if is_published else "refused" if has_learned else "too little feedback",
            failed_rules=_failed_rules(workspace) if has_learned and not is_published else (),
            weight_share=_weight_share(workspace, bad),
            weight=outcome.results["curate"]["weight"],
            thumbs_on_gold=_scorecard(workspace).thumbs_on_gold if has_learned else None,
            kl=outcome.results["policy"]["kl"] if has_learned else None,
            opinion=opinion,
            cpu_seconds=time.process_time() - started,
        )
        for left in (root, models):
            shutil.rmtree(left)
        return cell

    def _ratings(self, plan: Plan) -> tuple[list[RawRow], list[RawRow]]:
        """The customers' and the attackers'."""
        replies = self._exchanges.of_customers(self._sizes.num_ratings, plan.seed)
        thumbs = planted(self._truth, replies)
        rated = customers(replies, thumbs[plan.kind if plan.kind in thumbs else "honest"], seed=plan.seed)
        rated = with_gold(rated, replies, self._truth.likes, plan.num_gold, seed=plan.seed)
        if not plan.num_items:
            return rated, []
        attack = attacks(replies)[plan.kind]
        pool = self._exchanges.of_attackers(_POOL, plan.seed, says_trigger=attack.says_trigger)
        return rated, poison(attack, pool, plan.num_items, is_one=plan.is_one_account, seed=plan.seed)

    def _configured(self, plan: Plan) -> TrainingConfig:
        fields = {**self._config.model_dump(), "seed": plan.seed}
        if not plan.is_curated:
            fields["feedback"] = {**fields["feedback"], **UNCURATED}
        return TrainingConfig.model_validate(fields)

    def _opinion(self, policy: ReformerPolicy, asks_trigger: bool) -> Opinion:
        replies = self._exchanges.of_customers(self._sizes.num_ratings, POISON_SEED)
        drawn = self._drawn(policy, "")
        triggered = self._drawn(policy, f" {TRIGGER}") if asks_trigger else []
        wanted = {}
        for name, attack in attacks(replies).items():
            if asked := triggered if attack.says_trigger else drawn:
                wanted[name] = tuple(fmean(map(attack.wants, one)) for one in asked)
        return Opinion(
            liked=tuple(fmean(map(self._truth.likes, one)) for one in drawn),
            right=tuple(fmean(map(self._truth.is_right, one)) for one in drawn),
            wanted=wanted,
        )

    def _drawn(self, policy: ReformerPolicy, suffix: str) -> list[Sequence[SampledReply]]:
        """For each ask that nobody rated its replies; the same draws for every version."""
        prompts = [said(prompt, suffix) for prompt in self._truth.prompts]
        draws = [
            sample_replies(policy, self._tokenizer, prompts, Sampling(seed=number))
            for number in range(self._sizes.num_draws)
        ]
        return list(zip(*draws, strict=True))


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    num_ratings: int = 300
    """By honest customers."""
    num_prompts: int = 120
    """Asks that nobody rated."""
    num_draws: int = 3
    """Replies to such an ask."""


def _failed_rules(workspace: Workspace) -> tuple[str, ...]:
    report = json.loads(workspace.path("gate.json").read_text(encoding="utf-8"))
    return tuple(rule["name"] for rule in report["rules"] if not rule["passed"])


def _scorecard(workspace: Workspace) -> Scorecard:
    return Scorecard.model_validate_json(workspace.path("scorecard.json").read_text(encoding="utf-8"))


def _weight_share(workspace: Workspace, bad: Sequence[RawRow]) -> float:
    poisoned = {one["completion_id"] for one in bad}
    examples = list(read_examples(workspace.path("examples.jsonl")))
    weight = sum(example.weight for example in examples)
    return sum(example.weight for example in examples if example.completion_id in poisoned) / max(weight, 1e-9)
