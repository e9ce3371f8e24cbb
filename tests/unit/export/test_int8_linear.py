"""Linear layers in integers, on numbers worked out by hand and on inputs as uneven as an encoder's."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper

from model_store.graphs import ort
from training.export.graph_writer import CONTRIB, CONTRIB_OPSET, IR_VERSION, OPSET, GraphWriter
from training.export.int8_linear.calibration import LayerInputs, observe
from training.export.int8_linear.linear import Linear, Source, smoothing_factors, write_linear
from training.export.int8_linear.rounding import LARGEST_WEIGHT, round_weight
from training.export.quantize import FLOAT32

NUM_INPUTS, NUM_OUTPUTS = 96, 40


def test_weights_of_unrelated_inputs_are_rounded_to_the_nearest() -> None:
    """64 steps for the largest of an output; a row of zeros keeps a scale."""
    weight = np.array([[128, 5, -3.2], [0, 0, 0]], np.float32)
    columns = round_weight(weight, np.eye(3, dtype=np.float32))
    assert columns.steps.T.tolist() == [[64, 2, -2], [0, 0, 0]]
    assert columns.scales.tolist() == [2, 1]


def test_what_rounding_takes_from_one_input_it_gives_to_another_that_moves_with_it() -> None:
    """Two inputs that are always the same: 0.4 and 0.4 are rounded to 0 and 1, not to 0 and 0."""
    products = np.array([[4, 0, 0], [0, 1, 1], [0, 1, 1]], np.float32)
    assert round_weight(np.array([[64, 0.4, 0.4]], np.float32), products).steps.T.tolist() == [[64, 0, 1]]


@given(
    arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=70), elements=st.floats(-8, 8, width=16)),
    st.integers(0, 9),
)
def test_sums_of_two_products_fit_sixteen_bits(weight: NDArray[np.float32], seed: int) -> None:
    """On processors whose kernels would clamp them too; an input that never was active is rounded like any other."""
    inputs = np.random.default_rng(seed).normal(size=(5, weight.shape[1])).astype(np.float32)
    inputs[:, 0] = 0
    steps = round_weight(weight, inputs.T @ inputs).steps
    assert np.abs(steps.astype(int)).max() <= LARGEST_WEIGHT and 2 * LARGEST_WEIGHT * 255 < 2**15


def test_smoothing_evens_channels_out_between_inputs_and_weights() -> None:
    """A channel sixteen times as active as its like is divided by eight times as much: three quarters of the way."""
    factors = smoothing_factors(np.array([16, 1, 1], np.float32), np.ones((2, 3), np.float32))
    assert factors[0] / factors[1] == pytest.approx(8)
    assert np.prod(factors) == pytest.approx(1)


@pytest.mark.parametrize("source", ["normalised", "attended", "activated"])
def test_a_layer_of_integers_gives_what_its_floats_give(source: Source) -> None:
    """Within a fiftieth of how far outputs spread, in every way that a layer is written."""
    layer, rows = _layer(source), _rows(source)
    assert _error(layer, rows, rows) < 0.02


def test_a_channel_thirty_times_the_others_costs_a_smoothed_layer_little() -> None:
    """Unsmoothed, all others would be left a handful of steps."""
    rows = _rows("normalised")
    rows[0, 7] = 30 * rows.max()
    of_others = slice(1, None)
    assert _error(_layer("normalised"), rows, rows, of_others) < 0.05
    assert _error(_layer("attended"), rows, rows, of_others) > 0.1


def test_a_token_thirty_times_the_others_takes_no_precision_from_them() -> None:
    """It has a scale of its own where tokens have one."""
    rows = _rows("activated")
    massive = rows.copy()
    massive[0, 5] = 30 * rows.max()
    of_others = slice(1, None)
    assert _error(_layer("activated"), massive, massive, of_others) < 0.02
    assert _error(_layer("attended"), massive, massive, of_others) > 0.1


def test_what_is_negative_is_kept_at_tokens_where_nothing_is_large() -> None:
    """A row whose largest value is 0.1 and whose least is Gelu's least."""
    rows = _rows("activated")
    rows[3] = np.where(np.arange(NUM_INPUTS) % 2, -0.17, 0.1)
    assert _error(_layer("activated"), rows, rows, slice(3, 4)) < 0.05


def test_calibration_keeps_the_largest_and_the_products_of_what_a_layer_read() -> None:
    """Over all examples; the watched graph is left as it was."""
    write = GraphWriter({}, FLOAT32)
    table = np.array([[1, -3], [2, 0.5]], np.float32)
    read = write.table_rows("table", table, "token_ids")
    write.node("MatMul", [read, write.constant("weight", np.eye(2), np.float32)], name="out")
    model = _model(write, helper.make_tensor_value_info("token_ids", TensorProto.INT64, [1, "length"]))
    before = model.SerializeToString()
    found = observe(model, {"layer": read}, [[0, 1], [1]])["layer"]
    assert found.largest.tolist() == [2, 3]
    assert found.products.tolist() == [[9, -1], [-1, 9.5]]
    assert model.SerializeToString() == before


def test_calibration_without_examples_is_refused() -> None:
    """Rounding that is fitted to nothing would be noise."""
    write = GraphWriter({}, FLOAT32)
    write.node("Identity", ["token_ids"], name="out")
    model = _model(write, helper.make_tensor_value_info("token_ids", TensorProto.INT64, [1, "length"]))
    with pytest.raises(ValueError, match="at least one sequence"):
        observe(model, {"layer": "out"}, [])


def _layer(source: Source) -> Linear:
    generator = np.random.default_rng(1)
    weight = generator.normal(size=(NUM_OUTPUTS, NUM_INPUTS)).astype(np.float32)
    return Linear("layer", weight, generator.normal(size=NUM_OUTPUTS).astype(np.float32), source)


def _rows(source: Source) -> NDArray[np.float32]:
    """[50 tokens, K] as they come from such a source."""
    rows = np.random.default_rng(2).normal(size=(50, NUM_INPUTS)).astype(np.float32)
    return np.where(rows > 0, 2 * rows, -0.17 * np.exp(rows)).astype(np.float32) if source == "activated" else rows


def _error(
    layer: Linear, examples: NDArray[np.float32], rows: NDArray[np.float32], tokens: slice = slice(None)
) -> float:
    """Of a graph that was fitted to examples: root mean square, by how far the float layer's outputs spread."""
    inputs = LayerInputs.nothing(NUM_INPUTS)
    inputs.add(examples)
    write = GraphWriter({}, FLOAT32)
    output = write_linear(write, "x", layer, inputs)
    write.node("Identity", [output], name="out")
    model = _model(write, helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "length", NUM_INPUTS]))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(["out"], {"x": rows[None]})[0][0][tokens]
    expected = (rows @ layer.weight.T + layer.bias)[tokens]
    return float(np.sqrt(np.square(found - expected).mean()) / expected.std())


def _model(write: GraphWriter, given: onnx.ValueInfoProto) -> onnx.ModelProto:
    outputs = [helper.make_empty_tensor_value_info("out")]
    graph = helper.make_graph(write.nodes, "test", [given], outputs, write.initializers)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, CONTRIB_OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
