"""How an exported graph stores its numbers: 8-bit weight blocks and calibrated 8-bit caches.

Left out on purpose: dynamic activation quantisation (a reply would depend on who else is being served; `int8_linear`
has it for the intent model, which hears one text at a time) and 4-bit weights (rounding to nearest keeps only 60 % of
the arg-maxes). What quantisation costs is measured in `parity`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from training.export.graph_session import GraphSession

BLOCK_SIZE = 64
_LARGEST = 127
_ZERO_POINT = 128
"""What MatMulNBits takes as zero of unsigned 8-bit weights when it is given no zero points."""


class LayerKVScales(NamedTuple):
    """The value of one int8 step in a layer's cache: a scale for every head and channel, [1, heads, 1, D]."""

    key: NDArray[np.float32]
    value: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class QuantizationProfile:
    """How weights and caches are stored. Without `kv_scales` (one entry a layer) the caches are float32."""

    weights: Literal["float32", "int8_block64"]
    kv_scales: tuple[LayerKVScales, ...] | None = None

    @property
    def kv_cache(self) -> Literal["float32", "int8"]:
        """The caches' type, in the manifest's words."""
        return "float32" if self.kv_scales is None else "int8"


FLOAT32 = QuantizationProfile("float32")


class BlockQuantized(NamedTuple):
    """A weight matrix [N, K] as MatMulNBits wants it."""

    blocks: NDArray[np.uint8]
    """[N, ceil(K / 64), 64], shifted by 128."""
    scales: NDArray[np.float32]
    """[N, ceil(K / 64)]."""


def quantize_blocks(weight: NDArray[np.float32]) -> BlockQuantized:
    """Rounds [N, K] to nearest, symmetrically, a scale for every 64 inputs of a row; pads K with zeros."""
    num_rows, num_columns = weight.shape
    padded = np.pad(weight, ((0, 0), (0, -num_columns % BLOCK_SIZE)))
    blocks = padded.reshape(num_rows, -1, BLOCK_SIZE)
    scales = (np.abs(blocks).max(axis=2) / _LARGEST).astype(np.float32)
    scales[scales == 0] = 1
    steps = np.clip(np.rint(blocks / scales[..., None]), -_LARGEST, _LARGEST)
    return BlockQuantized((steps + _ZERO_POINT).astype(np.uint8), scales)


def dequantize_blocks(quantized: BlockQuantized, num_columns: int) -> NDArray[np.float32]:
    """The float32 matrix [N, num_columns] that the blocks stand for."""
    steps = quantized.blocks.astype(np.float32) - _ZERO_POINT
    weight = (steps * quantized.scales[..., None]).reshape(len(steps), -1)[:, :num_columns]
    return weight.astype(np.float32)


def calibrate_kv_scales(reference: GraphSession, sequences: Iterable[Sequence[int]]) -> tuple[LayerKVScales, ...]:
    """Scales that hold every key and value the float32 graph caches for these token ids, a scale for each channel.

    Larger values at serving time saturate. Raises ValueError when there is no sequence.
    """
    largest: list[list[NDArray[np.float32]]] | None = None
    for token_ids in sequences:
        run = reference.run(token_ids)
        found = [[_largest_per_channel(cache) for cache in caches] for caches in (run.keys, run.values)]
        if largest is None:
            largest = found
        else:
            largest = [
                [np.maximum(old, new) for old, new in zip(*pair, strict=True)]
                for pair in zip(largest, found, strict=True)
            ]
    if largest is None:
        raise ValueError("calibration needs at least one sequence of token ids")
    return tuple(LayerKVScales(_as_scale(key), _as_scale(value)) for key, value in zip(*largest, strict=True))


def kv_scales_of(graph: onnx.ModelProto) -> tuple[LayerKVScales, ...]:
    """The scales that a quantised graph was built with, a layer each. Raises ValueError for a float32 graph."""
    found = {tensor.name: tensor for tensor in graph.graph.initializer if "_scale_" in tensor.name}
    num_layers = sum(name.startswith("key_scale_") for name in found)
    if not num_layers:
        raise ValueError("a graph with float32 caches has no scales")
    return tuple(
        LayerKVScales(*(numpy_helper.to_array(found[f"{part}_scale_{layer}"]) for part in ("key", "value")))
        for layer in range(num_layers)
    )


def _largest_per_channel(cache: NDArray[np.generic]) -> NDArray[np.float32]:
    """[heads, S, D] → [1, heads, 1, D]."""
    largest: NDArray[np.float32] = np.abs(cache.astype(np.float32)).max(axis=1)
    return largest[None, :, None, :]


def _as_scale(largest: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(largest == 0, 1, largest / _LARGEST).astype(np.float32)
