"""What hearing a message costs: `python -m tests.benchmarks.bench_hearing`; some three minutes of one core.

The weights of an intent model in the two forms that they can be exported in (layers that compute in integers, and in
blocks of 8-bit weights), and its file as it is, in turns on one core and one thread: first messages (development asks
of the pack that ships) and later ones with the turn before. CPU time of the thread, medians; ratios are medians over
messages, each held against itself. What the first messages are taken for is told beside it.
"""

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from tokenizers import Tokenizer

from model_store.contract.placeholders import fold_case
from model_store.contract.tokenizer import read_backend
from model_store.graphs import ort
from model_store.intents.intent_model import (
    DEFAULT_DIRECTORY,
    DESCRIPTION_NAME,
    GRAPH_NAME,
    LOGITS_OUTPUT,
    TOKENIZER_NAME,
    IntentModelDescription,
)
from training.data.domain_pack import DomainPack, fill_slots, load_pack
from training.data.plan_teacher.later_messages import draw_later_messages
from training.export.intents.intent_graph import EncoderShape, build_intent_graph
from training.export.intents.intent_weights import Weights, read_intent_weights
from training.stages.base_model.intent_model import draw_examples
from training.stages.base_model.plan_teacher import intents_of

_FIRST, _LATER = "first", "later"
_EXAMPLE_SEED, _MESSAGE_SEED = 1, 7


@dataclass(frozen=True)
class Message:
    """A text as a model hears it, and the intent that its author gave it."""

    token_ids: tuple[int, ...]
    intent: str


@dataclass
class Form:
    """One graph, and what came of it."""

    name: str
    session: ort.InferenceSession
    seconds: dict[str, list[float]] = field(default_factory=lambda: {_FIRST: [], _LATER: []})
    best: list[int] = field(default_factory=list)
    """Of first messages, the likeliest intent."""

    def hear(self, message: Message, kind: str) -> None:
        """One pass, after one that brings the weights near."""
        inputs = {"token_ids": np.array([message.token_ids], np.int64)}
        self.session.run([LOGITS_OUTPUT], inputs)
        started = time.thread_time()
        logits: NDArray[np.float32] = self.session.run([LOGITS_OUTPUT], inputs)[0]
        self.seconds[kind].append(time.thread_time() - started)
        if kind == _FIRST:
            self.best.append(int(logits[0].argmax()))

    def row(self, base: "Form", columns: Sequence[int]) -> str:
        """Its figures beside another's; `columns` are those of the first messages' intents."""
        cells = [f"{self.name:28}"]
        for kind, mine in self.seconds.items():
            ratios = [theirs / own for theirs, own in zip(base.seconds[kind], mine, strict=True) if own]
            cells.append(f"{1000 * statistics.median(mine):9.2f} {statistics.median(ratios):8.2f}")
        right, same = (float(np.mean(np.equal(self.best, other))) for other in (columns, base.best))
        return f"{' '.join(cells)} {right:8.1%} {same:8.1%}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a row for each form; returns 0."""
    options = _parser().parse_args(arguments)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    description = IntentModelDescription.model_validate_json((options.model / DESCRIPTION_NAME).read_bytes())
    tokenizer, pack = read_backend(options.model / TOKENIZER_NAME), load_pack("shop")
    tokenizer.enable_truncation(description.max_tokens)
    messages = draw_messages(pack, tokenizer, description.prefix, options.messages)
    forms = open_forms(options.model, pack, tokenizer)
    for kind, heard in messages.items():
        for number, message in enumerate(heard):
            for form in forms[number % len(forms) :] + forms[: number % len(forms)]:
                form.hear(message, kind)
    known = {intent: column for column, intent in enumerate(description.intents)}
    columns = [known.get(message.intent, -1) for message in messages[_FIRST]]
    lengths = [statistics.median(len(message.token_ids) for message in heard) for heard in messages.values()]
    print(f"{len(columns)} messages of each kind; median tokens: first {lengths[0]:.0f}, later {lengths[1]:.0f}")
    print(f"{'':28}  first ms  x median  later ms x median    right same as the first row")
    for form in forms:
        print(form.row(forms[0], columns), flush=True)
    return 0


def open_forms(directory: Path, pack: DomainPack, tokenizer: Tokenizer) -> list[Form]:
    """The model's weights in both forms, without what else it tells, and its graph as it is."""
    weights, shape = read_whole(directory / GRAPH_NAME)
    examples = [tokenizer.encode(text).ids for text in draw_examples(pack, 10_000, _EXAMPLE_SEED)]
    graphs = {
        "blocks of 8-bit weights": build_intent_graph(weights, shape).SerializeToString(),
        "in integers": build_intent_graph(weights, shape, examples=examples).SerializeToString(),
        "the file, with all its heads": (directory / GRAPH_NAME).read_bytes(),
    }
    return [Form(name, _session(graph)) for name, graph in graphs.items()]


def read_whole(path: Path) -> tuple[Weights, EncoderShape]:
    """Everything that a graph was made of: its weights, those of subwords too, and its sizes."""
    graph = onnx.load(path).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    words = tensors["words"].astype(np.float32) * tensors["word_scales"]
    weights = {**read_intent_weights(path), "network.embeddings.word_embeddings.weight": words}
    attentions = [node for node in graph.node if node.op_type == "MultiHeadAttention"]
    norm = next(node for node in graph.node if node.op_type == "LayerNormalization")
    num_heads, epsilon = (
        next(onnx.helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name)
        for node, name in ((attentions[0], "num_heads"), (norm, "epsilon"))
    )
    return weights, EncoderShape(len(attentions), num_heads, epsilon)


def draw_messages(pack: DomainPack, tokenizer: Tokenizer, prefix: str, number: int) -> dict[str, list[Message]]:
    """Of each kind the same ones each time."""
    generator = random.Random(_MESSAGE_SEED)
    asks = [(ask, intent) for intent in pack.intents for ask in intent.development_asks]
    chosen = generator.sample(asks, min(number, len(asks)))
    first = [(fill_slots(ask, pack.slots[intent.language], generator), intent.name) for ask, intent in chosen]
    drawn = islice(draw_later_messages(pack, intents_of(pack), _MESSAGE_SEED), len(first))
    kinds = {_FIRST: first, _LATER: [(text, intent) for text, _, intent in drawn]}
    return {
        kind: [Message(tuple(tokenizer.encode(prefix + fold_case(text)).ids), intent) for text, intent in texts]
        for kind, texts in kinds.items()
    }


def _session(graph: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.bench_hearing", description="What hearing a message costs."
    )
    parser.add_argument("--model", type=Path, default=DEFAULT_DIRECTORY, help="an intent model's folder")
    parser.add_argument("--messages", type=int, default=300, help="of each kind; default: 300")
    return parser


if __name__ == "__main__":
    sys.exit(main())
