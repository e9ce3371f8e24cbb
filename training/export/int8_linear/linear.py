"""Linear layers in integers: activations of 8 bits, quantised as they come, times weights of 7 (`rounding`).

A graph with such layers must be run one text at a time: with a company, a text's numbers would depend on the others'.
How activations keep their precision depends on where they come from, for an encoder has a few that are thirty times
the others: in single channels, and at the tokens that attention rests on (Sun et al. 2024, massive activations).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.export.graph_writer import CONTRIB, GraphWriter
from training.export.int8_linear.calibration import LayerInputs
from training.export.int8_linear.rounding import round_weight

Source = Literal["normalised", "attended", "activated"]
"""Where a layer's input comes from: layer normalisation, attention, or Gelu."""
_MIGRATION = 0.75
"""Between 0, where channels stay as they are, and 1, where all become equally large and the weights take the rest."""
_LEAST_GELU = 0.17
"""Gelu is nowhere below minus this."""
_STEPS_BELOW_ZERO = 16
_STEPS_ABOVE_ZERO = 255 - _STEPS_BELOW_ZERO
_LAST_AXIS, _GELU_STEP, _GELU_ZERO, _GELU_FLOOR = "last_axis", "gelu.step", "gelu.zero", "gelu.floor"


@dataclass(frozen=True, slots=True)
class Linear:
    """A layer of float weights."""

    name: str
    weight: NDArray[np.float32]
    """[N, K]"""
    bias: NDArray[np.float32]
    """[N]"""
    source: Source


def write_linear(write: GraphWriter, x: str, layer: Linear, inputs: LayerInputs) -> str:
    """x [1, S, K] times the layer's weight transposed, plus its bias; `inputs` is what it read of examples."""
    return _WRITERS[layer.source](write, x, layer, inputs)


def _write_smoothed(write: GraphWriter, x: str, layer: Linear, inputs: LayerInputs) -> str:
    """Large channels are divided by what their weights are multiplied with: SmoothQuant (Xiao et al. 2023)."""
    factors = smoothing_factors(inputs.largest, layer.weight)
    x = write.node("Mul", [x, write.constant(f"{layer.name}.smoothing", 1 / factors, np.float32)])
    smoothed = Linear(layer.name, layer.weight * factors, layer.bias, layer.source)
    return _write_whole(write, x, smoothed, inputs.divided(factors))


def _write_whole(write: GraphWriter, x: str, layer: Linear, inputs: LayerInputs) -> str:
    """One scale for all of the text's activations."""
    steps, scales = _constants(write, layer, inputs)
    bias = write.constant(f"{layer.name}.bias", layer.bias, np.float32)
    return write.node("DynamicQuantizeMatMul", [x, steps, scales, "", bias], domain=CONTRIB)


def _write_by_rows(write: GraphWriter, x: str, layer: Linear, inputs: LayerInputs) -> str:
    """A scale for every token. No smoothing helps here: another neuron is large in every layer, and for one token."""
    last_axis, step, zero, floor = _gelu_constants(write)
    largest = write.node("Max", [write.node("ReduceMax", [x, last_axis], keepdims=1), floor])
    rows = write.node("QuantizeLinear", [write.node("Div", [x, largest]), step, zero])
    steps, scales = _constants(write, layer, inputs)
    product = write.node("MatMulIntegerToFloat", [rows, steps, step, scales, zero], domain=CONTRIB)
    bias = write.constant(f"{layer.name}.bias", layer.bias, np.float32)
    return write.node("Add", [write.node("Mul", [product, largest]), bias])


_WRITERS: Mapping[Source, Callable[[GraphWriter, str, Linear, LayerInputs], str]] = {
    "normalised": _write_smoothed,
    "attended": _write_whole,
    "activated": _write_by_rows,
}


def smoothing_factors(largest: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """[K]: what channels with these largest values are divided by and their weights [N, K] multiplied with."""
    activity = np.maximum(largest, 1e-4).astype(np.float64)
    heaviness = np.maximum(np.abs(weight).max(axis=0), 1e-4)
    factors = activity**_MIGRATION / heaviness ** (1 - _MIGRATION)
    return np.asarray(factors / np.exp(np.log(factors).mean()), np.float32)


def _constants(write: GraphWriter, layer: Linear, inputs: LayerInputs) -> tuple[str, str]:
    columns = round_weight(layer.weight, inputs.products)
    steps = write.constant(f"{layer.name}.steps", columns.steps, np.int8)
    return steps, write.constant(f"{layer.name}.scales", columns.scales, np.float32)


def _gelu_constants(write: GraphWriter) -> tuple[str, str, str, str]:
    """The last axis, one step of a row whose largest value is 1, zero, and the least that counts as a row's largest:
    below it, Gelu's negative values would not fit the steps below zero. Written once for a graph.
    """
    if all(tensor.name != _LAST_AXIS for tensor in write.initializers):
        write.constant(_LAST_AXIS, [-1], np.int64)
        write.constant(_GELU_STEP, 1 / _STEPS_ABOVE_ZERO, np.float32)
        write.constant(_GELU_ZERO, _STEPS_BELOW_ZERO, np.uint8)
        write.constant(_GELU_FLOOR, _LEAST_GELU * _STEPS_ABOVE_ZERO / _STEPS_BELOW_ZERO, np.float32)
    return _LAST_AXIS, _GELU_STEP, _GELU_ZERO, _GELU_FLOOR
