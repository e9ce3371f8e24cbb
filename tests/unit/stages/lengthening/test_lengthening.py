"""A bundle that reads long conversations: `python -m training lengthen` from end to end on a tiny network."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from model_store.bundle import open_bundle
from model_store.contract.manifest import Hashing, Lineage
from model_store.contract.tokenizer import Tokenizer
from service.engine.engine import Engine
from service.engine.types import CompletionRequest, EngineOptions, SamplingParams
from tests.unit.stages.untrained_bundle import make_bundle, make_pack
from training.base_config import LengtheningConfig
from training.cli import main
from training.config import TrainingConfig, load_config
from training.data.domain_pack import entities_in, load_pack
from training.data.generator import ConversationGenerator
from training.data.windows import SPEAKER
from training.errors import HashingGapError, UnfitCheckpointError
from training.reformer.model import load_policy
from training.stages.export import ReleaseNotes, export_bundle, text_sample
from training.stages.lengthening import gap, lengthen, texts
from training.stages.lengthening.gap import GAP_NAME, LengthFigures, check
from training.workspace import Workspace

SHAPE = {
    "hidden_size": 32,
    "num_layers": 2,
    "num_attention_heads": 2,
    "attention_head_size": 16,
    "feed_forward_size": 64,
    "vocab_size": 700,
    "max_positions": 256,
    "ngram_rows": 2048,
    "message_summary": True,
}
LENGTHENING = {
    "max_positions": 512,
    "num_known_positions": 128,
    "hashing": {"hash_beyond": 200, "num_hashes": 2, "num_buckets": 4, "bucket_window": 16},
    "text_lengths": [128, 320],
    "num_tokens": 4000,
    "batch_tokens": 384,
    "measured_lengths": [128, 256, 512],
    "measured_tokens": 512,
    "max_gap": 5.0,
    "checkpoint_every": 2,
}


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack in one language and without development asks."""
    return make_pack(tmp_path_factory.mktemp("pack") / "desk")


@pytest.fixture(scope="module")
def bundle(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of an untrained network with the pack's plans."""
    fields = {
        "model": SHAPE,
        "corpus": {"domain_pack": str(pack), "num_generated_conversations": 60, "num_generated_asks": 40},
        "pretrain": {"num_tokens": 1, "source_shares": {"domain_pack": 1.0}},
        "finetune": {"num_tokens": 1, "source_shares": {"domain_pack": 1.0}},
    }
    return make_bundle(TrainingConfig.model_validate(fields), tmp_path_factory.mktemp("whole"))


def configuration(pack: Path, bundle: Path, path: Path, **changes: Any) -> Path:
    fields = {
        "num_threads": 1,
        "model": SHAPE | {"start_from": str(bundle)},
        "corpus": {"domain_pack": str(pack), "num_generated_asks": 1},
        "lengthening": LENGTHENING | changes,
        "export": {"weights": "float32"},
    }
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    return path


def test_one_command_makes_a_bundle_that_reads_long_prompts(
    pack: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Texts, training, the gap and the bundle; the engine opens it and answers twice as far as the old one reached."""
    path = configuration(pack, bundle, tmp_path / "long.yaml")
    arguments = ["lengthen", "--config", str(path), "--workspace", str(tmp_path / "run")]
    assert main(arguments) == 0
    made = open_bundle(tmp_path / "run" / "bundle")
    assert made.digest[:12] in capsys.readouterr().out
    assert made.manifest.architecture.hashing == Hashing(**LENGTHENING["hashing"])  # type: ignore[arg-type]
    assert made.manifest.lineage.parent == open_bundle(bundle).digest
    report = json.loads(made.read_bytes(GAP_NAME))
    assert [entry["length"] for entry in report["lengths"]] == [256, 512]
    for entry in report["lengths"]:
        assert made.manifest.metrics[f"hashed_nats_{entry['length']}"] == entry["hashed"]
        assert entry["gap"] == pytest.approx(entry["hashed"] - entry["exact"])
        assert entry["hashed"] != entry["exact"] != entry["near"]
    engine = Engine.open(made.directory, made.manifest, EngineOptions(num_slots=1))
    held_out = texts.LongTexts.load(tmp_path / "run" / f"{texts.HELD_OUT_NAME}_512.npz").token_ids[0]
    prompt = tuple(int(token_id) for token_id in held_out[:480])
    engine.submit(CompletionRequest("long", prompt, SamplingParams(temperature=0, max_tokens=8)))
    deltas = []
    while engine.has_work:
        deltas += engine.step()
    assert 1 <= len(deltas) <= 8
    engine.close()


def test_a_later_round_exports_a_network_that_hashes_without_long_texts(
    pack: Path, bundle: Path, tmp_path: Path
) -> None:
    """What a round makes of such a bundle reads long prompts too; its conversations are joined to measure that."""
    config = load_config(configuration(pack, bundle, tmp_path / "long.yaml"))
    tokenizer_file = bundle / "tokenizer.json"
    notes = ReleaseNotes(
        name="round",
        created_at="2026-01-01T00:00:00Z",
        lineage=Lineage(config=config.digest, stages=("kto",)),
        licences=(),
        metrics={},
        languages=("en",),
        weights="float32",
    )
    sample = text_sample(load_pack(str(pack)), Tokenizer.load(tokenizer_file))
    assert not sample.long_texts
    manifest = export_bundle(lengthen._longer(config), tokenizer_file, tmp_path / "bundle", notes, sample)
    assert {"model.onnx", "long_prefill.onnx"} <= set(manifest.files)


def test_a_gap_that_is_too_large_makes_no_bundle(
    pack: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job ends with a named error that says which length lost how much, and nothing is written."""
    figures = LengthFigures(length=512, num_texts=1, num_tokens=300, exact=2.0, hashed=2.5, near=3.0)
    monkeypatch.setattr(gap, "measure", lambda policy, long_texts: figures)
    path = configuration(pack, bundle, tmp_path / "long.yaml", max_gap=0.1, num_tokens=600)
    assert main(["lengthen", "--config", str(path), "--workspace", str(tmp_path / "run")]) == 1
    assert "512 tokens are read 0.5000 nats a token worse" in capsys.readouterr().err
    assert not (tmp_path / "run" / "bundle").exists()
    assert json.loads((tmp_path / "run" / GAP_NAME).read_text())["lengths"][0]["gap"] == 0.5


@pytest.mark.parametrize("hashed", [2.021, float("nan")])
def test_the_worst_length_decides(hashed: float) -> None:
    """One length beyond the bound, or that is no number, refuses; all within it pass."""

    def figures(length: int, hashed: float) -> LengthFigures:
        return LengthFigures(length=length, num_texts=1, num_tokens=300, exact=2.0, hashed=hashed, near=3.0)

    check([figures(1024, 2.019), figures(2048, 1.9)], 0.02)
    with pytest.raises(HashingGapError, match="2048 tokens"):
        check([figures(1024, 2.019), figures(2048, hashed), figures(4096, 2.0)], 0.02)


def test_an_interrupted_training_ends_as_one_that_was_not(
    pack: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the last checkpoint on, the same batches give the same weights."""
    config = load_config(configuration(pack, bundle, tmp_path / "long.yaml"))
    results = {}
    for name in ("whole", "broken"):
        workspace = Workspace(tmp_path / name)
        texts.run(config, workspace)
        if name == "broken":
            save, saved = workspace.save_checkpoint, []

            def save_once(stage: str, state: dict[str, Any], save: Any = save, saved: list[str] = saved) -> None:
                if saved:
                    raise KeyboardInterrupt
                saved.append(stage)
                save(stage, state)

            monkeypatch.setattr(workspace, "save_checkpoint", save_once)
            with pytest.raises(KeyboardInterrupt):
                lengthen.run(config, workspace)
            monkeypatch.undo()
        results[name] = lengthen.run(config, workspace)
    first, second = (load_policy(tmp_path / name / lengthen.LENGTHENED).state_dict() for name in results)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert results["whole"]["num_steps"] == results["broken"]["num_steps"] > 6


def test_learning_keeps_repeated_positions_repeated(pack: Path, bundle: Path, tmp_path: Path) -> None:
    """What was learned about a known position holds for all places that repeat it, beyond any text that was read."""
    config = load_config(configuration(pack, bundle, tmp_path / "long.yaml"))
    workspace = Workspace(tmp_path / "run")
    texts.run(config, workspace)
    lengthen.run(config, workspace)
    table = load_policy(workspace.path(lengthen.LENGTHENED)).state_dict()[
        "reformer.embeddings.position_embeddings.embedding.weight"
    ]
    before = load_policy(bundle).state_dict()["reformer.embeddings.position_embeddings.embedding.weight"]
    assert not torch.equal(table[64:128], before[64:128])
    for start in range(128, 512, 64):
        assert torch.equal(table[start : start + 64], table[64:128])


def test_a_customer_is_never_asked_again_for_what_was_given() -> None:
    """However far back it lies: replies that ask for a detail come only before the customer has given it."""
    pack = load_pack("shop")
    num_asked, num_used_from_afar = 0, 0
    for seed in range(4):
        given: dict[str, int] = {}
        for number, concern in enumerate(ConversationGenerator(pack, seed).draw_customer(120)):
            asked_for = {plan for plan in (concern.plan or "").partition("/ask_")[2:] if plan}
            mentioned = entities_in(" ".join(m.content for m in concern.messages if m.role.value == "user"))
            if asked_for:
                num_asked += 1
                assert not any(entity.lower() in asked_for for entity in given)
            used = entities_in(concern.messages[-1].content) - mentioned
            num_used_from_afar += any(number - given.get(entity, number) > 20 for entity in used)
            for entity in mentioned:
                given.setdefault(entity, number)
    assert num_asked > 0
    assert num_used_from_afar > 0


def test_long_texts_are_whole_and_know_their_plans() -> None:
    """Every text has its length; an opening is where a reply's turn begins, and its first word is not learned."""
    pack = load_pack("shop")
    tokenizer = Tokenizer.load(Path("model_store/default/tokenizer.json"))
    made = texts.make_texts(texts._customers(ConversationGenerator(pack, 1), 600), tokenizer, 600, 3)
    assert made.token_ids.shape == made.kinds.shape == (3, 600)
    assert len(made.openings) > 9
    for row, opening, plan in zip(made.rows, made.openings, made.plans, strict=True):
        assert plan in tokenizer.plans.values()
        if opening + 2 < 600:
            assert made.kinds[row, opening : opening + 3].tolist() == [0, 0, SPEAKER]
    assert not np.isin(made.token_ids, list(tokenizer.plans.values())).any()


def test_a_bundle_with_other_positions_is_refused(pack: Path, bundle: Path, tmp_path: Path) -> None:
    """A network that knows fewer positions than shall be copied is named in an error."""
    config = load_config(configuration(pack, bundle, tmp_path / "long.yaml", num_known_positions=320))
    workspace = Workspace(tmp_path / "run")
    texts.run(config, workspace)
    with pytest.raises(UnfitCheckpointError, match="320 of them known"):
        lengthen.run(config, workspace)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"text_lengths": (20_000,)}, "max_positions"),
        ({"text_lengths": ()}, "one length"),
        ({"source_shares": {"sgd": 0.7, "star": 0.7}}, "add up"),
    ],
)
def test_lengths_that_cannot_be_are_refused(changes: dict[str, Any], problem: str) -> None:
    """Before anything is drawn."""
    with pytest.raises(ValueError, match=problem):
        LengtheningConfig(**changes)
