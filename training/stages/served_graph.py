"""The stage that tries the graph which would be served, before the gate decides: what eight bits cost, and its speed.

The export makes the same graph again for a bundle that is accepted; a refused candidate never gets that far.
Left out: the whole service under load (`make bench`): two graphs of one shape differ only in their numbers.
"""

import time
from collections.abc import Sequence

from model_store.contract.tokenizer import Tokenizer
from training.config import TrainingConfig
from training.data.domain_pack import load_pack
from training.errors import ExportRefusedError
from training.evaluation.figures import Figure
from training.evaluation.risks.serving_figures import SERVING_NAME, ServingFigures, median_ratio
from training.export.graph_session import GraphSession
from training.reformer.config import architecture_of
from training.reformer.model import load_policy
from training.stages.evaluate import POLICY_NAME
from training.stages.export import TextSample, quantized_graph, round_to_bfloat16, text_sample
from training.stages.snapshot import BASE_NAME
from training.workspace import StageResult, Workspace

_NUM_PAIRS = 48
_NUM_STEPS = 16
"""Single tokens after each text: a reply is read once and written token by token."""


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Writes `serving.json`; the result is the same. A graph that may not be served is a finding, not an error."""
    tokenizer = Tokenizer.load(workspace.path(BASE_NAME) / "tokenizer.json")
    sample = text_sample(load_pack(config.corpus.domain_pack), tokenizer)
    try:
        figures = measure_serving(config, workspace, sample)
    except ExportRefusedError as error:
        figures = ServingFigures(problem=str(error))
    workspace.write_text(SERVING_NAME, figures.model_dump_json(indent=1) + "\n")
    return figures.model_dump(mode="json")


def measure_serving(config: TrainingConfig, workspace: Workspace, sample: TextSample) -> ServingFigures:
    """Makes both graphs and runs them in turn. Raises ExportRefusedError for one that may not be served."""
    sessions, quantization = [], None
    for name in (BASE_NAME, POLICY_NAME):
        policy = round_to_bfloat16(load_policy(workspace.path(name)))
        exported = quantized_graph(policy, sample, config.export.weights)
        quantization = exported.quantization
        sessions.append(GraphSession(exported.graph, architecture_of(policy.config)))
    base, candidate = sessions
    return ServingFigures(quantization=quantization, latency_ratio=measure_latency(base, candidate, sample.held_out))


def measure_latency(base: GraphSession, candidate: GraphSession, sequences: Sequence[Sequence[int]]) -> Figure:
    """The candidate's time over the base's. Both run every text, one right after the other, in changing order.

    Raises ValueError without a text.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for session in (base, candidate):
        _seconds(session, sequences[0])  # the first run of a graph takes memory
    for number in range(_NUM_PAIRS):
        order = (0, 1) if number % 2 else (1, 0)
        found = {which: _seconds((base, candidate)[which], sequences[number % len(sequences)]) for which in order}
        for which in order:
            times[which].append(found[which])
    return median_ratio(*times)


def _seconds(session: GraphSession, token_ids: Sequence[int]) -> float:
    started = time.perf_counter()
    session.run(token_ids)
    for token_id in token_ids[:_NUM_STEPS]:
        session.run([token_id])
    return time.perf_counter() - started
