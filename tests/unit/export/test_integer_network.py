"""The network in integers: smoothing changes nothing, fixed scales make every product's rows their own."""

import numpy as np
import onnx
import pytest
from onnx import helper

from model_store.graphs import ort
from tests.unit.engine.tiny_reformer import architecture, calibration_ids, graph, random_ids, stock_model, stock_network
from training.export.graph_session import GraphSession
from training.export.graph_writer import CONTRIB, CONTRIB_OPSET, IR_VERSION, OPSET, GraphWriter
from training.export.int8_linear.network import network_to_serve, observe_products
from training.export.int8_linear.rounding import round_weight
from training.export.onnx_graph import build_graph
from training.export.quantize import IntegerLayer, QuantizationProfile

NUM_LAYERS = len(architecture().attn_layers)


def test_smoothing_leaves_what_the_network_computes() -> None:
    """In float32 the smoothed weights are another way to write the same function; the weights do differ."""
    weights = {name: tensor.numpy() for name, tensor in stock_model().state_dict().items()}
    smoothed = stock_network("int8").weights
    assert sum(not np.array_equal(weights[name], smoothed[name]) for name in weights) > 5 * NUM_LAYERS
    text = random_ids(200, seed=5)
    expected = GraphSession(graph("float32"), architecture()).run(text).logits
    found = GraphSession(build_graph(smoothed, architecture()), architecture()).run(text).logits
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_every_product_of_the_layers_and_the_head_is_in_integers() -> None:
    """Four a layer and the head: none is left with weight blocks."""
    operators = [node.op_type for node in graph("int8").graph.node]
    assert operators.count("MatMulIntegerToFloat") == 4 * NUM_LAYERS + 1
    assert "MatMulNBits" not in operators and "DynamicQuantizeMatMul" not in operators


def test_fixed_scales_reach_what_the_examples_held() -> None:
    """The least and the greatest activation of the examples are the first and the last step, to half a step."""
    inputs = observe_products(graph("float32"), architecture(), calibration_ids())
    profile = stock_network("int8").profile
    assert set(profile.layers) == set(inputs)
    for name in (f"layer_{layer}.outer" for layer in range(NUM_LAYERS)):
        assert inputs[name].lowest.max() == 0 and profile.layers[name].zero == 0, "relu makes nothing negative"
    assert all(0 <= layer.zero <= 255 and layer.step > 0 for layer in profile.layers.values())
    assert any(layer.zero > 0 for layer in profile.layers.values())


@pytest.mark.parametrize("num_rows", [1, 2, 3, 4, 7, 16, 61])
def test_a_row_has_the_same_bits_in_any_company(num_rows: int) -> None:
    """Whatever kernel a number of rows is given to; a large neighbour changes nothing, unlike with dynamic scales."""
    generator = np.random.default_rng(3)
    rows = generator.normal(size=(61, 96)).astype(np.float32)
    weight = generator.normal(size=(70, 96)).astype(np.float32)
    layer = IntegerLayer(0.03, 120, round_weight(weight, rows.T @ rows))
    write = GraphWriter({}, QuantizationProfile("int8_static", layers={"layer": layer}))
    bias = generator.normal(size=70).astype(np.float32)
    write.node("Identity", [write.linear("x", "layer", weight, bias)], name="out")
    session = _session(write)
    alone = np.concatenate([session.run(["out"], {"x": rows[None, [number]]})[0][0] for number in range(num_rows)])
    company = rows[None, :num_rows].copy()
    assert np.array_equal(session.run(["out"], {"x": company})[0][0], alone)
    company[0, -1] = 1e6
    assert np.array_equal(session.run(["out"], {"x": company})[0][0, :-1], alone[:-1])
    close = rows[:num_rows] @ weight.T + bias
    assert np.sqrt(np.square(alone - close).mean()) < 0.03 * close.std()


def test_calibration_without_texts_is_refused() -> None:
    """Scales of nothing would silence every product."""
    weights = {name: tensor.numpy() for name, tensor in stock_model().state_dict().items()}
    with pytest.raises(ValueError, match="at least one sequence"):
        network_to_serve(weights, architecture(), "int8_static", [])


def _session(write: GraphWriter) -> ort.InferenceSession:
    given = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, "length", 96])
    network = helper.make_graph(
        write.nodes, "test", [given], [helper.make_empty_tensor_value_info("out")], write.initializers
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, CONTRIB_OPSET)]
    model = helper.make_model(network, opset_imports=opsets, ir_version=IR_VERSION)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
