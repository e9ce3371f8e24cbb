"""Who is measured when over HTTP: our service, llama-cpp-python's server and the bare engine, in turns."""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from model_store.intents.intent_model import IntentModel
from model_store.intents.turns import turns_before
from service.engine.engine import Engine
from service.engine.types import EngineOptions
from tests.benchmarks.engines.contender import NotInstalledError, now, since
from tests.benchmarks.engines.llama import import_llama_cpp
from tests.benchmarks.engines.llama_file import write_llama
from tests.benchmarks.engines.rounds import case_name
from tests.benchmarks.engines.shapes import Shape, customers_asks, llama_shape, shipped_shape
from tests.benchmarks.engines.this_engine import bundle_of
from tests.benchmarks.over_http.conversations import (
    NUM_TURNS,
    Asker,
    Conversation,
    Round,
    ServiceAsker,
    draw_conversations,
    hold,
    median,
    percentile,
)
from tests.benchmarks.over_http.cores import Cores, cpu_seconds_of, running_on
from tests.benchmarks.over_http.llama_asker import LlamaAsker
from tests.benchmarks.over_http.replay import replay
from tests.benchmarks.over_http.servers import Server, running_llama, running_service
from tests.benchmarks.over_http.sse_client import Heard

SERVICE, LLAMA_SERVER = "this service", "llama_cpp.server Q8_0"
MEASURED_SLOTS = 64
"""Slots of the service whose memory is told."""
_PLACES_A_SLOT = 3
_MOST_STREAMS = 320
_WEIGHTS = "Q8_0"


class HttpPlan(BaseModel):
    """How much is measured."""

    model_config = ConfigDict(frozen=True)

    streams: tuple[int, ...]
    rounds: int
    """At most; fewer where there are many streams, but never fewer than two."""
    conversations: int
    """Of a round, shared by its streams; at least one a stream."""


class HttpRow(BaseModel):
    """What clients got from one server: medians over rounds, percentiles over all requests."""

    model_config = ConfigDict(frozen=True)

    server: str
    streams: int
    tokens_per_second: float = 0.0
    engine_tokens_per_second: float = 0.0
    """Of the bare engine on the same lengths; 0 where there is none to compare with."""
    server_cpu_ms: float = 0.0
    """CPU time for a token: the server's, which holds the two models' below, and the client's beside it."""
    engine_cpu_ms: float = 0.0
    """The bare engine's."""
    intent_cpu_ms: float = 0.0
    """The intent model's, which hears every message once, a later one with the turn before."""
    client_cpu_ms: float = 0.0
    first_token_ms: float = 0.0
    second_turn_first_token_ms: float = 0.0
    gap_ms_p50: float = 0.0
    gap_ms_p99: float = 0.0
    reply_tokens: tuple[int, ...] = ()
    """Lengths of whole replies at the percentiles 2.5, 7.5, … 97.5: `make scale` draws from them."""
    num_requests: int = 0
    num_failed: int = 0
    num_slots: int = 0
    resident_megabytes: float = 0.0
    """After the last round."""
    cores: str = ""
    """Where server and clients ran."""
    not_installed: str | None = None


def measure_http(plan: HttpPlan) -> list[HttpRow]:
    """Every number of streams on fresh servers, which have a core to themselves where there are two."""
    cores = Cores.apart()
    print(f"  over HTTP: {cores}", file=sys.stderr)
    with running_on(cores.servers):
        return _measure(plan, cores)


def _measure(plan: HttpPlan, cores: Cores) -> list[HttpRow]:
    shape = shipped_shape()
    rows: list[HttpRow] = []
    try:
        import_llama_cpp()
        import_module("llama_cpp.server.app")
        has_llama = True
    except (NotInstalledError, ImportError) as error:
        has_llama = False
        rows.append(HttpRow(server=LLAMA_SERVER, streams=0, not_installed=str(error)))
    for streams in plan.streams:
        print(f"  over HTTP, {case_name(streams)}", file=sys.stderr, flush=True)
        found = _measure_streams(shape, streams, plan, cores, has_llama=has_llama)
        rows += [row.model_copy(update={"cores": str(cores)}) for row in found]
    return rows


@dataclass(frozen=True, slots=True)
class _Cost:
    """CPU seconds of one round."""

    server: float
    client: float
    engine: float = 0.0
    intents: float = 0.0


@dataclass(frozen=True, slots=True)
class _Played:
    """One round of everybody."""

    ours: Round
    cost: _Cost
    bare_tokens_per_second: float
    theirs: Round | None


@dataclass(frozen=True)
class _Contest:
    """All servers running at once; whoever is not asked waits."""

    shape: Shape
    cores: Cores
    engine: Engine
    intents: IntentModel
    service: Server
    llama: Server | None

    def play(self, num_streams: int, num_conversations: int, seed: int) -> _Played:
        """One round of our service, of the bare models on the same lengths, and of the other server on them."""
        conversations = draw_conversations(customers_asks(), num_conversations, seed)
        ours, cost = self._ask(self.service, ServiceAsker(), conversations, num_streams)
        bare = replay(self.engine, self.shape, ours.conversations, num_streams)
        cost = replace(cost, engine=bare.cpu_seconds, intents=self._hear(conversations, ours))
        speed = bare.num_tokens / bare.wall_seconds
        if self.llama is None:
            return _Played(ours, cost, speed, None)
        asker = LlamaAsker(ours.conversations, self.shape.architecture.vocab_size)
        answered = [conversation for conversation in conversations if _is_whole(ours, conversation.number)]
        return _Played(ours, cost, speed, self._ask(self.llama, asker, answered, num_streams)[0])

    def _ask(
        self, server: Server, asker: Asker, conversations: Sequence[Conversation], num_streams: int
    ) -> tuple[Round, _Cost]:
        with running_on(self.cores.clients):
            before, client_before = cpu_seconds_of(server.pid), time.process_time()
            heard = asyncio.run(hold(server.port, asker, conversations, num_streams))
            cost = _Cost(cpu_seconds_of(server.pid) - before, time.process_time() - client_before)
        return heard, cost

    def _hear(self, conversations: Sequence[Conversation], played: Round) -> float:
        """CPU seconds of the intent model for what was asked and answered."""
        started = now()
        for conversation in conversations:
            before: tuple[str, ...] = ()
            for ask, reply in zip(conversation.asks, played.conversations[conversation.number], strict=False):
                self.intents.probabilities(ask, before)
                before = turns_before(reply.text, ask)
        return since(started, 0).cpu_seconds


def _measure_streams(shape: Shape, streams: int, plan: HttpPlan, cores: Cores, *, has_llama: bool) -> list[HttpRow]:
    num_slots = max(MEASURED_SLOTS, -(-streams // _PLACES_A_SLOT))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = Engine.open(*bundle_of(shape, folder), EngineOptions(num_slots=num_slots))
        stack.callback(engine.close)
        service = stack.enter_context(running_service(folder, num_slots))
        llama = stack.enter_context(_llama_server(shape, folder)) if has_llama else None
        contest = _Contest(shape, cores, engine, IntentModel.load(), service, llama)
        contest.play(1, 1, seed=0)
        num_rounds = max(2, min(plan.rounds, _MOST_STREAMS // streams))
        num_conversations = max(streams, plan.conversations)
        played = [contest.play(streams, num_conversations, seed=number + 1) for number in range(num_rounds)]
        ours = summary(SERVICE, streams, [one.ours for one in played])
        extra = {
            "engine_tokens_per_second": median([one.bare_tokens_per_second for one in played]),
            **_cpu_ms(played),
            "num_slots": num_slots,
            "resident_megabytes": service.resident_megabytes,
        }
        rows = [ours.model_copy(update=extra)]
        if llama is not None:
            theirs = summary(LLAMA_SERVER, streams, [one.theirs for one in played if one.theirs is not None])
            rows.append(theirs.model_copy(update={"num_slots": 1, "resident_megabytes": llama.resident_megabytes}))
    return rows


def _cpu_ms(played: Sequence[_Played]) -> dict[str, float]:
    """Milliseconds of CPU time a token, medians of rounds."""
    return {
        f"{name}_cpu_ms": median([1000 * getattr(one.cost, part) / max(1, one.ours.num_tokens) for one in played])
        for name, part in (("server", "server"), ("engine", "engine"), ("intent", "intents"), ("client", "client"))
    }


def _llama_server(shape: Shape, folder: Path) -> AbstractContextManager[Server]:
    model = folder / "llama.gguf"
    write_llama(model, llama_shape(shape.architecture), _WEIGHTS)
    return running_llama(folder, model)


def _is_whole(played: Round, number: int) -> bool:
    """Whether both turns were served, so that their lengths are known."""
    turns = played.conversations[number]
    return len(turns) == NUM_TURNS and all(turn.is_whole for turn in turns)


def summary(server: str, streams: int, rounds: Sequence[Round]) -> HttpRow:
    """Throughput as a median of rounds, times as medians and percentiles over all of their requests."""
    gaps = [1000 * gap for played in rounds for gap in played.gaps]
    first, second = (
        median([1000 * seconds for played in rounds for seconds in played.first_token_seconds(turn)])
        for turn in range(NUM_TURNS)
    )
    return HttpRow(
        server=server,
        streams=streams,
        tokens_per_second=median([played.tokens_per_second for played in rounds]),
        first_token_ms=first,
        second_turn_first_token_ms=second,
        gap_ms_p50=percentile(gaps, 0.5),
        gap_ms_p99=percentile(gaps, 0.99),
        reply_tokens=_spread([heard.num_tokens for turn in _turns(rounds) for heard in turn if heard.is_whole]),
        num_requests=sum(played.num_requests for played in rounds),
        num_failed=sum(played.num_failed for played in rounds),
    )


def _turns(rounds: Sequence[Round]) -> Iterator[tuple[Heard, ...]]:
    return (turns for played in rounds for turns in played.conversations)


def _spread(lengths: Sequence[int]) -> tuple[int, ...]:
    """Twenty of the lengths, evenly apart; none of none."""
    return tuple(round(percentile(lengths, (2 * step + 1) / 40)) for step in range(20)) if lengths else ()
