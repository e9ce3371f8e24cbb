"""The network in integers: activations of 8 bits by scales that are fixed, times weights of 7 (`rounding`).

Sums of integers are exact and the scales do not depend on the batch, so a reply has the same bits in any company. That
one scale serves all channels of an activation is smoothing's doing (SmoothQuant, Xiao et al. 2023): whatever makes an
activation is divided by what its readers are multiplied with. That happens once, in the weights, and costs nothing when
the network is served.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from model_store.contract.manifest import Architecture, WeightFormat
from training.export.graph_session import GraphSession
from training.export.int8_linear.calibration import LayerInputs
from training.export.int8_linear.linear import smoothing_factors
from training.export.int8_linear.rounding import round_weight
from training.export.onnx_graph import build_graph
from training.export.quantize import FLOAT32, IntegerLayer, QuantizationProfile, calibrate_kv_scales

Weights = Mapping[str, NDArray[np.float32]]
_MOST_STEPS = 255


@dataclass(frozen=True, slots=True)
class NetworkToServe:
    """Weights that compute what the given ones do, and how a graph of them stores its numbers."""

    weights: Weights
    profile: QuantizationProfile


@dataclass(frozen=True, slots=True)
class _Product:
    """A matrix product as the graph names it, and the weights around it."""

    name: str
    readers: tuple[str, ...]
    """Matrices [N, K] that read its input, one above the other."""
    makers: tuple[str, ...]
    """Vectors [K] and matrices [K, M] that its input is proportional to."""


def network_to_serve(
    weights: Weights,
    architecture: Architecture,
    weight_format: WeightFormat,
    sequences: Sequence[Sequence[int]],
    *,
    layer_norm_eps: float = 1e-12,
) -> NetworkToServe:
    """Calibrates on token ids of texts as they will be served. Raises ValueError when there are none.

    With "float32" nothing is calibrated and nothing changes.
    """
    if weight_format == "float32":
        return NetworkToServe(weights, FLOAT32)
    layers: dict[str, IntegerLayer] = {}
    if weight_format == "int8_static":
        reference = build_graph(weights, architecture, layer_norm_eps=layer_norm_eps)
        inputs = observe_products(reference, architecture, sequences)
        weights, layers = _in_integers(weights, architecture, inputs)
    reference = build_graph(weights, architecture, layer_norm_eps=layer_norm_eps)
    scales = calibrate_kv_scales(GraphSession(reference, architecture), sequences)
    return NetworkToServe(weights, QuantizationProfile(weight_format, scales, layers))


def observe_products(
    graph: onnx.ModelProto, architecture: Architecture, sequences: Iterable[Sequence[int]]
) -> dict[str, LayerInputs]:
    """By name, what each matrix product of a float32 graph read of these texts.

    Raises ValueError when there is no text.
    """
    session = _WatchedSession(graph, architecture)
    for token_ids in sequences:
        session.run(token_ids)
    if not session.inputs:
        raise ValueError("calibration needs at least one sequence of token ids")
    return session.inputs


class _WatchedSession(GraphSession):
    """Keeps what the matrix products are given."""

    def __init__(self, graph: onnx.ModelProto, architecture: Architecture) -> None:
        suffix = ".weight"
        self._tensors = {
            node.input[1].removesuffix(suffix): node.input[0]
            for node in graph.graph.node
            if node.op_type == "MatMul" and node.input[1].endswith(suffix)
        }
        self.inputs: dict[str, LayerInputs] = {}
        watched = onnx.ModelProto()
        watched.CopyFrom(graph)
        outputs = dict.fromkeys(self._tensors.values())
        watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
        super().__init__(watched, architecture)

    def _run_piece(
        self, token_ids: Sequence[int], piece: tuple[int, int], caches: list[NDArray[np.generic]]
    ) -> tuple[NDArray[np.float32], list[NDArray[np.generic]]]:
        names = [output.name for output in self._session.get_outputs()]
        found = dict(zip(names, self._session.run(names, self._feed(token_ids, piece, caches)), strict=True))
        for product, tensor in self._tensors.items():
            rows = found[tensor].reshape(-1, found[tensor].shape[-1])
            self.inputs.setdefault(product, LayerInputs.nothing(rows.shape[1])).add(rows)
        return found["logits"][0], [found[name] for name in names[1 : 1 + len(caches)]]


def _in_integers(
    weights: Weights, architecture: Architecture, inputs: Mapping[str, LayerInputs]
) -> tuple[Weights, dict[str, IntegerLayer]]:
    """The weights after smoothing, and the products of the layers and of the head.

    Those before the layers keep their blocks: they are a hundredth of the work.
    """
    smoothed = dict(weights)
    read: dict[str, LayerInputs] = {}
    products = tuple(_products(architecture))
    for product in products:
        factors = smoothing_factors(inputs[product.name].largest, _stacked(smoothed, product))
        for name in product.readers:
            smoothed[name] = smoothed[name] * factors
        for name in product.makers:
            made = smoothed[name]
            smoothed[name] = made / (factors if made.ndim == 1 else factors[:, None])
        read[product.name] = inputs[product.name].divided(factors)
    layers = {one.name: _integer_layer(_stacked(smoothed, one), read[one.name]) for one in products}
    return smoothed, layers


def _stacked(weights: Weights, product: _Product) -> NDArray[np.float32]:
    return np.concatenate([np.asarray(weights[name], np.float32) for name in product.readers])


def _integer_layer(weight: NDArray[np.float32], inputs: LayerInputs) -> IntegerLayer:
    """For a matrix [N, K]; larger activations than the examples had are taken for the largest of these."""
    low, high = float(inputs.lowest.min()), float(inputs.highest.max())
    step = (high - low) / _MOST_STEPS or 1.0
    return IntegerLayer(step, round(-low / step), round_weight(weight, inputs.products))


def _products(architecture: Architecture) -> Iterator[_Product]:
    """In the order of the graph. What a value head makes, attention mixes but does not change by channel."""
    for layer, kind in enumerate(architecture.attn_layers):
        attention, forward = (f"reformer.encoder.layers.{layer}.{part}" for part in ("attention", "feed_forward"))
        names = ("query", "key", "value") if kind == "local" else ("query_key", "value")
        heads = tuple(f"{attention}.self_attention.{name}.weight" for name in names)
        inner = f"{forward}.dense.dense"
        yield _Product(f"layer_{layer}.projection", heads, _norm(f"{attention}.layer_norm"))
        yield _Product(f"layer_{layer}.output", (f"{attention}.output.dense.weight",), heads[-1:])
        yield _Product(f"layer_{layer}.inner", (f"{inner}.weight",), _norm(f"{forward}.layer_norm"))
        # relu(x / f) = relu(x) / f
        yield _Product(
            f"layer_{layer}.outer", (f"{forward}.output.dense.weight",), (f"{inner}.weight", f"{inner}.bias")
        )
    yield _Product("lm_head", ("lm_head.decoder.weight",), _norm("reformer.encoder.layer_norm"))


def _norm(prefix: str) -> tuple[str, str]:
    return f"{prefix}.weight", f"{prefix}.bias"
