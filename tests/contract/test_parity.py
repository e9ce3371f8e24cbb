"""Training and serving compute the same: torch, the exported graph, and the service's session with its caches."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from model_store.contract.chat_template import message_start
from model_store.contract.control_tokens import ASSISTANT_ID, USER_ID
from model_store.contract.manifest import Quantization
from service.engine.engine import Engine
from service.engine.kv_cache import PIECE_LENGTH
from service.engine.ort_session import ModelInputs, OrtSession, PromptPiece
from service.engine.types import CompletionRequest, EngineOptions, SamplingParams
from tests.unit.engine.tiny_reformer import (
    NGRAM_ROWS,
    architecture,
    chat_ids,
    graph,
    ngram_graph,
    ngram_model,
    random_ids,
    stock_model,
    torch_logits,
)
from training.export.graph_session import GraphSession
from training.export.parity import MAX_FLOAT32_DIFFERENCE, bounds_broken, max_difference_from_torch

LENGTHS = (3, 70, 150)
NUM_STEPS = 140
SUMMARY_SHAPE = architecture(ngram_rows=NGRAM_ROWS, message_summary=True)
OpenSession = Callable[..., OrtSession]


@pytest.fixture
def open_session(tmp_path: Path) -> OpenSession:
    """Opens the service's own session on an exported graph."""

    def open_one(profile_name: str, num_slots: int, *, is_axial: bool = False, chunk: int = 64) -> OrtSession:
        path = tmp_path / f"{profile_name}.onnx"
        onnx.save(graph(profile_name, is_axial=is_axial, local_chunk_length=chunk), str(path))
        return OrtSession(path, architecture(chunk), EngineOptions(num_slots=num_slots))

    return open_one


def open_summary_session(directory: Path, profile_name: str) -> OrtSession:
    """One slot of the network with n-gram tables and a message summary."""
    path = directory / f"summary-{profile_name}.onnx"
    onnx.save(ngram_graph(profile_name, message_summary=True), str(path))
    return OrtSession(path, SUMMARY_SHAPE, EngineOptions(num_slots=1))


def read_prompt(session: OrtSession, prompt_ids: Sequence[int]) -> NDArray[np.float32]:
    """Reads a prompt into slot 0, which must be the only one in use; the last token's logits."""
    position = 0
    while position < len(prompt_ids):
        end = session.cache.piece_end(position, len(prompt_ids))
        before = (0, 0, *prompt_ids[:position])[message_start(prompt_ids[:position]) :]
        logits = session.run(ModelInputs((), (), PromptPiece(0, position, tuple(prompt_ids[position:end]), before)))
        position = end
    last: NDArray[np.float32] = logits[0].copy()
    return last


def read_prompts(session: OrtSession, prompts: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
    """Reads each prompt into its slot by way of slot 0; the last tokens' logits."""
    found = {}
    for slot in reversed(range(len(prompts))):
        found[slot] = read_prompt(session, prompts[slot])
        if slot:
            session.cache.move(0, slot, len(prompts[slot]))
    return [found[slot] for slot in range(len(prompts))]


@pytest.mark.parametrize(("is_axial", "chunk"), [(False, 64), (True, 64), (False, 32), (False, 128)])
def test_slots_at_different_lengths_equal_torch_at_every_position(
    open_session: OpenSession, is_axial: bool, chunk: int
) -> None:
    """fp32: prompts of 3, 70 and 150 tokens, then 140 batched steps over several chunk borders, to 1e-4."""
    sequences = [random_ids(length + NUM_STEPS, seed=length) for length in LENGTHS]
    model = stock_model(is_axial=is_axial, local_chunk_length=chunk)
    expected = [torch_logits(model, token_ids) for token_ids in sequences]
    assert min(np.std(logits, axis=1).min() for logits in expected) > 0.1
    session = open_session("float32", len(LENGTHS), is_axial=is_axial, chunk=chunk)
    after_prompts = read_prompts(session, [sequences[slot][:length] for slot, length in enumerate(LENGTHS)])
    for slot, length in enumerate(LENGTHS):
        assert np.abs(after_prompts[slot] - expected[slot][length - 1]).max() <= MAX_FLOAT32_DIFFERENCE
    for step in range(NUM_STEPS):
        positions = tuple(length + step for length in LENGTHS)
        token_ids = tuple(sequence[position] for sequence, position in zip(sequences, positions, strict=True))
        found = session.run(ModelInputs(token_ids, positions))
        for slot, position in enumerate(positions):
            assert np.abs(found[slot] - expected[slot][position]).max() <= MAX_FLOAT32_DIFFERENCE, (slot, position)


def test_a_prompt_of_every_length_equals_torch_at_its_last_position(open_session: OpenSession) -> None:
    """fp32: 1 to 200 tokens, so that every place inside a piece and every chunk border has been the end once."""
    token_ids = random_ids(200, seed=6)
    expected = torch_logits(stock_model(), token_ids)
    session = open_session("float32", 1)
    for length in range(1, len(token_ids) + 1):
        found = read_prompt(session, token_ids[:length])
        assert np.abs(found - expected[length - 1]).max() <= MAX_FLOAT32_DIFFERENCE, length


def test_a_prompt_that_ends_beside_a_border_equals_torch_with_ngrams_and_summary(tmp_path: Path) -> None:
    """fp32: conversations whose last piece is 1, 2, 63 or 64 tokens long, each with its reply's opening at the end."""
    session = open_summary_session(tmp_path, "float32")
    model = ngram_model(message_summary=True)
    for length in (1, 2, 3, 62, 63, 64, 65, 66, 127, 128, 129, 130, 191, 192, 193, 257):
        prompt = chat_ids(length, seed=length)
        difference = np.abs(read_prompt(session, prompt) - torch_logits(model, prompt)[-1]).max()
        assert difference <= MAX_FLOAT32_DIFFERENCE, length


@pytest.mark.parametrize("is_axial", [False, True])
def test_the_exported_graph_equals_torch_on_whole_sequences(is_axial: bool) -> None:
    """fp32: what the export stage measures before it publishes, up to the last position there is."""
    session = GraphSession(graph("float32", is_axial=is_axial), architecture())
    sequences = [random_ids(length, seed=length) for length in (1, 63, 64, 65, 129, 512)]
    assert max_difference_from_torch(stock_model(is_axial=is_axial), session, sequences) <= MAX_FLOAT32_DIFFERENCE


def test_the_difference_from_torch_is_found_when_the_graph_is_of_other_weights() -> None:
    """The comparison can fail: plain and axial positions are two different models."""
    session = GraphSession(graph("float32", is_axial=True), architecture())
    difference = max_difference_from_torch(stock_model(is_axial=False), session, [random_ids(20, seed=1)])
    assert difference > 100 * MAX_FLOAT32_DIFFERENCE


def test_an_int8_slot_gives_the_same_bits_alone_and_in_any_batch(open_session: OpenSession) -> None:
    """A reply does not depend on who else is being served, to the last bit of its logits."""
    sequences = [random_ids(length + NUM_STEPS, seed=length) for length in LENGTHS]
    together = open_session("int8", len(LENGTHS))
    read_prompts(together, [sequences[slot][:length] for slot, length in enumerate(LENGTHS)])
    batched = []
    for step in range(NUM_STEPS):
        positions = tuple(length + step for length in LENGTHS)
        token_ids = tuple(sequence[position] for sequence, position in zip(sequences, positions, strict=True))
        batched.append(together.run(ModelInputs(token_ids, positions)).copy())
    for slot, length in enumerate(LENGTHS):
        alone = open_session("int8", 1)
        read_prompt(alone, sequences[slot][:length])
        for step in range(NUM_STEPS):
            position = length + step
            logits = alone.run(ModelInputs((sequences[slot][position],), (position,)))
            assert np.array_equal(logits[0], batched[step][slot]), (slot, position)


def test_the_service_computes_the_bits_that_the_manifests_figures_were_measured_on(open_session: OpenSession) -> None:
    """int8: the training side's simple session and the serving session agree on a prompt, so its measurements hold."""
    token_ids = random_ids(150, seed=3)
    measured = GraphSession(graph("int8"), architecture()).run(token_ids).logits
    assert np.array_equal(read_prompt(open_session("int8", 1), token_ids), measured[-1])


@pytest.mark.parametrize("length", [64, 65, 150])
def test_the_service_computes_the_bits_of_summaries_too(tmp_path: Path, length: int) -> None:
    """int8: the same with n-gram tables and a message summary."""
    token_ids = chat_ids(length, seed=3)
    measured = GraphSession(ngram_graph("int8", message_summary=True), SUMMARY_SHAPE).run(token_ids).logits
    assert np.array_equal(read_prompt(open_summary_session(tmp_path, "int8"), token_ids), measured[-1])


def test_a_prompt_piece_never_crosses_a_chunk_border(open_session: OpenSession) -> None:
    """Pieces start where chunks start, or fill half of a longer chunk."""
    for chunk, ends in ((32, [32, 64, 96, 100]), (64, [64, 100]), (128, [64, 100])):
        cache = open_session("float32", 1, chunk=chunk).cache
        found, position = [], 0
        while position < 100:
            position = cache.piece_end(position, 100)
            found.append(position)
        assert found == ends
    assert PIECE_LENGTH == 64


def test_figures_outside_the_bounds_are_told_in_words() -> None:
    """98 % agreement and 2 % perplexity are the last that pass."""
    within = Quantization(
        weights="int8_block64",
        kv_cache="int8",
        top1_agreement=0.98,
        perplexity_ratio=1.02,
        max_logit_difference=1.0,
    )
    assert bounds_broken(within) == []
    outside = within.model_copy(update={"top1_agreement": 0.979, "perplexity_ratio": 1.021})
    assert [problem.split()[0] for problem in bounds_broken(outside)] == ["the", "quantisation"]
    assert bounds_broken(outside.model_copy(update={"perplexity_ratio": 1.0}), is_hashed=True) == []
    fewer = outside.model_copy(update={"top1_agreement": 0.949, "perplexity_ratio": 1.0})
    assert "fewer than 95%" in bounds_broken(fewer, is_hashed=True)[0]


def two_turns() -> tuple[int, ...]:
    """200 tokens: a customer's long turn and its reply's opening, then another customer's turn with two openings."""
    token_ids = list(random_ids(200, seed=6))
    for marker, places in ((USER_ID, (1, 110)), (ASSISTANT_ID, (100, 129, 199))):
        for place in places:
            token_ids[place] = marker
    return tuple(token_ids)


@pytest.mark.parametrize("message_summary", [False, True])
def test_ngrams_reach_over_the_borders_of_pieces_and_steps(tmp_path: Path, message_summary: bool) -> None:
    """fp32: a prompt in pieces, then steps of one token, equal torch's single pass, and the tables matter."""
    token_ids = two_turns()
    expected = torch_logits(ngram_model(message_summary=message_summary), token_ids)
    onnx.save(ngram_graph("float32", message_summary=message_summary), str(tmp_path / "model.onnx"))
    shape = architecture(ngram_rows=NGRAM_ROWS, message_summary=message_summary)
    session = OrtSession(tmp_path / "model.onnx", shape, EngineOptions(num_slots=1))
    position = 0
    for end in (64, 101, 128, 130):
        before = (0, 0, *token_ids[:position])[message_start(token_ids[:position]) :]
        found = session.run(ModelInputs((), (), PromptPiece(0, position, token_ids[position:end], before)))
        assert np.abs(found[0] - expected[end - 1]).max() <= MAX_FLOAT32_DIFFERENCE, position
        position = end
    for position in range(130, 199):
        context = (token_ids[position - 2 : position],)
        found = session.run(ModelInputs((token_ids[position],), (position,), None, context))
        assert np.abs(found[0] - expected[position]).max() <= MAX_FLOAT32_DIFFERENCE, position
    blind = session.run(ModelInputs((token_ids[198],), (198,), None, ((0, 0),)))
    assert np.abs(blind[0] - expected[198]).max() > 100 * MAX_FLOAT32_DIFFERENCE


@pytest.mark.parametrize("message_summary", [False, True])
def test_ngram_tables_of_bytes_lose_next_to_nothing(message_summary: bool) -> None:
    """int8: rounding the tables as well as the matrices keeps the graph within the bounds of an export."""
    shape = architecture(ngram_rows=NGRAM_ROWS, message_summary=message_summary)
    sequences = [two_turns(), *(random_ids(length, seed=length) for length in (63, 129, 512))]
    reference = GraphSession(ngram_graph("float32", message_summary=message_summary), shape)
    policy = ngram_model(message_summary=message_summary)
    assert max_difference_from_torch(policy, reference, sequences) <= MAX_FLOAT32_DIFFERENCE
    rounded = [
        GraphSession(ngram_graph("int8", message_summary=message_summary), shape).run(ids).logits for ids in sequences
    ]
    exact = [reference.run(ids).logits for ids in sequences]
    correlation = np.corrcoef(np.concatenate(rounded).ravel(), np.concatenate(exact).ravel())[0, 1]
    assert correlation > 0.999


@pytest.mark.parametrize("message_summary", [False, True])
def test_an_engine_completes_with_ngrams_as_torch_does(tmp_path: Path, message_summary: bool) -> None:
    """Scheduler and session together: greedy completions of two prompts at once equal argmax over full passes."""
    shape = architecture(ngram_rows=NGRAM_ROWS, message_summary=message_summary)
    path = tmp_path / "model.onnx"
    onnx.save(ngram_graph("float32", message_summary=message_summary), str(path))
    options = EngineOptions(num_slots=2)
    engine = Engine(OrtSession(path, shape, options), shape.max_positions, shape.vocab_size, options)
    prompts = {"long": two_turns()[:130], "short": random_ids(1, seed=2)}
    sampling = SamplingParams(temperature=0, max_tokens=40, banned_token_ids=frozenset(range(256)))
    for name, prompt in prompts.items():
        engine.submit(CompletionRequest(name, prompt, sampling))
    found: dict[str, list[int]] = {name: [] for name in prompts}
    while engine.has_work:
        for delta in engine.step():
            found[delta.request_id].append(delta.token_id)
    for name, prompt in prompts.items():
        logits = torch_logits(ngram_model(message_summary=message_summary), (*prompt, *found[name]))[
            len(prompt) - 1 : -1
        ]
        logits[:, :256] = -np.inf
        assert found[name] == logits.argmax(axis=1).tolist()


def test_a_prompt_whose_last_piece_is_one_token_leaves_later_completions_alone(tmp_path: Path) -> None:
    """The same prompt gives the same completion before and after a prompt of 65 tokens was read in the same slot."""
    shape = architecture(ngram_rows=NGRAM_ROWS, message_summary=True)
    onnx.save(ngram_graph("float32", message_summary=True), str(tmp_path / "model.onnx"))
    options = EngineOptions(num_slots=1)
    engine = Engine(OrtSession(tmp_path / "model.onnx", shape, options), shape.max_positions, shape.vocab_size, options)
    sampling = SamplingParams(temperature=0, max_tokens=30, banned_token_ids=frozenset(range(256)))
    found = []
    for number, length in enumerate((20, 65, 20)):
        engine.submit(CompletionRequest(str(number), random_ids(length, seed=length), sampling))
        found.append([delta.token_id for _ in range(200) if engine.has_work for delta in engine.step()])
    assert len(found[0]) == 30 and found[2] == found[0]
