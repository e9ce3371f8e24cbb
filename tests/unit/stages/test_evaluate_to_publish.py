"""Evaluate, export and publish on a real shelf with a tiny model; what comes out, the real engine serves."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from model_store.bundle import open_bundle
from model_store.contract.control_tokens import EOS_ID
from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from model_store.store import DEFAULT_BUNDLE, ModelStore
from service.engine.engine import Engine, golden_run
from service.engine.types import EngineOptions
from tests.unit.stages.feedback_workspace import (
    local_store,
    make_config,
    make_database,
    make_workspace,
    publish_tiny_version,
    rated_rows,
)
from training.config import TrainingConfig
from training.data.domain_pack import load_pack
from training.data.feedback_rows import Example
from training.errors import ExportRefusedError
from training.evaluation.held_out import Sampling, known_phrases
from training.evaluation.judge import pack_judge
from training.evaluation.paired_replies import Precision
from training.evaluation.reporting.gate_report import GateReport
from training.evaluation.scorecard import Measurement, Scorecard, measure_kl
from training.evaluation.thumbs_judge import ThumbsJudge
from training.export import parity
from training.export.onnx_graph import build_graph
from training.reformer.heads import RewardModel
from training.reformer.model import load_policy, save_policy
from training.stages import curate, evaluate, export, gate, publish, served_graph, snapshot
from training.stages.export import quantized_graph, round_to_bfloat16, text_sample
from training.workspace import Workspace

UNMEASURED = ("fairness", "language_fairness")
"""The tiny model makes no plans: who gets which cannot be told."""
FIRST = "f" * 64
LENIENT = {
    "min_win_rate_lower_bound": 0.0,
    "min_proper_endings": 0.0,
    "max_ability_loss": 0.2,
    "min_gold_gain": -1.0,
    "min_slot_faithfulness": 0.0,
    "max_extra_violations": 1.0,
    "max_new_failures": 1000,
    "max_newly_off_topic": 1000,
    "max_latency_ratio": 10.0,
    "waived_rules": UNMEASURED,
}


@pytest.fixture(scope="module")
def config() -> TrainingConfig:
    """A gate that a model with nothing to say can pass."""
    return make_config(gate=LENIENT)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory, config: TrainingConfig) -> Workspace:
    """A workspace with snapshot, examples, an all but unchanged policy, a scorecard, a verdict and a bundle.

    Its base is said to be the second of its line, and is the same as the first.
    """
    root = tmp_path_factory.mktemp("run")
    store = local_store(root / "models")
    publish_tiny_version(store, root / "made")
    tokenizer = Tokenizer.load(root / "made" / "tokenizer.json")
    url = make_database(root / "records.db", rated_rows(tokenizer, 120))
    workspace = make_workspace(root / "w", config, database_url=url, model_store=str(root / "models"))
    taken = snapshot.run(config, workspace)
    workspace.save_result("snapshot", {**taken, "first_version": FIRST, "versions_since_first": 1})
    shutil.copytree(workspace.path("base"), workspace.path("first"))
    assert curate.run(config, workspace)["enough"]
    policy = load_policy(workspace.path("base"))
    with torch.no_grad():
        policy.lm_head.decoder.weight.mul_(1.01)
    save_policy(policy, workspace.path("policy"))
    RewardModel(policy).save(workspace.path("reward_model"))
    evaluate.run(config, workspace)
    served_graph.run(config, workspace)
    workspace.save_result("gate", gate.run(config, workspace))
    workspace.save_result("export", export.run(config, workspace))
    return workspace


def test_a_policy_that_hardly_moved_measures_as_one(gated: Workspace) -> None:
    """Next to no KL, as many nats a token on authored replies, and a win rate around one half."""
    card = Scorecard.model_validate_json(gated.path("scorecard.json").read_text())
    assert card.num_prompts == 24 and 1 <= card.replies_per_prompt <= 8
    assert card.changes.right_plan.value == 0 and abs(card.changes.wording_fit.value) < 0.1
    assert abs(card.kl.value) < 0.5
    assert np.log(card.candidate.perplexity) == pytest.approx(np.log(card.base.perplexity), rel=0.02)
    assert card.judge_has_opinion and 0.2 < card.win_rate.value < 0.8
    assert len(gated.path("held_out_replies.jsonl").read_text().splitlines()) == 24


def test_no_authored_reply_is_cut_where_it_is_measured() -> None:
    """With its plan and its end it has as many tokens as are drawn at most, however short rollouts are."""
    pack, tokenizer = load_pack("card_desk"), Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")
    lengths = [len(tokenizer.encode(reply)) for intent in pack.intents for reply in intent.every_reply]
    assert evaluate.longest_reply(pack, tokenizer) == max(lengths) + 2


def test_the_kl_is_of_the_networks_whatever_they_are_kept_to(gated: Workspace) -> None:
    """Replies that are kept to phrases are not drawn from what scores them: their mean log-ratio is no KL."""
    base, candidate = (load_policy(gated.path(name)) for name in ("base", "policy"))
    tokenizer = Tokenizer.load(gated.path("base") / "tokenizer.json")
    sampling, precision = Sampling(max_new_tokens=12), Precision(1.0, 1)
    pack, judge = load_pack("shop"), pack_judge("shop")
    measurement = Measurement(pack, tokenizer, judge, ThumbsJudge([]), 8, precision, sampling)
    prompts = measurement.questionnaire().prompts
    freely = measure_kl(base, candidate, measurement, prompts)
    book = candidate.phrases = known_phrases(gated.path("base"), candidate)
    kept = measurement.sample(candidate, prompts)
    assert measure_kl(base, candidate, measurement, prompts) == freely
    assert book is not None and candidate.phrases is book and measurement.sample(candidate, prompts) == kept


def test_the_bundle_is_whole_and_says_where_it_comes_from(gated: Workspace) -> None:
    """It verifies, names its parent and its data, carries the verdict, and trains further."""
    bundle = open_bundle(gated.path("bundle"))
    taken = gated.result("snapshot") or {}
    assert set(bundle.manifest.files) == {
        "config.json",
        "gate.html",
        "gate.json",
        "model.onnx",
        "model.safetensors",
        "model_card.md",
        "replies.npy.gz",
        "tokenizer.json",
        "training_report.html",
    }
    lineage = bundle.manifest.lineage
    assert (lineage.parent, lineage.data_snapshot) == (taken["parent"], taken["data_snapshot"])
    assert lineage.stages == ("reward_model", "rloo")
    assert [licence.source for licence in bundle.manifest.licences] == ["authored", "customer feedback"]
    assert bundle.manifest.metrics["win_rate"] > 0
    assert bundle.digest == (gated.result("export") or {})["digest"]


def test_the_same_run_exported_again_is_the_same_version(gated: Workspace, config: TrainingConfig) -> None:
    """A run that is killed while it exports must not end in another digest."""
    assert export.run(config, gated)["digest"] == (gated.result("export") or {})["digest"]


def test_every_rule_was_measured_on_the_way(gated: Workspace) -> None:
    """Risks and the served graph as well; no clock's number gets into what names a version."""
    report = GateReport.model_validate_json(gated.path("gate.json").read_text())
    result = gated.result("gate") or {}
    assert report.accepted is result["accepted"] and len(report.rules) == 25 + 15
    clocked = ("latency",) if report.accepted else ()
    assert tuple(rule.name for rule in report.rules if rule.measured is None) == (
        "thumbs_know_gold",
        *UNMEASURED,
        *clocked,
        *(f"total_{name}" for name in UNMEASURED),
    )
    assert report.serving is not None and (report.serving.latency_ratio is None) is report.accepted
    assert report.scorecard.risks is not None
    assert report.scorecard.risks.unmeasured == {
        "even_handedness": "a model without plans does not say what it sets out to answer"
    }


def test_a_second_step_is_held_against_the_first_version_too(gated: Workspace) -> None:
    """The first version answers as often as the candidate did, whose replies are not drawn again; rules follow."""
    report = GateReport.model_validate_json(gated.path("gate.json").read_text())
    card, found = report.scorecard, report.since_first
    assert found is not None and (found.digest, found.num_versions) == (FIRST, 2)
    assert found.scorecard.candidate == card.candidate and found.scorecard.base == card.base
    by_name = {rule.name: rule for rule in report.rules}
    assert by_name["total_length"].measured == by_name["length"].measured
    assert "total distinct2" in gated.path("gate.html").read_text()


def test_ratings_on_record_tell_what_the_candidate_would_earn_or_why_not(gated: Workspace) -> None:
    """The held-back ratings are not of this model's own words: they are worth little, and the run says so."""
    report = GateReport.model_validate_json(gated.path("gate.json").read_text())
    assert report.off_policy is not None and report.off_policy.num_ratings > 0
    assert report.off_policy.doubly_robust is None and "do not tell" in report.off_policy.sentence
    assert report.ratings_plan is not None and report.ratings_plan.always_valid > report.ratings_plan.fixed_sample > 0


def test_the_pages_of_a_bundle_hold_everything_and_ask_for_nothing(gated: Workspace) -> None:
    """Verdict, rules and plots are inside; no script, no link, no address."""
    for name in ("gate.html", "training_report.html"):
        text = open_bundle(gated.path("bundle")).read_bytes(name).decode()
        assert "win rate" in text and "data:image/svg+xml;base64," in text and "holds" in text
        assert "<script" not in text and "http" not in text.replace("http-equiv", "") and "href" not in text
        assert len(text) < 2_000_000


def test_the_real_engine_repeats_the_golden_run(gated: Workspace) -> None:
    """The service's own check before a version may serve."""
    manifest = open_bundle(gated.path("bundle")).manifest
    assert len(manifest.golden_run.completion_ids) >= 1
    engine = Engine.open(gated.path("bundle"), manifest, EngineOptions(num_slots=1))
    golden_run(engine, manifest.golden_run)
    engine.close()


def test_the_stored_weights_are_the_ones_the_graph_was_made_of(gated: Workspace) -> None:
    """Loading the checkpoint gives the rounded policy bit for bit."""
    stored = load_policy(gated.path("bundle")).state_dict()
    rounded = round_to_bfloat16(load_policy(gated.path("policy"))).state_dict()
    assert all(torch.equal(stored[name], tensor) for name, tensor in rounded.items())


def test_a_graph_that_differs_from_torch_is_refused(gated: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong graph, made by wrong weights, is found by the comparison with torch."""
    policy = round_to_bfloat16(load_policy(gated.path("policy")))

    def build_wrong(weights: dict[str, np.ndarray], *arguments: object, **options: object) -> onnx.ModelProto:
        name = "reformer.encoder.layers.0.feed_forward.dense.dense.bias"
        return build_graph({**weights, name: weights[name] + 1}, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(export, "build_graph", build_wrong)
    sample = text_sample(load_pack("shop"), Tokenizer.load(gated.path("base/tokenizer.json")))
    with pytest.raises(ExportRefusedError, match="differ from torch"):
        quantized_graph(policy, sample)


def test_quantisation_beyond_its_bounds_is_refused(gated: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a bound that no eight bits can keep, the refusal names both numbers."""
    monkeypatch.setattr(parity, "MIN_TOP1_AGREEMENT", 1.1)
    sample = text_sample(load_pack("shop"), Tokenizer.load(gated.path("base/tokenizer.json")))
    with pytest.raises(ExportRefusedError, match="agrees on"):
        quantized_graph(round_to_bfloat16(load_policy(gated.path("policy"))), sample)


def test_a_correction_joins_the_known_replies_behind_the_plan_that_it_corrects() -> None:
    """What nobody corrected, and what is kept back to measure with, joins nothing."""
    tokenizer = Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")
    plan = next(iter(tokenizer.plans.values()))
    asked = (Message(Role.USER, "Hello"),)
    corrected = Example("train", "1", "2", "en", asked, "No.", (plan, 300, 2), False, 1.0, "Here you are.")
    without_plan = replace(corrected, completion_token_ids=(300, 2))
    others = replace(corrected, correction=None), replace(corrected, split="test")
    words = (*tokenizer.encode("Here you are."), EOS_ID)
    found = list(export.corrections([corrected, without_plan, *others], tokenizer))
    assert found == [(plan, *words), words]


def copy_of(gated: Workspace, config: TrainingConfig, root: Path) -> tuple[Workspace, ModelStore]:
    """The finished run with a shelf of its own, so that tests can publish."""
    old = Path(str((gated.result("inputs") or {})["model_store"]))
    shutil.copytree(old, root / "models")
    shutil.copytree(gated.root, root / "w")
    workspace = Workspace(root / "w")
    workspace.save_result("inputs", {**(gated.result("inputs") or {}), "model_store": str(root / "models")})
    return workspace, local_store(root / "models")


def test_publishing_moves_the_alias_once_however_often_it_is_tried(
    gated: Workspace, config: TrainingConfig, tmp_path: Path
) -> None:
    """A run killed after the move finds its own move and does not take it for somebody else's."""
    workspace, store = copy_of(gated, config, tmp_path)
    first = publish.run(config, workspace)
    assert first["promoted"] and first["generation"] == 2
    assert store.resolve("stable").digest == first["digest"]
    assert publish.run(config, workspace) == first
    assert store.resolve("stable").generation == 2


def test_a_version_that_was_overtaken_is_not_promoted(gated: Workspace, config: TrainingConfig, tmp_path: Path) -> None:
    """Another version became stable while this one was trained: the verdict is void, the alias stays."""
    workspace, store = copy_of(gated, config, tmp_path)
    other = publish_tiny_version(store, tmp_path / "other", seed=2)
    result = publish.run(config, workspace)
    assert result["promoted"] is False and "run again" in result["message"]
    assert store.resolve("stable").digest == other
    assert store.find(result["digest"]) == result["digest"]


def test_a_candidate_is_not_promoted_over_another_stable(
    gated: Workspace, config: TrainingConfig, tmp_path: Path
) -> None:
    """The alias `candidate` is free, but what the gate compared with is no longer served."""
    workspace, store = copy_of(gated, config, tmp_path)
    workspace.save_result("snapshot", {**(workspace.result("snapshot") or {}), "generation": 0})
    publish_tiny_version(store, tmp_path / "other", seed=2)
    to_candidate = make_config(gate={**LENIENT, "alias": "candidate"})
    assert publish.run(to_candidate, workspace)["promoted"] is False
    assert store.history("candidate") == []
