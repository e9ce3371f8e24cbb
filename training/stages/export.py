"""The stage that turns a policy into a bundle: bfloat16 weights, the float32 graph held to them, the int8 graph
held to that. `python -m training.stages.export BUNDLE OUTPUT` exports a bundle anew.

`export_bundle` makes every bundle of this project, the first model's included. What may be lost is said in
`export.parity`; a graph that loses more is refused, never published.
"""

import argparse
import copy
import itertools
import math
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import onnx
import torch

from model_store.bundle import open_bundle, write_bundle
from model_store.contract.control_tokens import BOS_ID, EOS_ID
from model_store.contract.manifest import (
    MANIFEST_NAME,
    Architecture,
    DataLicence,
    GoldenRun,
    Lineage,
    Manifest,
    Quantization,
    WeightFormat,
)
from model_store.contract.tokenizer import Tokenizer
from model_store.errors import StoreError
from model_store.replies import Conditions, Order, load_conditions, load_order, load_replies, save_replies
from training.config import TrainingConfig
from training.data.domain_pack import DomainPack, load_pack, user_message
from training.data.feedback_rows import Example, read_examples
from training.data.flows.reply_order import authored_replies
from training.data.prompts import render_prompt
from training.errors import ExportRefusedError, TrainingError
from training.evaluation.held_out import authored_texts, gate_prompts
from training.evaluation.scorecard import Scorecard
from training.export.graph_session import GraphSession
from training.export.int8_linear.network import NetworkToServe, network_to_serve
from training.export.long_graph import LONG_GRAPH_NAME, build_long_graph
from training.export.long_session import LongGraphSession
from training.export.model_card import model_card
from training.export.onnx_graph import build_graph
from training.export.parity import (
    MAX_FLOAT32_DIFFERENCE,
    bounds_broken,
    max_difference_from_torch,
    measure_quantization,
)
from training.reformer.config import architecture_of
from training.reformer.model import ReformerPolicy, load_policy, save_policy
from training.stages.curate import EXAMPLES_NAME
from training.stages.evaluate import POLICY_NAME, SCORECARD_NAME
from training.stages.gate import GATE_NAME, PAGES
from training.stages.snapshot import BASE_NAME
from training.workspace import StageResult, Workspace

BUNDLE_NAME = "bundle"
_NUM_CALIBRATION = 96
_NUM_MEASURED = 96
_NUM_PARITY = 12
_NUM_LONG_PARITY = 2
_JOINED_CHUNKS = 8
_NUM_GOLDEN_PROMPTS = 20
_GOLDEN_TOKENS = 24


@dataclass(frozen=True)
class ReleaseNotes:
    """What a bundle says about itself besides its weights."""

    name: str
    created_at: str
    lineage: Lineage
    licences: tuple[DataLicence, ...]
    metrics: dict[str, float]
    languages: tuple[str, ...] = ("en", "zh")
    weights: WeightFormat = "int8_static"
    reports: tuple[Path, ...] = ()
    """Files that are copied: what the gate said, and pages for people."""


@dataclass(frozen=True)
class TextSample:
    """Token ids that an export is calibrated and measured on."""

    calibration: tuple[tuple[int, ...], ...]
    held_out: tuple[tuple[int, ...], ...]
    golden_prompts: tuple[tuple[int, ...], ...]
    replies: tuple[tuple[int, ...], ...] = ()
    """Authored replies, from plan to end of sequence: the bundle knows them, so that serving can keep to their phrases
    and guess ahead."""
    order: Order = ()
    """Which of them follow others."""
    conditions: Conditions = field(default_factory=dict)
    """For whom they were written."""
    long_texts: tuple[tuple[int, ...], ...] = ()
    """Of a network that hashes, texts that are long enough for it; without any, others are joined."""


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Writes the candidate's bundle. Result: `digest`, and what quantisation cost. Raises ExportRefusedError."""
    base = workspace.path(BASE_NAME)
    tokenizer = Tokenizer.load(base / "tokenizer.json")
    parent = Manifest.model_validate_json((base / MANIFEST_NAME).read_bytes())
    snapshot = workspace.result("snapshot") or {}
    scorecard = Scorecard.model_validate_json(workspace.path(SCORECARD_NAME).read_text(encoding="utf-8"))
    examples = list(read_examples(workspace.path(EXAMPLES_NAME)))
    feedback = DataLicence(source="customer feedback", licence="the operator's own", num_rows=len(examples))
    notes = ReleaseNotes(
        name=config.name,
        created_at=str((workspace.result("inputs") or {})["created_at"]),
        lineage=Lineage(
            parent=snapshot["parent"],
            data_snapshot=snapshot["data_snapshot"],
            config=config.digest,
            stages=("reward_model", config.policy.algorithm),
        ),
        licences=(*(licence for licence in parent.licences if licence.source != feedback.source), feedback),
        metrics=scorecard_metrics(scorecard),
        languages=parent.languages,
        weights=config.export.weights,
        reports=tuple(filter(Path.exists, map(workspace.path, (GATE_NAME, *PAGES)))),
    )
    pack = load_pack(config.corpus.domain_pack)
    sample = with_known_replies(text_sample(pack, tokenizer), base, pack, tokenizer)
    sample = replace(sample, replies=tuple(dict.fromkeys((*sample.replies, *corrections(examples, tokenizer)))))
    manifest = export_bundle(
        load_policy(workspace.path(POLICY_NAME)), base / "tokenizer.json", workspace.path(BUNDLE_NAME), notes, sample
    )
    return {"digest": manifest.digest, **manifest.quantization.model_dump(mode="json")}


def corrections(examples: Iterable[Example], tokenizer: Tokenizer) -> Iterator[tuple[int, ...]]:
    """What people wrote in place of replies, each behind the plan of the reply that it corrects."""
    for example in examples:
        if example.correction and example.split == "train":
            opening = example.completion_token_ids[: 1 if tokenizer.plan_of(example.completion_token_ids) else 0]
            yield (*opening, *tokenizer.encode(example.correction), EOS_ID)


def export_bundle(
    policy: ReformerPolicy, tokenizer_file: Path, destination: Path, notes: ReleaseNotes, sample: TextSample
) -> Manifest:
    """Makes `destination` a bundle of this policy; what was there is replaced. The policy itself stays as it is.

    Raises ExportRefusedError when the graphs do not compute what the rounded policy computes.
    """
    shutil.rmtree(destination, ignore_errors=True)
    destination.mkdir(parents=True)
    rounded = round_to_bfloat16(policy)
    architecture = architecture_of(rounded.config)
    difference, graph, quantization, network = quantized_graph(rounded, sample, notes.weights)
    onnx.save(graph, str(destination / "model.onnx"))
    if architecture.hashing is not None:
        onnx.save(long_prompt_graph(rounded, network, sample), str(destination / LONG_GRAPH_NAME))
    golden_run = clearest_completion(GraphSession(graph, architecture), sample.golden_prompts)
    save_policy(rounded, destination, dtype=torch.bfloat16)
    (destination / "generation_config.json").unlink(missing_ok=True)
    shutil.copyfile(tokenizer_file, destination / "tokenizer.json")
    if sample.replies:
        save_replies(destination, sample.replies, sample.order, sample.conditions)
    for report in notes.reports:
        shutil.copyfile(report, destination / report.name)
    fields: dict[str, object] = {
        "name": notes.name,
        "created_at": notes.created_at,
        "languages": notes.languages,
        "architecture": architecture.model_dump(),
        "quantization": quantization.model_dump(),
        "lineage": notes.lineage.model_dump(),
        "licences": [licence.model_dump() for licence in notes.licences],
        "metrics": {**notes.metrics, "float32_difference": difference},
        "golden_run": golden_run.model_dump(),
    }
    card = model_card(Manifest.model_validate({**fields, "files": {}}), rounded.num_parameters())
    (destination / "model_card.md").write_text(card, encoding="utf-8")
    return write_bundle(destination, fields)


def round_to_bfloat16(policy: ReformerPolicy) -> ReformerPolicy:
    """A copy with the weights that the bundle stores, in float32: graph, checkpoint and later training agree."""
    rounded: ReformerPolicy = copy.deepcopy(policy).eval()
    with torch.no_grad():
        for parameter in rounded.parameters():
            parameter.copy_(parameter.to(torch.bfloat16).to(torch.float32))
    return rounded


class QuantizedGraph(NamedTuple):
    """The graph to serve, and how far it is from what it was made of."""

    float32_difference: float
    """Of the float32 graph's logits from torch's."""
    graph: onnx.ModelProto
    quantization: Quantization
    network: NetworkToServe


def quantized_graph(
    policy: ReformerPolicy, sample: TextSample, weight_format: WeightFormat = "int8_static"
) -> QuantizedGraph:
    """The graph to serve. Raises ExportRefusedError when a graph is further off than `export.parity` allows."""
    architecture = architecture_of(policy.config)
    weights = {name: tensor.numpy() for name, tensor in policy.state_dict().items()}
    epsilon = float(policy.config.layer_norm_eps)
    reference = GraphSession(build_graph(weights, architecture, layer_norm_eps=epsilon), architecture)
    difference = max_difference_from_torch(policy, reference, sample.held_out[:_NUM_PARITY])
    if not difference <= MAX_FLOAT32_DIFFERENCE:
        problem = (
            f"the float32 graph's logits differ from torch by {difference:.2g}, {MAX_FLOAT32_DIFFERENCE} are allowed"
        )
        raise ExportRefusedError(problem=problem)
    network = network_to_serve(weights, architecture, weight_format, sample.calibration, layer_norm_eps=epsilon)
    graph = build_graph(network.weights, architecture, network.profile, layer_norm_eps=epsilon)
    quantization = measure_quantization(reference, GraphSession(graph, architecture), sample.held_out, network.profile)
    if problems := bounds_broken(quantization):
        raise ExportRefusedError(problem="; ".join(problems))
    return QuantizedGraph(difference, graph, quantization, network)


def long_prompt_graph(policy: ReformerPolicy, network: NetworkToServe, sample: TextSample) -> onnx.ModelProto:
    """The graph that reads long prompts, of the same numbers as the one that is served beside it.

    Raises ExportRefusedError when it does not compute what the policy computes with hashing, or loses more than
    `export.parity` allows.
    """
    architecture = architecture_of(policy.config)
    weights = {name: tensor.numpy() for name, tensor in policy.state_dict().items()}
    epsilon = float(policy.config.layer_norm_eps)
    long_texts = sample.long_texts or (_joined(sample, architecture),)
    reference = LongGraphSession(build_long_graph(weights, architecture, layer_norm_eps=epsilon), architecture)
    difference = max_difference_from_torch(policy, reference, long_texts[:_NUM_LONG_PARITY])
    if not difference <= MAX_FLOAT32_DIFFERENCE:
        problem = (
            f"the graph for long prompts differs from torch by {difference:.2g}, {MAX_FLOAT32_DIFFERENCE} are allowed"
        )
        raise ExportRefusedError(problem=problem)
    graph = build_long_graph(network.weights, architecture, network.profile, layer_norm_eps=epsilon)
    quantization = measure_quantization(reference, LongGraphSession(graph, architecture), long_texts, network.profile)
    if problems := bounds_broken(quantization, is_hashed=True):
        raise ExportRefusedError(problem="; ".join(f"of long prompts {problem}" for problem in problems))
    return graph


def _joined(sample: TextSample, architecture: Architecture) -> tuple[int, ...]:
    """Conversations one after the other, as far as a prompt that is hashed goes, and some chunks further."""
    assert architecture.hashing is not None
    texts = itertools.cycle((*sample.held_out, *sample.calibration))
    tokens = itertools.chain([BOS_ID], (token_id for text in texts for token_id in text if token_id != BOS_ID))
    wanted = architecture.hashing.hash_beyond + _JOINED_CHUNKS * architecture.local_chunk_length
    return tuple(itertools.islice(tokens, min(wanted, architecture.max_positions)))


def text_sample(pack: DomainPack, tokenizer: Tokenizer) -> TextSample:
    """Training conversations to calibrate on, held-out ones to measure on, held-out prompts for the golden run."""
    known = [(ask, reply) for intent in pack.intents for ask, reply in zip(intent.asks, intent.replies, strict=False)]
    step = max(1, len(known) // _NUM_CALIBRATION)
    prompts = gate_prompts(pack, _NUM_MEASURED)
    held_out = [text for prompt in prompts for text in authored_texts(prompt, tokenizer)[:1]]
    replies, is_spoken = authored_replies(pack, tokenizer), _has_plans_of(pack, tokenizer)
    return TextSample(
        calibration=tuple(_conversation(ask, reply, tokenizer) for ask, reply in known[::step]),
        held_out=tuple((*text.prompt_ids, *text.completion_ids) for text in held_out),
        golden_prompts=tuple(render_prompt(prompt.messages, tokenizer) for prompt in prompts[:_NUM_GOLDEN_PROMPTS]),
        replies=replies.token_ids,
        order=replies.order if is_spoken else (),
        conditions=replies.conditions if is_spoken else {},
    )


def with_known_replies(sample: TextSample, source: Path, pack: DomainPack, tokenizer: Tokenizer) -> TextSample:
    """The sample with the replies of the bundle at `source`: beside the pack's own, which keep their numbers.

    In their place where the bundle speaks of something else than the pack.
    """
    known = tuple(load_replies(source, tokenizer.vocab_size))
    if not known:
        return sample
    order, conditions = load_order(source, len(known)), load_conditions(source, len(known))
    if not _has_plans_of(pack, tokenizer):
        return replace(sample, replies=known, order=order, conditions=conditions)
    replies = tuple(dict.fromkeys((*sample.replies, *known)))
    number_of = {reply: number for number, reply in enumerate(replies)}
    own = frozenset(sample.replies)
    # What its authors said to some customers only is said to no others when they take it out of the pack.
    kept = {number_of[known[number]]: when for number, when in conditions.items() if known[number] not in own}
    return replace(sample, replies=replies, conditions={**kept, **sample.conditions})


def _has_plans_of(pack: DomainPack, tokenizer: Tokenizer) -> bool:
    return tokenizer.plans.keys() >= set(pack.plans)


def clearest_completion(session: GraphSession, prompts: Sequence[Sequence[int]]) -> GoldenRun:
    """The greedy completion that other processors are least likely to change: the one with the clearest choices.

    Of all prompts' completions, the one whose closest call between the best two tokens is the least close. Raises
    ValueError without prompts.
    """
    runs = [_complete_greedily(session, prompt) for prompt in prompts]
    margin, golden_run = max(runs, key=lambda run: run[0])
    return golden_run


def _complete_greedily(session: GraphSession, prompt: Sequence[int]) -> tuple[float, GoldenRun]:
    """The smallest margin between the best two logits, and the completion."""
    token_ids: list[int] = []
    smallest = math.inf
    while len(token_ids) < _GOLDEN_TOKENS and (not token_ids or token_ids[-1] != EOS_ID):
        logits = session.run([*prompt, *token_ids]).logits[-1]
        second, first = np.sort(np.partition(logits, -2)[-2:])
        smallest = min(smallest, float(first - second))
        token_ids.append(int(logits.argmax()))
    return smallest, GoldenRun(prompt_ids=tuple(prompt), completion_ids=tuple(token_ids))


def scorecard_metrics(scorecard: Scorecard) -> dict[str, float]:
    """A scorecard's main numbers as the manifest keeps them."""
    candidate = scorecard.candidate
    return {
        "win_rate": scorecard.win_rate.value,
        "win_rate_low": scorecard.win_rate.low,
        "kl": scorecard.kl.value,
        "right_plan": candidate.right_plan.value,
        "wording_fit": candidate.wording_fit.value,
        "intent_fit": candidate.intent_fit.value,
        "language_match": candidate.language_match.value,
        "proper_endings": candidate.proper_endings.value,
        "num_tokens": candidate.num_tokens.value,
        "distinct2": candidate.distinct2,
        "perplexity": candidate.perplexity,
    }


def _conversation(ask: str, reply: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    return (*render_prompt([user_message(ask)], tokenizer), *tokenizer.encode(reply), EOS_ID)


def export_again(
    source: Path, destination: Path, pack: str, weight_format: WeightFormat, *, forgets_replies: bool = False
) -> Manifest:
    """A bundle of the same network, with its graphs made as they are made now; the source stays as it is.

    `forgets_replies` leaves out what the source says and the pack does not: reworded, withdrawn, staff's corrections.
    Raises BundleError when there is none, ExportRefusedError when the graphs lose too much.
    """
    manifest = open_bundle(source).manifest
    lineage = manifest.lineage.model_copy(
        update={"parent": manifest.digest, "stages": (*manifest.lineage.stages, "export")}
    )
    notes = ReleaseNotes(
        name=manifest.name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        lineage=lineage,
        licences=manifest.licences,
        metrics=manifest.metrics,
        languages=manifest.languages,
        weights=weight_format,
        reports=tuple(filter(Path.exists, (source / name for name in (GATE_NAME, *PAGES)))),
    )
    tokenizer = Tokenizer.load(source / "tokenizer.json")
    domain_pack = load_pack(pack)
    sample = text_sample(domain_pack, tokenizer)
    if not forgets_replies:
        sample = with_known_replies(sample, source, domain_pack, tokenizer)
    return export_bundle(load_policy(source), source / "tokenizer.json", destination, notes, sample)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exports a bundle anew and prints what its graph loses. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.stages.export", description=export_again.__doc__)
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument("output", type=Path, help="folder for the new one; what is there is replaced")
    parser.add_argument("--pack", default="shop", help="domain pack whose texts it is calibrated and measured on")
    parser.add_argument("--weights", choices=get_args(WeightFormat), default="int8_static")
    parser.add_argument("--forget-replies", action="store_true", help="leave out what the pack does not say (any more)")
    options = parser.parse_args(arguments)
    try:
        manifest = export_again(
            options.bundle, options.output, options.pack, options.weights, forgets_replies=options.forget_replies
        )
    except (StoreError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{manifest.digest}\n{manifest.quantization.model_dump_json(indent=1)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
