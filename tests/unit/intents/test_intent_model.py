"""The intent model: exported files say what the tuned encoder says, and nothing else is opened."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from model_store.contract.manifest import FileEntry
from model_store.digest import digest_bytes
from model_store.errors import IntentModelUnusableError
from model_store.intents.intent_model import DEFAULT_DIRECTORY, IntentModel, IntentModelDescription
from tests.intent_models import prune_encoder, random_encoder, write_files
from training.data.plan_teacher.encoder import IntentEncoder
from training.export.intents.intent_graph import (
    EncoderHeads,
    build_intent_graph,
)
from training.export.intents.intent_weights import read_intent_weights
from training.export.intents.search_space import SearchSpace, unit_rows

INTENTS = ("greeting", "refund", "track_package")
PIECES = ["<s>", "<pad>", "</s>", "<unk>", *"▁abcdefghijklmnopqrstuvwxyz:", "▁query", "▁where", "▁money", "钱", "退"]
TEXTS = ("query: where is my money", "query: 退钱 ok", "query: where")


@pytest.fixture(scope="module")
def encoder() -> IntentEncoder:
    """A small network with random weights over a small vocabulary, which makes up its mind."""
    encoder = random_encoder(INTENTS, PIECES)
    torch.nn.init.normal_(encoder.head.weight, std=0.5)
    return encoder


def write(
    tmp_path: Path, encoder: IntentEncoder, space: SearchSpace | None = None, *, in_integers: bool = True
) -> Path:
    """The encoder as files, with the subwords that the texts need."""
    pruned = prune_encoder(encoder, TEXTS)
    examples = [pruned.tokenizer.encode(text).ids for text in TEXTS] if in_integers else ()
    graph = build_intent_graph(pruned.weights, pruned.sizes, EncoderHeads(space=space), examples)
    return write_files(tmp_path, graph, pruned.tokenizer, intents=INTENTS)


@pytest.fixture
def directory(tmp_path: Path, encoder: IntentEncoder) -> Path:
    """Without a space to search in."""
    return write(tmp_path, encoder)


@pytest.mark.parametrize("in_integers", [True, False])
def test_the_files_say_what_the_encoder_says(tmp_path: Path, encoder: IntentEncoder, in_integers: bool) -> None:
    """Few bits and fewer subwords move a probability by less than two points, in either form."""
    model = IntentModel.load(write(tmp_path, encoder, in_integers=in_integers))
    texts = [text.removeprefix("query: ") for text in TEXTS]
    for text, expected in zip(texts, encoder.probabilities(texts), strict=True):
        assert np.abs(model.probabilities(text) - expected).max() < 0.02


def test_a_text_is_heard_the_same_whatever_is_heard_beside_it(directory: Path) -> None:
    """To the bit, by threads that share the model: its integers are a text's own."""
    model = IntentModel.load(directory)
    texts = [text.removeprefix("query: ") for text in TEXTS]
    alone = [model.probabilities(text).tobytes() for text in texts]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda text: model.probabilities(text).tobytes(), texts * 20))
    assert together == alone * 20


def test_the_last_messages_are_remembered_where_that_is_asked_for(directory: Path) -> None:
    """The same object, whatever came before it in between; the third message takes the first one's place."""
    model = IntentModel.load(directory, num_remembered=2)
    first = model.hear("where")
    assert model.hear("is") is not first and model.hear("where") is first
    for other in ("is", "my"):
        model.hear(other)
    again = model.hear("where")
    assert again is not first and again.probabilities.tobytes() == first.probabilities.tobytes()
    with pytest.raises(ValueError, match="read-only"):
        first.probabilities[0] = 1
    forgetful = IntentModel.load(directory)
    assert forgetful.hear("where") is not forgetful.hear("where")


@pytest.mark.parametrize(("in_integers", "most"), [(True, 0.05), (False, 0.01)])
def test_weights_are_read_back_from_either_form(
    tmp_path: Path, encoder: IntentEncoder, in_integers: bool, most: float
) -> None:
    """By their names in the encoder, as far off as their rounding."""
    found = read_intent_weights(write(tmp_path, encoder, in_integers=in_integers) / "model.onnx")
    words, types = (f"network.embeddings.{kind}_embeddings.weight" for kind in ("word", "token_type"))
    state = {name: tensor.numpy(force=True).copy() for name, tensor in encoder.state_dict().items() if name != words}
    state["network.embeddings.position_embeddings.weight"] += state[types][:1]
    assert found.keys() == state.keys()
    for name in found.keys() - {types}:
        assert np.abs(found[name] - state[name]).max() <= most * np.abs(state[name]).max(), name


def test_one_pass_tells_the_intent_and_where_the_message_lies(tmp_path: Path, encoder: IntentEncoder) -> None:
    """The second output is the projection of the encoder's own states; the first is what it is without it."""
    generator = np.random.default_rng(0)
    texts = [text.removeprefix("query: ") for text in TEXTS]
    states = encoder.mean_states(texts, (1, 2))
    assert np.allclose(states[:, 1], encoder.embed(texts), atol=1e-5)
    directions = generator.normal(size=(128, 16)).astype(np.float32)
    space = SearchSpace((1, 2), states.mean(axis=0) + 0.5, directions)
    model = IntentModel.load(write(tmp_path, encoder, space))
    expected = unit_rows(unit_rows(states - space.centres).reshape(len(texts), -1) @ directions)
    for text, row, probabilities in zip(texts, expected, encoder.probabilities(texts), strict=True):
        heard = model.hear(text)
        assert model.embeds and heard.embedding is not None
        assert float(heard.embedding @ row) > 0.98 and np.linalg.norm(heard.embedding) == pytest.approx(1, abs=1e-4)
        assert np.abs(heard.probabilities - probabilities).max() < 0.02
    heard = model.hear("where")
    assert heard.embedding is not None and np.allclose(model.embed_passage("Where"), heard.embedding, atol=1e-5)


def test_a_model_without_a_space_hears_and_does_not_embed(directory: Path) -> None:
    """Files from before, or of a pack without articles, serve on."""
    model = IntentModel.load(directory)
    assert not model.embeds and model.hear("where").embedding is None


def test_a_long_message_is_cut_and_an_empty_one_is_heard(directory: Path) -> None:
    """No length that the service lets in is an error."""
    model = IntentModel.load(directory)
    for text in ("", "where " * 4000, "\U0001f642"):
        assert model.probabilities(text).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_changed_file_is_not_opened(directory: Path, name: str) -> None:
    """One byte more, and the error names the file and the way out."""
    with (directory / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(IntentModelUnusableError, match=f"{name}.*not what was exported.*SERVICE_INTENT_WEIGHT=0"):
        IntentModel.load(directory)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_file_that_is_none_of_its_kind_is_named(directory: Path, name: str) -> None:
    """Exported that way, so its digest fits: whoever opens it says which file and what is wrong."""
    (directory / name).write_bytes(b"not what it is called")
    description = IntentModelDescription.model_validate_json((directory / "intents.json").read_bytes())
    entry = FileEntry(sha256=digest_bytes(b"not what it is called"), num_bytes=21)
    changed = description.model_copy(update={"files": {**description.files, name: entry}})
    (directory / "intents.json").write_text(changed.model_dump_json())
    with pytest.raises(IntentModelUnusableError, match=f"{name} cannot be used"):
        IntentModel.load(directory)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """So is a description that is none."""
    with pytest.raises(IntentModelUnusableError, match="absent"):
        IntentModel.load(tmp_path / "absent")
    (tmp_path / "intents.json").write_text(json.dumps({"format": 2}))
    with pytest.raises(IntentModelUnusableError, match="format"):
        IntentModel.load(tmp_path)


def test_a_graph_that_answers_otherwise_than_described_is_not_served(directory: Path) -> None:
    """It opens, and would fail or mislead at every message."""
    description = IntentModelDescription.model_validate_json((directory / "intents.json").read_bytes())
    changed = description.model_copy(update={"intents": (*INTENTS, "unheard_of")})
    (directory / "intents.json").write_text(changed.model_dump_json())
    with pytest.raises(IntentModelUnusableError, match="model.onnx.* 3 intents apart and names 4"):
        IntentModel.load(directory)


@pytest.mark.parametrize(
    ("message", "intent"),
    [
        ("i forgot the password of my account", "reset_password"),
        ("where is my parcel?", "track_package"),
        ("我忘记了我的账户密码", "reset_password"),
        ("我的快递到哪里了", "track_package"),
    ],
)
def test_the_model_that_ships_hears_plain_questions(message: str, intent: str) -> None:
    """In both languages, and surely."""
    model = IntentModel.load(DEFAULT_DIRECTORY)
    probabilities = model.probabilities(message)
    assert model.intents[int(probabilities.argmax())] == intent
    assert probabilities.max() > 0.5
