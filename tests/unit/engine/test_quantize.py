"""The block quantiser on numbers worked out by hand, and cache scales that hold what they were calibrated on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from tests.unit.engine.tiny_reformer import WEIGHT_FORMATS, architecture, graph, random_ids, stock_model, stock_network
from training.export.graph_session import GraphSession
from training.export.onnx_graph import build_graph
from training.export.parity import measure_quantization
from training.export.quantize import FLOAT32, calibrate_kv_scales, dequantize_blocks, quantize_blocks


def test_a_block_is_scaled_by_its_largest_value_and_shifted_by_128() -> None:
    """127 steps for the largest; halves round to even; zero is 128."""
    weight = np.zeros((1, 128), np.float32)
    weight[0, :4] = [254, -254, 5, 0]
    quantized = quantize_blocks(weight)
    assert quantized.scales.tolist() == [[2, 1]]
    assert quantized.blocks[0, 0, :4].tolist() == [255, 1, 130, 128]
    assert (quantized.blocks[0, 1] == 128).all()


def test_inputs_that_do_not_fill_a_block_are_padded_with_zeros() -> None:
    """70 inputs make two blocks, the second mostly zero."""
    quantized = quantize_blocks(np.ones((3, 70), np.float32))
    assert quantized.blocks.shape == (3, 2, 64)
    assert (quantized.blocks[:, 1, 6:] == 128).all()


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=130), elements=st.floats(-8, 8, width=16)))
def test_rounding_is_at_most_half_a_step_off(weight: NDArray[np.float32]) -> None:
    """Half of the block's scale bounds every weight's error."""
    quantized = quantize_blocks(weight)
    error = np.abs(dequantize_blocks(quantized, weight.shape[1]) - weight)
    bound = np.repeat(quantized.scales, 64, axis=1)[:, : weight.shape[1]] / 2
    assert (error <= bound * (1 + 1e-5)).all()


def test_cache_scales_hold_every_key_and_value_they_were_calibrated_on() -> None:
    """The largest value of a layer becomes 127 steps; LSH keys have unit mean square."""
    reference = GraphSession(graph("float32"), architecture())
    sequences = [random_ids(length, seed=length) for length in (40, 200)]
    scales = calibrate_kv_scales(reference, sequences)
    for token_ids in sequences:
        run = reference.run(token_ids)
        for layer, scale in enumerate(scales):
            assert (np.abs(run.keys[layer]) <= 127.001 * scale.key).all()
            assert (np.abs(run.values[layer]) <= 127.001 * scale.value).all()
            if architecture().attn_layers[layer] == "lsh":
                assert np.square(run.keys[layer]).mean(axis=-1) == pytest.approx(1, abs=1e-3)
    assert scales[0].key.shape == (1,)


def test_calibration_without_prompts_is_refused() -> None:
    """Scales of nothing would silence the caches."""
    with pytest.raises(ValueError, match="at least one sequence"):
        calibrate_kv_scales(GraphSession(graph("float32"), architecture()), [])


def test_a_missing_weight_is_named() -> None:
    """An incomplete checkpoint does not become a graph."""
    weights = {name: tensor.numpy() for name, tensor in stock_model().state_dict().items()}
    del weights["reformer.encoder.layers.1.attention.self_attention.query_key.weight"]
    with pytest.raises(ValueError, match=r"layers\.1.*query_key"):
        build_graph(weights, architecture(), FLOAT32)


def test_a_position_table_of_another_length_is_refused() -> None:
    """The graph would gather beyond its table at serving time."""
    weights = {name: tensor.numpy() for name, tensor in stock_model().state_dict().items()}
    longer = architecture().model_copy(update={"max_positions": 1024})
    with pytest.raises(ValueError, match="position embeddings have shape"):
        build_graph(weights, longer, FLOAT32)


@pytest.mark.parametrize(("profile_name", "difference", "agreement"), [("int8", 0.7, 0.85), ("blocks", 0.5, 0.9)])
def test_the_cost_of_quantisation_is_zero_against_itself_and_positive_against_int8(
    profile_name: str, difference: float, agreement: float
) -> None:
    """The manifest's figures come from comparing two graphs at every position."""
    reference = GraphSession(graph("float32"), architecture())
    sequences = [random_ids(100, seed=1), random_ids(30, seed=2)]
    itself = measure_quantization(reference, reference, sequences, FLOAT32)
    assert (itself.top1_agreement, itself.perplexity_ratio, itself.max_logit_difference) == (1, 1, 0)
    quantized = GraphSession(graph(profile_name), architecture())
    found = measure_quantization(reference, quantized, sequences, stock_network(profile_name).profile)
    assert (found.weights, found.kv_cache) == (WEIGHT_FORMATS[profile_name], "int8")
    assert 0 < found.max_logit_difference < difference
    assert agreement < found.top1_agreement <= 1
    assert found.perplexity_ratio == pytest.approx(1, abs=0.02)
