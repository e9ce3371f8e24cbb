"""The engine's own speed on what the service has just served: the same lengths and as many streams, without HTTP.

The difference is what the service adds: masking, rules, records with fsync, events. Other texts of the same lengths.
"""

from collections.abc import Sequence

from model_store.contract.control_tokens import EOS_ID
from service.engine.engine import Engine
from service.engine.types import CompletionRequest, SamplingParams
from tests.benchmarks.engines.contender import Timing, now, since
from tests.benchmarks.engines.shapes import Shape
from tests.benchmarks.over_http.sse_client import Heard


def replay(engine: Engine, shape: Shape, conversations: Sequence[Sequence[Heard]], num_streams: int) -> Timing:
    """How long it takes; every stream goes on with the next turn, then with the next conversation, as clients do."""
    waiting = [requests for number, turns in enumerate(conversations) if (requests := _requests(shape, number, turns))]
    waiting.reverse()
    num_tokens = sum(request.sampling.max_tokens for requests in waiting for request in requests)
    rest: dict[str, list[CompletionRequest]] = {}

    def go_on(requests: list[CompletionRequest]) -> None:
        if not requests and waiting:
            requests = waiting.pop()
        if requests:
            engine.submit(requests[0])
            rest[requests[0].request_id] = requests[1:]

    started = now()
    for _ in range(num_streams):
        go_on([])
    while engine.has_work:
        for delta in engine.step():
            if delta.finish_reason is not None:
                go_on(rest.pop(delta.request_id))
    return since(started, num_tokens)


def _requests(shape: Shape, number: int, turns: Sequence[Heard]) -> list[CompletionRequest]:
    """A conversation's turns; the later prompt begins with the earlier one, as in the service."""
    text = shape.prompt(shape.architecture.max_positions, seed=number)
    return [
        CompletionRequest(
            f"{number}-{turn}",
            text[: heard.num_prompt_tokens],
            SamplingParams(seed=number, max_tokens=heard.num_tokens, banned_token_ids=frozenset({EOS_ID})),
        )
        for turn, heard in enumerate(turns)
        if heard.num_prompt_tokens and heard.num_tokens
    ]
