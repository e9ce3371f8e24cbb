"""One round of learning after the other: customers rate what is served, a real run learns, its gate decides.

The runs are those of `python -m training run` on a real shelf, stage by stage; each reads all ratings so far. Kept are
the shelf, the ratings, every run's workspace and every round's figures, so whatever is stopped goes on where it was.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from model_store.backends.protocol import Alias
from model_store.contract.tokenizer import Tokenizer
from tests.benchmarks.continual.crowds import CROWDS, Audience, Scores
from tests.benchmarks.learning.jobs import as_lines, as_served, candidate, learn, publish_first, shelf
from tests.benchmarks.learning.presets import Preset, base_config, learning_config
from training.config import TrainingConfig
from training.data.feedback_rows import RawRow, read_export
from training.evaluation.figures import Figure, paired_difference
from training.pipeline import ExitCode
from training.reformer.model import ReformerPolicy, load_policy
from training.workspace import Workspace

_Result = TypeVar("_Result", bound=BaseModel)
_FIRST = "first"
_ROUND: Mapping[str, Any] = {"max_kl": 1.0, "replay_share": 0.2, "max_minutes": 1000.0}
"""What a round may change: a third of what the gate allows, for another round follows, with authored replies beside the
ratings. By imitation of what was liked, the default: at equal KL it moves plans half as far as KTO does. No clock
decides, so a busy machine learns what an idle one does."""
_LENIENT: Mapping[str, Any] = {
    "num_prompts": 16,
    "min_win_rate_lower_bound": 0.0,
    "max_perplexity_ratio": 10.0,
    "min_length_ratio": 0.01,
    "max_length_ratio": 100.0,
    "min_distinct2_ratio": 0.0,
    "min_proper_endings": 0.0,
    "min_gold_gain": -1.0,
    "min_gold_auc_lower_bound": 0.0,
    "min_slot_faithfulness": 0.0,
    "max_ability_loss": 1.0,
    "max_extra_violations": 1.0,
    "max_fairness_loss": 1.0,
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
        """A run's configuration: as `bench_learning` learns, less far, with a gate, in float32: too small for less."""
        learning = learning_config(
            base_config(self.preset, num_threads), self.preset, self.algorithm, seed=self.seed, adapter="none"
        )
        gate: dict[str, Any] = {"max_latency_ratio": 10.0}  # a graph of a millisecond is measured in noise
        feedback: dict[str, Any] = {}
        if self.is_gate_lenient:
            gate |= {**_LENIENT, "max_kl": 1000.0, "max_replies_per_prompt": 2}
            feedback = {"min_ratings": 20, "min_per_class": 2}
        policy = {**learning.policy.model_dump(), **_ROUND}
        sections = {"policy": policy, "export": {"weights": "float32"}, "gate": gate, "feedback": feedback}
        return TrainingConfig.model_validate({**learning.model_dump(), "name": "bench-continual", **sections})


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
        self._audience = Audience(Tokenizer.load(base / "tokenizer.json"), num_held_out=plan.preset.num_held_out)
        self._store = shelf(folder / "models")

    def first(self) -> Scores:
        """Publishes the first version, where it is not yet there, and scores it."""
        path = self._folder / "first.json"
        if path.exists():
            return Scores.model_validate_json(path.read_text(encoding="utf-8"))
        publish_first(self._store, self._base, self._config, self._folder / _FIRST)
        return _keep(path, self._scores(as_served(self._store.open(Alias.STABLE))))

    def round(self, number: int, before: Scores) -> Round:
        """The round of that number, from 1 on, whose customers meet what `before` is about."""
        path = self._folder / "rounds" / f"{number}.json"
        if path.exists():
            return Round.model_validate_json(path.read_text(encoding="utf-8"))
        started, crowd = time.monotonic(), CROWDS[(number - 1) % len(CROWDS)]
        own = self._ratings(number)
        models = self._folder / "models"
        outcome, workspace = learn(self._config, self._folder / "runs" / str(number), self._so_far(number), models)
        has_learned = "policy" in outcome.results
        scores = self._scores(candidate(workspace)) if has_learned else None
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
                candidate=scores,
                after=scores if is_published and scores else before,
                gold_change=paired_difference(list(before.gold), list(scores.gold)) if scores else None,
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
                as_served(bundle), crowd, self._plan.num_ratings, round_number=number, digest=bundle.digest
            )
            Workspace(path.parent).write_text(path.name, as_lines(rows))
        return read_export(path)

    def _so_far(self, number: int) -> str:
        """The lines of every rating so far, as a database would have them."""
        paths = [self._folder / "ratings" / f"{earlier}.jsonl" for earlier in range(1, number + 1)]
        return "".join(path.read_text(encoding="utf-8") for path in paths)

    def _scores(self, policy: ReformerPolicy) -> Scores:
        return self._audience.scores(policy, load_policy(self._folder / _FIRST), num_draws=self._plan.num_draws)


def _keep(path: Path, made: _Result) -> _Result:
    Workspace(path.parent).write_text(path.name, made.model_dump_json(indent=1) + "\n")
    return made
