"""A scaling curve for the base model: right plans on held-out asks, by the network's size and the amount of data.

`python -m tests.benchmarks.sweep_base`: every network reads the same asks with their plan, and mixtures with a linear
teacher's opinion, from fresh weights, under the shipped model's fine-tuning settings. Left out: conversations, public
dialogues, the encoder, known n-grams and their summary, so the figures compare with each other only. What has been
measured under the same settings is not measured again. Table, JSON and plot: `sweep_report`.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from model_store.contract.tokenizer import Tokenizer
from tests.benchmarks.sweep_report import (
    TEACHER,
    Cost,
    Measured,
    Row,
    Settings,
    load_measured,
    save_plot,
    table_head,
    table_row,
)
from training.base_config import LanguageModelConfig, ModelConfig
from training.config import TrainingConfig, load_config
from training.data.domain_pack import DomainPack, load_pack, user_message
from training.data.generator import ConversationGenerator
from training.data.plan_teacher.linear import LinearTeacher
from training.data.plan_teacher.unlabelled import draw_mixtures
from training.data.subwords import name_plans
from training.data.windows import Batch, BatchStream, PlannedConversation, WindowSet, cut_windows
from training.evaluation.figures import share as share_of
from training.evaluation.held_out import HeldOutPrompt, gate_prompts, outside_prompts
from training.evaluation.plan_choice import choose_plans
from training.optimization import StepGuard, build_muon, flat_then_linear, warm_up
from training.reformer.model import ReformerPolicy, new_policy
from training.stages.base_model.corpus import ASKS_SOURCE, MIXTURES_SOURCE
from training.stages.base_model.language_modeling import batch_gradients

_ALL = 10_000
_HEAD_SIZE = 64
_WARM_UP_SHARE = 0.1
"""Of the steps: the hundred steps of a long training would be most of a short one."""


class Size(NamedTuple):
    """A network's width and depth; heads of 64, feed-forward layers four times as wide."""

    hidden_size: int
    num_layers: int

    def __str__(self) -> str:
        return f"{self.hidden_size}x{self.num_layers}"

    def shape(self, model: ModelConfig) -> ModelConfig:
        """The configured model at this size. Raises pydantic's ValidationError for one that cannot be."""
        change = {
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "num_attention_heads": self.hidden_size // _HEAD_SIZE,
            "attention_head_size": _HEAD_SIZE,
            "feed_forward_size": 4 * self.hidden_size,
            "ngram_rows": 0,
            "message_summary": False,
            "start_from": None,
        }
        return ModelConfig.model_validate({**model.model_dump(), **change})


SIZES = (Size(128, 4), Size(256, 6), Size(384, 6))
SHARES = (0.25, 1.0)


@dataclass(frozen=True)
class Bench:
    """What all networks have in common."""

    pack: DomainPack
    tokenizer: Tokenizer
    config: TrainingConfig
    settings: Settings

    @property
    def prompts(self) -> list[HeldOutPrompt]:
        """Every held-out ask."""
        return [*gate_prompts(self.pack, _ALL), *outside_prompts(self.pack, _ALL)]


@dataclass(frozen=True)
class Material:
    """What networks of every size read at one share of the pack's asks, and the teachers who learned from those."""

    share: float
    pack_asks: int
    windows: Mapping[str, WindowSet]
    teachers: Mapping[str, LinearTeacher]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what is asked for and says where the figures are."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    config = load_config(options.config)
    pack = load_pack(config.corpus.domain_pack)
    settings = Settings(
        config=config.digest,
        pack_asks=count_asks(pack),
        num_tokens=options.tokens,
        batch_tokens=options.batch_tokens or config.finetune.batch_tokens,
        num_asks=options.asks,
        num_mixtures=options.mixtures,
        seed=options.seed,
        num_threads=options.threads,
    )
    assert config.corpus.tokenizer is not None, "the sweep reads with a finished vocabulary: set corpus.tokenizer"
    tokenizer = Tokenizer(name_plans(Tokenizer.load(config.corpus.tokenizer).backend, pack.plans))
    run_sweep(Bench(pack, tokenizer, config, settings), options.sizes, options.shares, options.output)
    print(f"Figures and plots are in {options.output}.", file=sys.stderr)


def run_sweep(bench: Bench, sizes: Sequence[Size], shares: Sequence[float], output: Path) -> Measured:
    """Prints the table as it grows; keeps every row in `output`, and the plot at the end."""
    measured = load_measured(output, bench.settings)
    print(table_head(bench.settings, bench.pack.languages), flush=True)
    for share in shares:
        for row in _rows(bench, sizes, share, measured):
            if row not in measured.rows:
                measured = measured.with_row(row)
                measured.save(output)
            print(table_row(row, bench.pack.languages), flush=True)
    save_plot(measured.rows, output)
    return measured


def _rows(bench: Bench, sizes: Sequence[Size], share: float, measured: Measured) -> Iterator[Row]:
    """The teacher's row of a share and those of the sizes, measured now unless they have been before."""
    known = {name: measured.row(name, share) for name in (TEACHER, *map(str, sizes))}
    material = None if all(known.values()) else draw_material(bench, share)
    for size in (None, *sizes):
        name = str(size) if size else TEACHER
        if row := known[name]:
            yield row
        elif material is not None:
            yield _measure_size(bench, size, material) if size else _measure_teacher(bench, material)


def count_asks(pack: DomainPack) -> int:
    """Ways to ask that training may see, in all languages."""
    return sum(len(intent.asks) for intent in pack.intents)


def with_share_of_asks(pack: DomainPack, share: float, seed: int) -> DomainPack:
    """The pack with that share of every intent's asks, drawn at random; a smaller share is part of a larger one."""
    intents = []
    for intent in pack.intents:
        order = random.Random(f"{seed} {intent.language} {intent.name}").sample(intent.asks, len(intent.asks))
        intents.append(replace(intent, asks=tuple(order[: max(1, round(share * len(order)))])))
    return replace(pack, intents=tuple(intents))


def draw_material(bench: Bench, share: float) -> Material:
    """Windows of asks and of mixtures; flows and articles are the whole pack's at every share."""
    settings, max_tokens = bench.settings, bench.config.corpus.max_window_tokens
    pack = with_share_of_asks(bench.pack, share, settings.seed)
    generator = ConversationGenerator(pack, settings.seed)
    drawn = (generator.draw_ask() for _ in tqdm(range(settings.num_asks), desc=f"asks, {share:.0%}", file=sys.stderr))
    asks = cut_windows((PlannedConversation(ask.messages, ask.plan) for ask in drawn), bench.tokenizer, max_tokens)
    languages = tqdm(pack.languages, desc=f"teachers, {share:.0%}", file=sys.stderr)
    teachers = {language: LinearTeacher(pack, language, bench.tokenizer, settings.seed) for language in languages}
    mixed = draw_mixtures(pack, teachers, settings.num_mixtures, settings.seed)
    taught = (PlannedConversation((user_message(text),), plan_probabilities=opinion) for text, opinion in mixed)
    mixtures = cut_windows(taught, bench.tokenizer, max_tokens)
    return Material(share, count_asks(pack), {ASKS_SOURCE: asks, MIXTURES_SOURCE: mixtures}, teachers)


def train(bench: Bench, size: Size, material: Material) -> tuple[ReformerPolicy, Cost]:
    """A network after its tokens: fine-tuning's optimisers, weights of losses and decay, a warm-up of a tenth."""
    settings = bench.settings
    config = bench.config.finetune.model_copy(update={"batch_tokens": settings.batch_tokens, "summary_weight": 0.0})
    shape = size.shape(bench.config.model).architecture()
    policy = new_policy(shape, seed=settings.seed, dropout=config.dropout).train()
    optimizers = build_muon(policy, muon_lr=config.muon_lr, adamw_lr=config.adamw_lr)
    guard = StepGuard(policy, optimizers, stage=f"sweep {size}")
    num_warm_up = round(_WARM_UP_SHARE * settings.num_tokens / config.batch_tokens)
    tokens = asks = mixtures = 0
    started = time.perf_counter()
    with tqdm(total=settings.num_tokens, desc=f"{size}, {material.share:.0%}", unit="tok", file=sys.stderr) as progress:
        for step, batch in enumerate(_batches(config, material, settings.seed)):
            if tokens >= settings.num_tokens:
                break
            torch.manual_seed(settings.seed * 1_000_003 + step)
            factor = flat_then_linear(tokens, settings.num_tokens, config.decay_share) * warm_up(step, num_warm_up)
            loss = batch_gradients(policy, batch, config)
            guard.step(loss, number=step, lr_factor=factor)
            tokens += batch.token_ids.numel()
            mixtures += len(batch.teacher_rows)
            asks += len(batch.token_ids) - len(batch.teacher_rows)
            progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
            progress.update(batch.token_ids.numel())
    return policy, Cost(
        parameters=sum(parameter.numel() for parameter in policy.parameters()),
        num_tokens=tokens,
        asks_read=asks,
        mixtures_read=mixtures,
        seconds=time.perf_counter() - started,
    )


def _batches(config: LanguageModelConfig, material: Material, seed: int) -> Iterator[Batch]:
    """The same batches for every size: asks and mixtures in fine-tuning's proportion."""
    shares = {source: config.source_shares[source] for source in material.windows}
    return BatchStream(material.windows, shares, batch_tokens=config.batch_tokens, seed=seed).batches()


def _measure_size(bench: Bench, size: Size, material: Material) -> Row:
    policy, cost = train(bench, size, material)
    prompts = bench.prompts
    chosen = [plan.intent for plan in choose_plans(policy, bench.tokenizer, prompts)]
    return _row(str(size), material, prompts, chosen).model_copy(update={"cost": cost})


def _measure_teacher(bench: Bench, material: Material) -> Row:
    """The linear teacher on its own: what a network is worth that only repeats it."""
    prompts, chosen = bench.prompts, []
    for prompt in prompts:
        (opinion,) = material.teachers[prompt.language].probabilities([prompt.messages[-1].content])
        chosen.append(bench.pack.plans[int(opinion.argmax())])
    return _row(TEACHER, material, prompts, chosen)


def _row(network: str, material: Material, prompts: Sequence[HeldOutPrompt], chosen: Sequence[str]) -> Row:
    right: dict[str, list[bool]] = {}
    for prompt, intent in zip(prompts, chosen, strict=True):
        right.setdefault(prompt.language, []).append(intent == prompt.intent)
    figures = {language: share_of(flags) for language, flags in sorted(right.items())}
    return Row(network=network, share=material.share, pack_asks=material.pack_asks, right_plan=figures)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.sweep_base", description=__doc__)
    parser.add_argument(
        "--sizes", type=_size, nargs="+", default=SIZES, help="hidden size x layers (128x4 256x6 384x6)"
    )
    parser.add_argument("--shares", type=_share, nargs="+", default=SHARES, help="of the pack's asks (0.25 1.0)")
    parser.add_argument("--tokens", type=int, default=800_000, help="that each network reads (800000)")
    parser.add_argument("--batch-tokens", type=int, help="tokens a step (the configuration's)")
    parser.add_argument("--asks", type=int, default=40_000, help="asks drawn for each share (40000)")
    parser.add_argument("--mixtures", type=int, default=20_000, help="mixtures drawn for each share (20000)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (2)")
    parser.add_argument("--seed", type=int, default=1, help="of weights, asks and batches (1)")
    parser.add_argument("--config", type=Path, default=Path("training/configs/small.yaml"), help="the settings' source")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/sweep"), help="folder of figures and plots (runs/sweep)"
    )
    return parser.parse_args(arguments)


def _size(text: str) -> Size:
    """`128x4` as a size. ValueError, which argparse reports, for anything that is no network."""
    hidden_size, num_layers = map(int, text.split("x"))
    size = Size(hidden_size, num_layers)
    if hidden_size % _HEAD_SIZE:
        raise ValueError(f"{hidden_size} is no multiple of {_HEAD_SIZE}")
    size.shape(ModelConfig())
    return size


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share <= 1:
        raise ValueError(f"{share} is no share")
    return share


if __name__ == "__main__":
    main()
