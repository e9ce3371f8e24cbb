"""One round of learning after the other: customers rate what is served, a real run learns, its gate decides.

The runs are those of `python -m training run` on a real shelf, stage by stage; each reads all ratings so far. Kept are
the shelf, the ratings, every run's workspace and every round's figures, so whatever is stopped goes on where it was.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from model_store.backends.places import open_backend
from model_store.backends.protocol import Alias
from model_store.bundle import Bundle
from model_store.contract.manifest import DataLicence, Lineage
from model_store.contract.tokenizer import Tokenizer
from model_store.store import ModelStore
from tests.benchmarks.continual.crowds import CROWDS, Audience, Scores
from tests.benchmarks.learning.presets import Preset, base_config, learning_config
from training.config import TrainingConfig
from training.data.domain_pack import load_pack
from training.data.feedback_rows import RawRow, read_export
from training.evaluation.figures import Figure, paired_difference
from training.evaluation.held_out import known_phrases
from training.pipeline import RUN_STAGES, ExitCode, run_pipeline
from training.precision import kept_to
from training.reformer.model import ReformerPolicy, load_policy
from training.stages.export import ReleaseNotes, export_bundle, text_sample
from training.workspace import Workspace

_Result = TypeVar("_Result", bound=BaseModel)
_FIRST = "first"
_CREATED_AT = "2026-01-01T00:00:00+00:00"
_LENIENT: Mapping[str, Any] = {
    "num_prompts": 16,
    "min_win_rate_lower_bound": 0.0,
    "max_perplexity_ratio": 10.0,
    "min_length_ratio": 0.01,
    "max_length_ratio": 100.0,
    "min_distinct2_ratio": 0.0,
    "min_proper_endings": 0.0,
    "min_gold_gain": -1.0,
    "min_slot_faithfulness": 0.0,
    "max_ability_loss": 1.0,
    "max_extra_violations": 1.0,
    "max_extra_delicate_failures": 1000,
    "max_new_failures": 1000,
    "max_newly_off_topic": 1000,
    "waived_rules": ("fairness", "language_fairness"),
}
"""For networks with nothing to say."""


@dataclass(frozen=True)
class Plan:
    """What is done; everything that figures depend on."""

    preset: Preset
    num_ratings: int
    """In each round."""
    algorithm: str
    num_draws: int
    """Replies to a held-out prompt that a version is scored by."""
    seed: int
    is_gate_lenient: bool

    def config(self, num_threads: int) -> TrainingConfig:
        """A run's configuration: as `bench_learning` learns, with a gate, and float32 where eight bits are too few."""
        learning = learning_config(
            base_config(self.preset, num_threads), self.preset, self.algorithm, seed=self.seed, adapter="none"
        )
        gate: dict[str, Any] = {"max_latency_ratio": 10.0}  # a graph of a millisecond is measured in noise
        feedback: dict[str, Any] = {}
        if self.is_gate_lenient:
            gate |= {**_LENIENT, "max_kl": 1000.0, "max_replies_per_prompt": 2}
            feedback = {"min_ratings": 20, "min_per_class": 2}
        sections = {"name": "bench-continual", "export": {"weights": "float32"}, "gate": gate, "feedback": feedback}
        return TrainingConfig.model_validate({**learning.model_dump(), **sections})


class Round(BaseModel):
    """What a round did."""

    number: int
    crowd: str
    num_ratings: int
    num_up: int
    outcome: Literal["published", "refused", "too little feedback"]
    reasons: tuple[str, ...]
    """Why the gate refused."""
    version: str
    """Digest of what is served after it."""
    kl: float | None
    """From what was served before, in nats a completion; None: nothing was learned."""
    candidate: Scores | None
    """Of what was learned, published or not."""
    after: Scores
    """Of what is served after the round."""
    gold_change: Figure | None
    """The candidate's gold score less that of what was served before it, by prompt."""
    seconds: float


class Rounds:
    """A folder in which round follows round."""

    def __init__(self, folder: Path, base: Path, plan: Plan, *, num_threads: int) -> None:
        self._folder, self._base, self._plan = folder, base, plan
        self._config = plan.config(num_threads)
        self._tokenizer = Tokenizer.load(base / "tokenizer.json")
        self._audience = Audience(self._tokenizer, num_held_out=plan.preset.num_held_out)
        self._store = ModelStore(open_backend(str(folder / "models")))

    def first(self) -> Scores:
        """Publishes the first version, where it is not yet there, and scores it."""
        path = self._folder / "first.json"
        if path.exists():
            return Scores.model_validate_json(path.read_text(encoding="utf-8"))
        if not self._store.history(Alias.STABLE):
            self._publish_first()
        return _keep(path, self._scores(_as_served(self._store.open(Alias.STABLE))))

    def round(self, number: int, before: Scores) -> Round:
        """The round of that number, from 1 on, whose customers meet what `before` is about."""
        path = self._folder / "rounds" / f"{number}.json"
        if path.exists():
            return Round.model_validate_json(path.read_text(encoding="utf-8"))
        started, crowd = time.monotonic(), CROWDS[(number - 1) % len(CROWDS)]
        own = self._ratings(number)
        workspace = self._run_workspace(number)
        with kept_to(self._config.precision):
            outcome = run_pipeline(RUN_STAGES, self._config, workspace)
        has_learned = "policy" in outcome.results
        candidate = self._scores(self._candidate(workspace)) if has_learned else None
        is_published = outcome.exit_code is ExitCode.DONE and has_learned
        return _keep(
            path,
            Round(
                number=number,
                crowd=crowd.name,
                num_ratings=len(own),
                num_up=sum(row["rating"] == "up" for row in own),
                outcome="published" if is_published else "refused" if has_learned else "too little feedback",
                reasons=tuple(outcome.results["gate"]["reasons"]) if has_learned and not is_published else (),
                version=self._store.resolve(Alias.STABLE).digest,
                kl=outcome.results["policy"]["kl"] if has_learned else None,
                candidate=candidate,
                after=candidate if is_published and candidate else before,
                gold_change=paired_difference(list(before.gold), list(candidate.gold)) if candidate else None,
                seconds=time.monotonic() - started,
            ),
        )

    def _ratings(self, number: int) -> list[RawRow]:
        """This round's, of what was served when it began."""
        path = self._folder / "ratings" / f"{number}.jsonl"
        if not path.exists():
            bundle = self._store.open(Alias.STABLE)
            crowd = CROWDS[(number - 1) % len(CROWDS)]
            rows = self._audience.rate(
                _as_served(bundle), crowd, self._plan.num_ratings, round_number=number, digest=bundle.digest
            )
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            Workspace(path.parent).write_text(path.name, text)
        return read_export(path)

    def _run_workspace(self, number: int) -> Workspace:
        """With every rating so far, as a database would have them."""
        workspace = Workspace(self._folder / "runs" / str(number))
        paths = [self._folder / "ratings" / f"{earlier}.jsonl" for earlier in range(1, number + 1)]
        workspace.write_text("ratings.jsonl", "".join(path.read_text(encoding="utf-8") for path in paths))
        places = {
            "feedback_file": str(workspace.path("ratings.jsonl")),
            "model_store": str(self._folder / "models"),
        }
        workspace.save_result("inputs", {"created_at": _CREATED_AT, **places})
        return workspace

    def _candidate(self, workspace: Workspace) -> ReformerPolicy:
        """What was learned, as it would be served."""
        policy = load_policy(workspace.path("policy"))
        policy.phrases = known_phrases(self._store.open(Alias.STABLE).directory, policy)
        return policy

    def _scores(self, policy: ReformerPolicy) -> Scores:
        return self._audience.scores(policy, load_policy(self._folder / _FIRST), num_draws=self._plan.num_draws)

    def _publish_first(self) -> None:
        pack = load_pack(self._config.corpus.domain_pack)
        notes = ReleaseNotes(
            name=self._config.name,
            created_at=_CREATED_AT,
            lineage=Lineage(config=self._config.digest, stages=("pretrain", "finetune")),
            licences=(DataLicence(source="authored", licence="Apache-2.0", num_rows=1),),
            metrics={},
            languages=pack.languages,
            weights=self._config.export.weights,
        )
        destination, sample = self._folder / _FIRST, text_sample(pack, self._tokenizer)
        export_bundle(load_policy(self._base), self._base / "tokenizer.json", destination, notes, sample)
        self._store.promote(Alias.STABLE, self._store.publish(destination), reason="first")


def _as_served(bundle: Bundle) -> ReformerPolicy:
    policy = load_policy(bundle.directory)
    policy.phrases = known_phrases(bundle.directory, policy)
    return policy


def _keep(path: Path, made: _Result) -> _Result:
    Workspace(path.parent).write_text(path.name, made.model_dump_json(indent=1) + "\n")
    return made
