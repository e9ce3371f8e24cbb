"""How an exported graph stores its numbers: integer layers or 8-bit weight blocks, and calibrated 8-bit caches.

Left out on purpose: dynamic activation quantisation (a reply would depend on who else is being served; `int8_linear`
has it for the intent model, which hears one text at a time) and 4-bit weights (rounding to nearest keeps only 60 % of
the arg-maxes). What quantisation costs is measured in `parity`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_store.contract.manifest import WeightFormat
from training.export.graph_session import GraphSession
from training.export.int8_linear.rounding import Columns

BLOCK_SIZE = 64
_LARGEST = 127
_ZERO_POINT = 128
"""What MatMulNBits takes as zero of unsigned 8-bit weights when it is given no zero points."""


class LayerKVScales(NamedTuple):
    """The value of one int8 step in a layer's caches, [1]. A scale for every channel is hardly more exact, and
    attention takes an eighth more time with it."""

    key: NDArray[np.float32]
    value: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class IntegerLayer:
    """A matrix product in integers: activations of unsigned bytes by a fixed scale, times weights in steps."""

    step: float
    """What one step of an activation is worth."""
    zero: int
    """The byte that stands for zero."""
    columns: Columns


@dataclass(frozen=True, slots=True)
class QuantizationProfile:
    """How weights and caches are stored. Without `kv_scales` (one entry a layer) the caches are float32."""

    weights: WeightFormat
    kv_scales: tuple[LayerKVScales, ...] | None = None
    layers: Mapping[str, IntegerLayer] = field(default_factory=dict)
    """By name the matrix products that are made in integers; all others have 8-bit weight blocks."""

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
    """Scales that hold every key and value the float32 graph caches for these token ids.

    Larger values at serving time saturate. Raises ValueError when there is no sequence.
    """
    found = [
        [[float(np.abs(cache).max()) for cache in caches] for caches in (run.keys, run.values)]
        for run in map(reference.run, sequences)
    ]
    if not found:
        raise ValueError("calibration needs at least one sequence of token ids")
    keys, values = np.max(found, axis=0)
    return tuple(LayerKVScales(_as_scale(key), _as_scale(value)) for key, value in zip(keys, values, strict=True))


def _as_scale(largest: float) -> NDArray[np.float32]:
    return np.array([largest / _LARGEST if largest else 1], np.float32)
