"""Reading an exported intent model back, so that it goes on learning without the run that made it.

Subwords are not read: tuning leaves them as the pretrained encoder has them, and an exported model holds only some.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from training.errors import DataNotFoundError

_ZERO = 128
_LINEAR = "MatMulNBits"
_LAYER = "network.encoder.layer."

Weights = dict[str, NDArray[np.float32]]
_Read = Callable[[str], NDArray[np.float32]]


def read_intent_weights(path: Path) -> Weights:
    """Float weights of the graph `path` by their names in an `IntentEncoder`'s state dictionary.

    Raises DataNotFoundError when there is no such graph or it is none of ours.
    """
    try:
        graph = onnx.load(path).graph
        tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        return _weights(tensors, {node.input[1]: _num_inputs(node) for node in graph.node if node.op_type == _LINEAR})
    except (OSError, KeyError, ValueError) as error:
        raise DataNotFoundError(
            what="An intent model to go on from",
            path=path,
            remedy="Name the folder of one that this job exported, or leave plan_teacher.start_from out.",
        ) from error


def _num_inputs(node: onnx.NodeProto) -> int:
    return next(int(attribute.i) for attribute in node.attribute if attribute.name == "K")


def _weights(tensors: dict[str, NDArray[np.generic]], num_inputs: dict[str, int]) -> Weights:
    def read(name: str) -> NDArray[np.float32]:
        return np.array(tensors[name], np.float32)

    def matrix(name: str) -> NDArray[np.float32]:
        scales = read(f"{name}.scales")
        if f"{name}.steps" in tensors:
            weight = (read(f"{name}.steps") * scales).T
            return weight * read(f"{name}.smoothing") if f"{name}.smoothing" in tensors else weight
        blocks = read(f"{name}.blocks")
        rows = ((blocks - _ZERO) * scales[..., None]).reshape(len(blocks), -1)
        return rows[:, : num_inputs[f"{name}.blocks"]]  # the last block of a row may be filled up

    numbers = {int(name.removeprefix(_LAYER).split(".")[0]) for name in tensors if name.startswith(_LAYER)}
    embeddings = "network.embeddings"
    found = {
        # Tokens are all of one type, whose row was added to the positions'.
        f"{embeddings}.position_embeddings.weight": read("positions"),
        f"{embeddings}.token_type_embeddings.weight": np.zeros_like(read("positions")[:1]),
        **_norm(f"{embeddings}.LayerNorm", read),
        "head.weight": read("head.weight").T,
        "head.bias": read("head.bias"),
    }
    for number in numbers:
        found |= _layer(f"{_LAYER}{number}", matrix, read)
    return found


def _layer(prefix: str, matrix: _Read, read: _Read) -> Weights:
    attention = f"{prefix}.attention.self"
    found = {
        **_norm(f"{prefix}.attention.output.LayerNorm", read),
        **_norm(f"{prefix}.output.LayerNorm", read),
    }
    parts = zip(np.split(matrix(attention), 3), np.split(read(f"{attention}.bias"), 3), strict=True)
    for name, (weight, bias) in zip(("query", "key", "value"), parts, strict=True):
        found |= {f"{attention}.{name}.weight": weight, f"{attention}.{name}.bias": bias}
    places = {"attention.out": "attention.output.dense", "inner": "intermediate.dense", "outer": "output.dense"}
    for stored, name in places.items():
        found[f"{prefix}.{name}.weight"] = matrix(f"{prefix}.{stored}")
        found[f"{prefix}.{name}.bias"] = read(f"{prefix}.{stored}.bias")
    return found


def _norm(name: str, read: _Read) -> Weights:
    return {f"{name}.{part}": read(f"{name}.{part}") for part in ("weight", "bias")}
