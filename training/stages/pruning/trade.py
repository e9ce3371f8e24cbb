"""The trade: what a bundle gives away by being pruned, and what it gets; both bundles are measured here, side by side.

Size of the files; time of the served graph, both in turns on the same texts; perplexity of conversations that neither
was tuned on; right plans of the network alone, without the intent model, on development asks (held-out ones in a pack
without); and the thumbs of simulated customers for replies drawn as the service draws them. Left out: the whole engine,
which this program does not import (`python -m tests.benchmarks.bench_pruning`), and real thumbs, which a canary gets.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from model_store.bundle import open_bundle
from model_store.contract.facts import FactSheet
from model_store.contract.tokenizer import Tokenizer
from training.config import TrainingConfig
from training.data.domain_pack import DomainPack, fill_slots, load_pack, user_message
from training.data.windows import WindowSet
from training.evaluation.demo.simulated_customers import Ask, Taste
from training.evaluation.figures import Figure, paired_difference, share
from training.evaluation.held_out import HeldOutPrompt, Sampling, gate_prompts, known_phrases, sample_replies
from training.evaluation.judge import pack_judge
from training.evaluation.plan_choice import choose_plans
from training.export.graph_session import GraphSession
from training.reformer.model import ReformerPolicy, load_policy
from training.stages.base_model.bundle import BASE_BUNDLE_NAME
from training.stages.base_model.corpus import VALIDATION_SOURCE
from training.stages.base_model.language_modeling import evaluate_loss
from training.stages.export import text_sample
from training.stages.served_graph import measure_latency
from training.workspace import StageResult, Workspace

GRAPH_NAME = "model.onnx"
TABLE_NAME = "trade.txt"
_NUM_RATED = 400
_ALL = 10_000
_BATCH_TOKENS = 4096
_MEGABYTE = 1e6


class Side(BaseModel):
    """One of the two bundles."""

    model_config = ConfigDict(frozen=True)

    digest: str
    num_parameters: int
    graph_bytes: int
    """The file that is served."""
    bundle_bytes: int
    """All files, the weights to go on learning from included."""
    perplexity: float
    """A token of the assistant, over generated conversations that validate."""
    right_plan: dict[str, Figure]
    """By language."""
    thumbs_up: Figure


class Trade(BaseModel):
    """Both bundles, and the paired differences, pruned minus unpruned."""

    model_config = ConfigDict(frozen=True)

    unpruned: Side
    pruned: Side
    latency_ratio: Figure
    """Of the served graph's time for a text read and some tokens made, on one thread; below 1: faster."""
    right_plan_change: Figure
    thumbs_up_change: Figure


@dataclass(frozen=True)
class Questions:
    """What both bundles are asked."""

    pack: DomainPack
    asks: Sequence[HeldOutPrompt]
    rated: Sequence[HeldOutPrompt]
    validation: WindowSet
    taste: Taste


@dataclass(frozen=True)
class Answers:
    """What one bundle made of them: its figures, and one flag an ask."""

    side: Side
    right_plans: list[bool]
    likes: list[bool]


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Measures the bundle that was started from and the one that came of it; writes `trade.txt`."""
    assert config.goes_on_from is not None
    pack = load_pack(config.corpus.domain_pack)
    asks = development_prompts(pack) or gate_prompts(pack, _ALL)
    questions = Questions(
        pack,
        asks,
        random.Random(0).sample(asks, min(_NUM_RATED, len(asks))),
        WindowSet.load(workspace.path("windows") / f"{VALIDATION_SOURCE}.npz"),
        Taste(pack_judge(config.corpus.domain_pack), FactSheet({})),
    )
    before, after = config.goes_on_from, workspace.path(BASE_BUNDLE_NAME)
    unpruned, pruned = (answer(bundle, questions) for bundle in (before, after))
    trade = Trade(
        unpruned=unpruned.side,
        pruned=pruned.side,
        latency_ratio=latency_ratio(before, after, pack),
        right_plan_change=_change(unpruned.right_plans, pruned.right_plans),
        thumbs_up_change=_change(unpruned.likes, pruned.likes),
    )
    workspace.write_text(TABLE_NAME, trade_table(trade) + "\n")
    return trade.model_dump(mode="json")


def development_prompts(pack: DomainPack) -> list[HeldOutPrompt]:
    """Every development ask, which training never reads and which settings may be chosen by; always the same."""
    generator = random.Random(0)
    return [
        HeldOutPrompt(intent.name, intent.topic, intent.language, (user_message(text),), ())
        for intent in pack.intents
        for text in (fill_slots(ask, pack.slots[intent.language], generator) for ask in intent.development_asks)
    ]


def answer(directory: Path, questions: Questions) -> Answers:
    """Measures one bundle. Raises OSError for one without its checkpoint."""
    bundle = open_bundle(directory)
    policy, tokenizer = load_policy(directory), Tokenizer.load(directory / "tokenizer.json")
    chosen = choose_plans(policy, tokenizer, questions.asks)
    right = [plan.intent == prompt.intent for plan, prompt in zip(chosen, questions.asks, strict=True)]
    likes = list(_likes(policy, tokenizer, directory, questions))
    side = Side(
        digest=bundle.manifest.digest,
        num_parameters=policy.num_parameters(),
        graph_bytes=bundle.manifest.files[GRAPH_NAME].num_bytes,
        bundle_bytes=sum(entry.num_bytes for entry in bundle.manifest.files.values()),
        perplexity=math.exp(evaluate_loss(policy, questions.validation, batch_tokens=_BATCH_TOKENS)),
        right_plan={language: share(flags) for language, flags in _by_language(right, questions.asks).items()},
        thumbs_up=share(likes),
    )
    return Answers(side, right, likes)


def latency_ratio(before: Path, after: Path, pack: DomainPack) -> Figure:
    """The second bundle's served graph over the first's, both in turns on the same texts."""
    sessions = [
        GraphSession(str(directory / GRAPH_NAME), open_bundle(directory).manifest.architecture)
        for directory in (before, after)
    ]
    texts = text_sample(pack, Tokenizer.load(before / "tokenizer.json")).held_out
    return measure_latency(sessions[0], sessions[1], texts)


def trade_table(trade: Trade) -> str:
    """The figures for people."""
    before, after = trade.unpruned, trade.pruned
    rows = [
        ("", "unpruned", "pruned", "pruned / unpruned"),
        ("version", before.digest[:12], after.digest[:12], ""),
        _sizes("parameters, M", before.num_parameters, after.num_parameters),
        _sizes("served graph, MB", before.graph_bytes, after.graph_bytes),
        _sizes("whole bundle, MB", before.bundle_bytes, after.bundle_bytes),
        ("time of the graph", "", "", str(trade.latency_ratio)),
        (
            "perplexity",
            f"{before.perplexity:.4f}",
            f"{after.perplexity:.4f}",
            f"{after.perplexity / before.perplexity:.4f}",
        ),
        *(
            (f"right plan, {language}", str(figure), str(after.right_plan[language]), "")
            for language, figure in before.right_plan.items()
        ),
        ("right plan, difference", "", str(trade.right_plan_change), ""),
        ("thumbs up, simulated", str(before.thumbs_up), str(after.thumbs_up), ""),
        ("thumbs up, difference", "", str(trade.thumbs_up_change), ""),
    ]
    return "\n".join(f"{name:24}{first:>24}{second:>24}{ratio:>24}".rstrip() for name, first, second, ratio in rows)


def _sizes(name: str, before: int, after: int) -> tuple[str, str, str, str]:
    return name, f"{before / _MEGABYTE:.2f}", f"{after / _MEGABYTE:.2f}", f"{after / before:.3f}"


def _likes(policy: ReformerPolicy, tokenizer: Tokenizer, directory: Path, questions: Questions) -> Iterator[bool]:
    """What simulated customers think of one drawn reply to each ask, without noise."""
    policy.phrases = known_phrases(directory, policy)
    for reply in sample_replies(policy, tokenizer, questions.rated, Sampling()):
        prompt = reply.prompt
        yield questions.taste.likes(Ask(prompt.intent, prompt.language, prompt.messages[-1].content), reply.text)


def _by_language(flags: Sequence[bool], prompts: Sequence[HeldOutPrompt]) -> dict[str, list[bool]]:
    languages = sorted({prompt.language for prompt in prompts})
    return {
        language: [flag for flag, prompt in zip(flags, prompts, strict=True) if prompt.language == language]
        for language in languages
    }


def _change(before: Sequence[bool], after: Sequence[bool]) -> Figure:
    return paired_difference([float(flag) for flag in before], [float(flag) for flag in after])
