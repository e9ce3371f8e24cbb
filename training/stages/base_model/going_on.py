"""The intent model's ear for customers who go on about their matter, fitted to the files that are served.

`python -m training.stages.base_model.going_on DIRECTORY OUTPUT` gives it to an intent model that was exported without,
or anew; some minutes of one core. Nothing else that the model tells changes.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tokenizers import Tokenizer
from tqdm import tqdm

from model_store.contract.manifest import FileEntry
from model_store.contract.placeholders import fold_case
from model_store.digest import digest_bytes
from model_store.durable import replace_file
from model_store.graphs import ort
from model_store.intents.intent_model import (
    DEFAULT_DIRECTORY,
    DESCRIPTION_NAME,
    GRAPH_NAME,
    LOGITS_OUTPUT,
    TOKENIZER_NAME,
    IntentModelDescription,
)
from training.data.domain_pack import DomainPack, load_pack
from training.data.plan_teacher.later_messages import draw_turns_of_talk
from training.export.intents.going_on_head import add_going_on, entropies_of, fit_going_on_head, own_means

_NUM_MESSAGES = 6_000
"""Half of them go on: a minute of one core."""


def add_ear_for_going_on(directory: Path, pack: DomainPack, seed: int) -> bool:
    """Fits it and rewrites graph and description in an exported intent model's directory.

    False, and nothing is done, for a model that hears single messages and for a pack without ways to go on. Raises
    ValueError for a graph that tells no sentiment.
    """
    described = IntentModelDescription.model_validate_json((directory / DESCRIPTION_NAME).read_bytes())
    drawn = list(islice(draw_turns_of_talk(pack, described.intents, seed), _NUM_MESSAGES))
    if described.separator is None or not drawn:
        return False
    graph = onnx.load(str(directory / GRAPH_NAME))
    tokenizer = Tokenizer.from_file(str(directory / TOKENIZER_NAME))
    tokenizer.enable_truncation(described.max_tokens)
    encodings = tokenizer.encode_batch([described.prefix + fold_case(message.text) for message in drawn])
    means, entropies = _read(graph, [encoding.ids for encoding in encodings])
    wordings = {message.wording: number for number, message in enumerate(drawn)}
    head = fit_going_on_head(
        means, entropies, [message.goes_on for message in drawn], [wordings[message.wording] for message in drawn]
    )
    data = add_going_on(graph, head).SerializeToString()
    replace_file(directory / GRAPH_NAME, data)
    entry = FileEntry(sha256=digest_bytes(data), num_bytes=len(data))
    changed = described.model_copy(update={"files": {**described.files, GRAPH_NAME: entry}})
    replace_file(directory / DESCRIPTION_NAME, (changed.model_dump_json(indent=1) + "\n").encode())
    return True


def _read(graph: onnx.ModelProto, messages: Sequence[Sequence[int]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """[n, F], what the served encoder makes of messages' own words, and [n], how torn it is between intents."""
    shown = onnx.ModelProto()
    shown.CopyFrom(graph)
    outputs = [own_means(shown), LOGITS_OUTPUT]
    shown.graph.output.append(helper.make_tensor_value_info(outputs[0], TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    progress = tqdm(messages, desc="going on", unit="message", file=sys.stderr, leave=False)
    read = [session.run(outputs, {"token_ids": np.array([ids], np.int64)}) for ids in progress]
    means, logits = (np.asarray([found[part][0] for found in read], np.float32) for part in (0, 1))
    return means, entropies_of(logits)


def main() -> int:
    """Copies a directory and gives the copy the ear; 1 where there is nothing to be learned."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path, nargs="?", default=DEFAULT_DIRECTORY)
    parser.add_argument("output", type=Path)
    parser.add_argument("--pack", default="shop")
    parser.add_argument("--seed", type=int, default=4)
    options = parser.parse_args()
    shutil.copytree(options.directory, options.output, dirs_exist_ok=True)
    return 0 if add_ear_for_going_on(options.output, load_pack(options.pack), options.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
