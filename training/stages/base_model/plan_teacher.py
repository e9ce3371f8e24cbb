"""Plan teacher: a pretrained sentence encoder learns the pack's intents, to tell the network what words mean.

A network of our size that reads nothing but a shop's asks knows only their words. The encoder has read the web in a
hundred languages; fine-tuned, it gives its opinion of messages with words that no ask holds (`data.plan_teacher`).
Left out: parameter-efficient tuning, which saves memory that a run of minutes does not need.
"""

import json
import random
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from model_store.contract.tokenizer import Tokenizer
from model_store.durable import replace_file
from model_store.intents.intent_model import GRAPH_NAME, IntentModel
from training.base_config import PlanTeacherConfig
from training.config import TrainingConfig
from training.data.corpora import load_extra_asks, load_public_messages, with_more_asks
from training.data.domain_pack import DomainPack, Intent, fill_slots, load_pack
from training.data.plan_teacher.encoder import EncoderTeacher, IntentEncoder
from training.data.plan_teacher.later_messages import draw_later_messages
from training.data.plan_teacher.linear import LinearTeacher
from training.data.plan_teacher.neighbours import WordNeighbours, collect_words, find_neighbours
from training.data.plan_teacher.pretrained_encoder import pad_queries
from training.data.plan_teacher.unlabelled import JointTeacher, MessageSources, Teacher
from training.data.typing_noise import add_typing_noise
from training.export.intents.intent_weights import read_intent_weights
from training.optimization import StepGuard, build_adamw, flat_then_linear, warm_up
from training.precision import fast_matrices
from training.workspace import StageResult, Workspace

STAGE = "plan_teacher"
WEIGHTS = "plan_teacher.pt"
NEIGHBOURS = "word_neighbours.json"
LEARNED_ASKS = "learned_asks.json"
_NUM_VALIDATION = 1500
_TYPES = "network.embeddings.token_type_embeddings.weight"
_FROZEN = "network.embeddings.word_embeddings.weight"
_CHECKPOINT_EVERY = 200
_HEAD_LR_FACTOR = 10
_LABEL_SMOOTHING = 0.05

LabelledAsk = tuple[str, str, str]
"""An ask with unfilled slots, its language, its intent."""


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Writes the tuned encoder and the words' neighbours. Raises DataNotFoundError when no encoder is installed."""
    if config.plan_teacher.kind == "linear":
        return {"kind": "linear"}
    started = time.monotonic()
    torch.manual_seed(config.seed)
    pack = taught_pack(config)
    encoder = IntentEncoder.pretrained(intents_of(pack), dropout=config.plan_teacher.dropout)
    if config.plan_teacher.start_from is not None:
        _go_on_from(encoder, config.plan_teacher.start_from)
    neighbours = _find_neighbours(config, pack, encoder)
    workspace.write_text(NEIGHBOURS, json.dumps(neighbours, ensure_ascii=False))
    known, unseen = _split(pack, config.seed)
    fresh = _fresh_asks(load_pack(config.corpus.domain_pack), config.plan_teacher.start_from)
    _train(encoder, known, fresh, pack, config, workspace)
    torch.save(
        {name: tensor for name, tensor in encoder.state_dict().items() if name != _FROZEN}, workspace.path(WEIGHTS)
    )
    workspace.drop_checkpoint(STAGE)
    return {
        "kind": "encoder",
        "num_asks": len(known),
        "num_fresh_asks": len(fresh),
        "accuracy_on_unseen_asks": _accuracy(encoder, unseen, pack, config.seed),
        "num_words_with_neighbours": len(neighbours),
        "seconds": round(time.monotonic() - started, 1),
    }


def _go_on_from(encoder: IntentEncoder, directory: Path) -> None:
    """The layers of an exported intent model, and of its head the intents that are still asked for."""
    known = IntentModel.load(directory).intents
    weights = {name: torch.from_numpy(array) for name, array in read_intent_weights(directory / GRAPH_NAME).items()}
    old = weights.pop("head.weight"), weights.pop("head.bias")
    types = weights.pop(_TYPES)
    encoder.load_state_dict({**encoder.state_dict(), **weights, _TYPES: types.expand_as(encoder.state_dict()[_TYPES])})
    with torch.no_grad():
        for column, intent in enumerate(encoder.intents):
            if intent in known:
                for new, learned in zip((encoder.head.weight, encoder.head.bias), old, strict=True):
                    new[column] = learned[known.index(intent)]


def intents_of(pack: DomainPack) -> list[str]:
    """The head's columns."""
    return sorted({intent.name for intent in pack.intents if intent.asks})


def load_encoder(workspace: Workspace, pack: DomainPack) -> IntentEncoder:
    """The tuned encoder of this run."""
    encoder = IntentEncoder.pretrained(intents_of(pack))
    weights = torch.load(workspace.path(WEIGHTS), weights_only=True)
    encoder.load_state_dict({**weights, _FROZEN: encoder.state_dict()[_FROZEN]})
    return encoder.eval()


def load_teachers(
    config: TrainingConfig, workspace: Workspace, tokenizer: Tokenizer
) -> tuple[dict[str, Teacher], MessageSources]:
    """The configured teacher for each language of the pack, and what its messages are made of."""
    pack = taught_pack(config)
    languages = sorted({intent.language for intent in pack.intents})
    linear = {language: LinearTeacher(pack, language, tokenizer, config.seed) for language in languages}
    if config.plan_teacher.kind == "linear":
        return dict(linear), MessageSources()
    encoder = load_encoder(workspace, pack)
    tuned = EncoderTeacher(encoder, pack)
    near = json.loads(workspace.path(NEIGHBOURS).read_text(encoding="utf-8"))
    folder = config.corpus.uniform_data_dir
    sources = MessageSources(WordNeighbours(near, encoder.tokenizer), load_public_messages(folder) if folder else {})
    return {language: JointTeacher((teacher, tuned)) for language, teacher in linear.items()}, sources


def taught_pack(config: TrainingConfig) -> DomainPack:
    """The pack, its English intents with what public data asks of them too."""
    pack = load_pack(config.corpus.domain_pack)
    folder = config.corpus.uniform_data_dir
    return with_more_asks(pack, load_extra_asks(folder, pack), config.seed) if folder else pack


def _find_neighbours(config: TrainingConfig, pack: DomainPack, encoder: IntentEncoder) -> dict[str, tuple[str, ...]]:
    folder = config.corpus.uniform_data_dir
    public = load_public_messages(folder) if folder else {}
    asks = [ask for intent in pack.intents for ask in intent.asks]
    return find_neighbours(collect_words([*asks, *public.get("en", ())], encoder), encoder)


def _split(pack: DomainPack, seed: int) -> tuple[list[LabelledAsk], list[LabelledAsk]]:
    """Asks to learn from, and asks to see how well that went."""
    asks = [(ask, intent.language, intent.name) for intent in pack.intents for ask in intent.asks]
    random.Random(seed).shuffle(asks)
    num_unseen = min(_NUM_VALIDATION, len(asks) // 10)
    return asks[num_unseen:], asks[:num_unseen]


def _fresh_asks(pack: DomainPack, start: Path | None) -> frozenset[LabelledAsk]:
    """The authored asks that an exported intent model has not learned: those behind the known ones (authors append)."""
    learned: Mapping[str, int] = {}
    if start is not None and (start / LEARNED_ASKS).exists():
        learned = json.loads((start / LEARNED_ASKS).read_text(encoding="utf-8"))
    return frozenset(
        (ask, intent.language, intent.name)
        for intent in pack.intents
        for ask in intent.asks[learned.get(_place(intent), 0) :]
    )


def write_learned_asks(pack: DomainPack, directory: Path) -> None:
    """Beside an exported intent model: how many authored asks of each intent it has learned, for whoever goes on."""
    counts = {_place(intent): len(intent.asks) for intent in pack.intents}
    replace_file(directory / LEARNED_ASKS, (json.dumps(counts, indent=1) + "\n").encode())


def _place(intent: Intent) -> str:
    return f"{intent.language}/{intent.name}"


def _train(
    encoder: IntentEncoder,
    asks: Sequence[LabelledAsk],
    fresh: Collection[LabelledAsk],
    pack: DomainPack,
    config: TrainingConfig,
    workspace: Workspace,
) -> None:
    """Deterministic, and resumable at any kill from the last checkpoint."""
    settings = config.plan_teacher
    optimizers = [
        build_adamw(encoder.network.parameters(), settings.lr, weight_decay=0.01),
        build_adamw(encoder.head.parameters(), _HEAD_LR_FACTOR * settings.lr, weight_decay=0.01),
    ]
    guard = StepGuard(encoder, optimizers, stage=STAGE)
    batches = list(_batches(encoder, asks, fresh, pack, settings, config.seed))
    num_done = _resume(encoder, optimizers, workspace)
    encoder.train()
    progress = tqdm(batches[num_done:], desc="plan teacher", unit="step", file=sys.stderr)
    for step, batch in enumerate(progress, num_done):
        torch.manual_seed(config.seed * 1_000_003 + step)
        loss = _backward(encoder, batch)
        factor = flat_then_linear(step, len(batches), 1.0) * warm_up(step)
        guard.step(loss, number=step, lr_factor=factor)
        progress.set_postfix(loss=f"{loss.item():.3f}")
        if (step + 1) % _CHECKPOINT_EVERY == 0:
            states = {"encoder": encoder.state_dict(), "optimizers": [each.state_dict() for each in optimizers]}
            workspace.save_checkpoint(STAGE, {**states, "step": step + 1})


def _resume(encoder: IntentEncoder, optimizers: Sequence[torch.optim.Optimizer], workspace: Workspace) -> int:
    """Steps done so far."""
    state = workspace.load_checkpoint(STAGE)
    if state is None:
        return 0
    encoder.load_state_dict(state["encoder"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["step"])


Batch = list[tuple[list[int], int]]
"""Token ids of a query and the column of its intent."""


def _batches(
    encoder: IntentEncoder,
    asks: Sequence[LabelledAsk],
    fresh: Collection[LabelledAsk],
    pack: DomainPack,
    settings: PlanTeacherConfig,
    seed: int,
) -> Iterator[Batch]:
    """Every fresh ask once an epoch and a share of the others, typed anew each time, and other later messages; those of
    like length share a batch.
    """
    generator = random.Random(seed)
    columns = {intent: column for column, intent in enumerate(encoder.intents)}
    later = draw_later_messages(pack, encoder.intents, seed)
    for epoch in range(int(np.ceil(settings.num_epochs))):
        read = [ask for ask in asks if ask in fresh or generator.random() < settings.replay_share]
        rows = [(encoder.encode(_typed(ask, pack, generator)), columns[ask[2]]) for ask in read]
        drawn = islice(later, settings.num_later_messages)
        rows += [(encoder.encode(text), columns[intent]) for text, _, intent in drawn]
        rows.sort(key=lambda row: len(row[0]) + generator.random())
        batches: list[Batch] = [[]]
        for row in rows:
            if (len(batches[-1]) + 1) * len(row[0]) > settings.batch_tokens:
                batches.append([])
            batches[-1].append(row)
        generator.shuffle(batches)
        yield from batches[: round(len(batches) * min(1.0, settings.num_epochs - epoch))]


def _typed(ask: LabelledAsk, pack: DomainPack, generator: random.Random) -> str:
    text, language, _ = ask
    return add_typing_noise(fill_slots(text, pack.slots[language], generator), language, generator)


def _backward(encoder: IntentEncoder, batch: Batch) -> torch.Tensor:
    with fast_matrices():
        logits = encoder(*pad_queries([ids for ids, _ in batch])).float()
        wanted = torch.tensor([column for _, column in batch])
        loss = F.cross_entropy(logits, wanted, label_smoothing=_LABEL_SMOOTHING)
        loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def _accuracy(encoder: IntentEncoder, asks: Sequence[LabelledAsk], pack: DomainPack, seed: int) -> float:
    generator = random.Random(seed)
    opinions = encoder.probabilities([_typed(ask, pack, generator) for ask in asks])
    right = [encoder.intents[int(row.argmax())] == ask[2] for row, ask in zip(opinions, asks, strict=True)]
    return float(np.mean(right))
