"""What the layers of a graph are given: run it in float32 over examples and keep what rounding must know.

Some hundred short texts are enough: of 420 it takes half a minute, and the products of a layer of 1,536 channels 9 MB.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from model_store.graphs import ort


@dataclass(slots=True)
class LayerInputs:
    """What one layer read, of K channels, over all tokens of all examples."""

    lowest: NDArray[np.float32]
    """[K]: the least value of each channel, or 0."""
    highest: NDArray[np.float32]
    """[K]: the greatest value of each channel, or 0."""
    products: NDArray[np.float32]
    """[K, K]: the sum over tokens of every channel times every other."""

    @classmethod
    def nothing(cls, num_channels: int) -> "LayerInputs":
        """Before the first example."""
        zeros = np.zeros(num_channels, np.float32)
        return cls(zeros, zeros.copy(), np.zeros((num_channels, num_channels), np.float32))

    @property
    def largest(self) -> NDArray[np.float32]:
        """[K]: the largest magnitude of each channel."""
        return np.maximum(self.highest, -self.lowest)

    def add(self, rows: NDArray[np.float32]) -> None:
        """Counts what was read [tokens, K]."""
        np.minimum(self.lowest, rows.min(axis=0), out=self.lowest)
        np.maximum(self.highest, rows.max(axis=0), out=self.highest)
        self.products += rows.T @ rows

    def divided(self, factors: NDArray[np.float32]) -> "LayerInputs":
        """The same with each channel divided by one of these [K] positive numbers."""
        products = self.products / np.outer(factors, factors)
        return LayerInputs(self.lowest / factors, self.highest / factors, products)


def observe(
    model: onnx.ModelProto, tensors: Mapping[str, str], examples: Iterable[Sequence[int]]
) -> dict[str, LayerInputs]:
    """By layer, what the tensor [1, S, K] that it reads held. `model` takes `token_ids` [1, S]; it is not changed.

    Raises ValueError when there is no example.
    """
    session = _session(model, sorted(set(tensors.values())))
    names = [output.name for output in session.get_outputs()]
    found: dict[str, LayerInputs] = {}
    for token_ids in examples:
        held = dict(zip(names, session.run(names, {"token_ids": np.array([token_ids], np.int64)}), strict=True))
        for layer, tensor in tensors.items():
            rows = held[tensor][0]
            found.setdefault(layer, LayerInputs.nothing(rows.shape[-1])).add(rows)
    if not found:
        raise ValueError("calibration needs at least one sequence of token ids")
    return found


def _session(model: onnx.ModelProto, tensors: Sequence[str]) -> ort.InferenceSession:
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in tensors)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Fused nodes would hide what is watched, and the graph is run a few hundred times only.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
