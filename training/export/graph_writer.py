"""Writing ONNX graphs by hand: nodes, constants, and matrix products in a quantisation profile's precision.

What the graphs compute is `onnx_graph`'s and `intent_graph`'s business.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from training.export.quantize import BLOCK_SIZE, IntegerLayer, QuantizationProfile, quantize_blocks

CONTRIB = "com.microsoft"
OPSET, CONTRIB_OPSET, IR_VERSION = 18, 1, 9


class GraphWriter:
    """Collects nodes and constants. Every name is given once; an unnamed result is called after its operator."""

    def __init__(self, weights: Mapping[str, NDArray[np.float32]], profile: QuantizationProfile) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._weights = weights
        self._profile = profile

    def weight(self, name: str) -> NDArray[np.float32]:
        """A weight of the checkpoint. Raises ValueError when there is none of that name."""
        if name not in self._weights:
            raise ValueError(f"the checkpoint has no weight {name!r}")
        return np.asarray(self._weights[name], np.float32)

    def constant(self, name: str, array: NDArray[np.generic] | float | list[int], dtype: type[np.generic]) -> str:
        """Stores an array under a name, which is given back."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype), name))
        return name

    def node(self, operator: str, inputs: list[str], *, domain: str = "", name: str = "", **attributes: Any) -> str:
        """Adds a node with one output, whose name is given back."""
        name = name or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def split(self, x: str, num_parts: int) -> list[str]:
        """Equal parts along the last axis."""
        name = f"Split_{len(self.nodes)}"
        parts = [f"{name}.{index}" for index in range(num_parts)]
        self.nodes.append(helper.make_node("Split", [x], parts, name=name, axis=-1, num_outputs=num_parts))
        return parts

    def layer_norm(self, x: str, prefix: str, epsilon: float) -> str:
        """Layer normalisation of the last axis with the checkpoint's gain and bias."""
        gain = self.constant(f"{prefix}.weight", self.weight(f"{prefix}.weight"), np.float32)
        bias = self.constant(f"{prefix}.bias", self.weight(f"{prefix}.bias"), np.float32)
        return self.node("LayerNormalization", [x, gain, bias], axis=-1, epsilon=epsilon)

    def linear(self, x: str, name: str, weight: NDArray[np.float32], bias: NDArray[np.float32] | None = None) -> str:
        """x [..., K] times weight [N, K] transposed, in the profile's precision."""
        if self._profile.weights == "float32":
            product = self.node("MatMul", [x, self.constant(f"{name}.weight", weight.T, np.float32)])
            if bias is None:
                return product
            return self.node("Add", [product, self.constant(f"{name}.bias", bias, np.float32)])
        if name in self._profile.layers:
            return self._integer_linear(x, name, self._profile.layers[name], bias)
        return self._block_linear(x, name, weight, bias)

    def _integer_linear(self, x: str, name: str, layer: IntegerLayer, bias: NDArray[np.float32] | None) -> str:
        step = self.constant(f"{name}.step", layer.step, np.float32)
        zero = self.constant(f"{name}.zero", layer.zero, np.uint8)
        steps = self.constant(f"{name}.steps", layer.columns.steps, np.int8)
        scales = self.constant(f"{name}.scales", layer.columns.scales, np.float32)
        inputs = [self.node("QuantizeLinear", [x, step, zero]), steps, step, scales, zero]
        if bias is not None:
            inputs += ["", self.constant(f"{name}.bias", bias, np.float32)]
        return self.node("MatMulIntegerToFloat", inputs, domain=CONTRIB)

    def _block_linear(
        self, x: str, name: str, weight: NDArray[np.float32], bias: NDArray[np.float32] | None = None
    ) -> str:
        num_outputs, num_inputs = weight.shape
        quantized = quantize_blocks(weight)
        inputs = [
            x,
            self.constant(f"{name}.blocks", quantized.blocks, np.uint8),
            self.constant(f"{name}.scales", quantized.scales, np.float32),
        ]
        if bias is not None:
            inputs += ["", "", self.constant(f"{name}.bias", bias, np.float32)]
        sizes = {"K": num_inputs, "N": num_outputs, "bits": 8, "block_size": BLOCK_SIZE, "accuracy_level": 4}
        return self.node("MatMulNBits", inputs, domain=CONTRIB, **sizes)

    def stored(self, name: str, weight: str, dtype: type[np.generic]) -> str:
        """A buffer of whole numbers, as the checkpoint has it."""
        if weight not in self._weights:
            raise ValueError(f"the checkpoint has no {weight!r}")
        return self.constant(name, self._weights[weight], dtype)

    def table_rows(self, name: str, table: NDArray[np.float32], indices: str) -> str:
        """Rows of an embedding table. Beside 8-bit weights, 16-bit tables cost nothing that can be measured."""
        if self._profile.weights == "float32":
            return self.node("Gather", [self.constant(name, table, np.float32), indices])
        rows = self.node("Gather", [self.constant(name, table, np.float16), indices])
        return self.node("Cast", [rows], to=TensorProto.FLOAT)
