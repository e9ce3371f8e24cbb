"""Continuous batching: what a completion becomes does not depend on who else is served, nor on who leaves."""

from collections import defaultdict
from collections.abc import Callable, Iterable

import pytest

from model_store.contract.control_tokens import EOS_ID
from service.engine.engine import Engine
from service.engine.types import CompletionRequest, Delta, SamplingParams
from tests.unit.engine.tiny_reformer import MAX_POSITIONS, VOCAB_SIZE, chat_ids

OpenEngine = Callable[..., Engine]
NOT_EOS = frozenset({EOS_ID})
GREEDY = SamplingParams(temperature=0, max_tokens=24, banned_token_ids=NOT_EOS)


@pytest.fixture(params=["plain", "summary"])
def network(request: pytest.FixtureRequest) -> str:
    """A stock Reformer, and one that has n-gram tables and a message summary like the one that ships."""
    return str(request.param)


def run(engine: Engine, requests: Iterable[CompletionRequest]) -> dict[str, list[Delta]]:
    """Submits all requests and steps until nothing is left; the deltas by request."""
    for request in requests:
        engine.submit(request)
    return drain(engine)


def drain(engine: Engine) -> dict[str, list[Delta]]:
    """Steps until nothing is left."""
    deltas: dict[str, list[Delta]] = defaultdict(list)
    while engine.has_work:
        for delta in engine.step():
            deltas[delta.request_id].append(delta)
    return deltas


def requests_of_many_lengths(sampling: SamplingParams = GREEDY) -> list[CompletionRequest]:
    """Seven prompts of 1 to 200 tokens, more than there are slots."""
    lengths = (3, 70, 150, 1, 64, 65, 200)
    return [CompletionRequest(f"r{n}", chat_ids(n, seed=n), sampling) for n in lengths]


@pytest.mark.parametrize("num_slots", [3, 8])
def test_batched_completions_equal_completions_made_alone_bit_for_bit(open_engine: OpenEngine, num_slots: int) -> None:
    """The int8 engine gives the same tokens and log-probabilities in any company."""
    alone = open_engine()
    expected: dict[str, list[Delta]] = {}
    for request in requests_of_many_lengths():
        expected |= run(alone, [request])
    assert run(open_engine(num_slots=num_slots), requests_of_many_lengths()) == expected


def test_float32_greedy_tokens_do_not_depend_on_the_batch(open_engine: OpenEngine) -> None:
    """The float32 engine chooses the same tokens in company, whatever its last bits do."""
    alone, together = open_engine("float32"), open_engine("float32", num_slots=7)
    requests = requests_of_many_lengths()
    expected = {
        key: [delta.token_id for delta in value] for request in requests for key, value in run(alone, [request]).items()
    }
    found = {key: [delta.token_id for delta in value] for key, value in run(together, requests).items()}
    assert found == expected


def test_a_seed_gives_the_same_completion_whatever_the_neighbours(open_engine: OpenEngine) -> None:
    """Drawn tokens depend on the request alone; another seed draws others."""
    sampling = SamplingParams(temperature=1.5, top_p=0.95, seed=11, max_tokens=30, banned_token_ids=NOT_EOS)
    request = CompletionRequest("mine", chat_ids(40, seed=5), sampling)
    neighbours = requests_of_many_lengths(SamplingParams(temperature=1.0, seed=99, max_tokens=20))
    alone = run(open_engine(), [request])["mine"]
    in_company = run(open_engine(), [*neighbours[:3], request, *neighbours[3:]])["mine"]
    other = SamplingParams(temperature=1.5, top_p=0.95, seed=12, max_tokens=30, banned_token_ids=NOT_EOS)
    assert in_company == alone
    assert run(open_engine(), [CompletionRequest("mine", request.prompt_ids, other)])["mine"] != alone


def test_completions_that_start_and_end_in_the_middle_leave_the_others_unchanged(open_engine: OpenEngine) -> None:
    """Slots are compacted while a long prompt is being read; caches move with their completions."""
    requests = [
        CompletionRequest(f"r{index}", chat_ids(length, seed=index), SamplingParams(0, max_tokens=max_tokens))
        for index, (length, max_tokens) in enumerate([(130, 60), (20, 4), (90, 70), (10, 9), (300, 10)])
    ]
    alone = open_engine()
    expected: dict[str, list[Delta]] = {}
    for request in requests:
        expected |= run(alone, [request])
    engine = open_engine(num_slots=5)
    for request in requests:
        engine.submit(request)
    found: dict[str, list[Delta]] = defaultdict(list)
    while engine.has_work:
        for delta in engine.step():
            found[delta.request_id].append(delta)
            if delta.request_id == "r1" and delta.finish_reason:
                engine.submit(CompletionRequest("late", requests[0].prompt_ids, requests[0].sampling))
    late = found.pop("late")
    assert found == expected
    assert [delta.token_id for delta in late] == [delta.token_id for delta in expected["r0"]]


def test_cancelling_a_waiting_completion_takes_it_out_of_the_queue(open_engine: OpenEngine) -> None:
    """State one of three: queued."""
    engine = open_engine(num_slots=1)
    for name in ("first", "second", "third"):
        engine.submit(CompletionRequest(name, chat_ids(5, seed=1), GREEDY))
    engine.step()
    assert (engine.num_running, engine.num_waiting) == (1, 2)
    assert engine.cancel("second")
    assert (engine.num_running, engine.num_waiting) == (1, 1)
    assert set(drain(engine)) == {"first", "third"}


def test_cancelling_while_the_prompt_is_read_frees_the_slot_at_once(open_engine: OpenEngine) -> None:
    """State two of three: the next request gets the slot in the very next step and an uninfluenced completion."""
    engine = open_engine(num_slots=1)
    follower = CompletionRequest("follower", chat_ids(70, seed=2), GREEDY)
    expected = run(open_engine(), [follower])["follower"]
    engine.submit(CompletionRequest("reader", chat_ids(300, seed=1), GREEDY))
    engine.submit(follower)
    assert engine.step() == []
    assert engine.cancel("reader")
    assert (engine.num_running, engine.num_waiting) == (0, 1)
    engine.step()
    assert (engine.num_running, engine.num_waiting) == (1, 0)
    assert drain(engine) == {"follower": expected}


def test_cancelling_while_decoding_leaves_the_neighbours_unchanged(open_engine: OpenEngine) -> None:
    """State three of three: the first slot is vacated while the others decode and a prompt is read."""
    requests = [
        CompletionRequest(name, chat_ids(length, seed=length), GREEDY)
        for name, length in (("gone", 10), ("second", 80), ("third", 20), ("reading", 250))
    ]
    alone = open_engine()
    expected = {request.request_id: run(alone, [request])[request.request_id] for request in requests[1:]}
    engine = open_engine()
    for request in requests:
        engine.submit(request)
    found: dict[str, list[Delta]] = defaultdict(list)
    for step in range(400):
        if step == 6:
            assert engine.num_running == 4
            assert engine.cancel("gone")
            assert engine.num_running == 3
            del found["gone"]
        for delta in engine.step():
            found[delta.request_id].append(delta)
    assert found == expected
    assert not engine.has_work


def test_cancelling_what_is_not_there_says_so(open_engine: OpenEngine) -> None:
    """Unknown and finished completions cannot be cancelled."""
    engine = open_engine()
    run(engine, [CompletionRequest("done", (260, 261), GREEDY)])
    assert not engine.cancel("done")
    assert not engine.cancel("never")


def test_the_end_of_sequence_token_is_delivered_and_stops_the_completion(open_engine: OpenEngine) -> None:
    """With four tokens to choose from, the end comes soon; it is the last delta and the only one with a reason."""
    banned = frozenset(range(VOCAB_SIZE)) - {EOS_ID, 270, 271, 272}
    sampling = SamplingParams(temperature=3.0, seed=4, max_tokens=200, banned_token_ids=banned)
    engine = open_engine()
    deltas = run(engine, [CompletionRequest("r", chat_ids(9, seed=9), sampling)])["r"]
    assert 1 < len(deltas) < 200
    assert (deltas[-1].token_id, deltas[-1].finish_reason) == (EOS_ID, "stop")
    assert all(delta.finish_reason is None and delta.token_id != EOS_ID for delta in deltas[:-1])
    assert engine.num_running == 0


def test_max_tokens_ends_a_completion_for_length(open_engine: OpenEngine) -> None:
    """Exactly `max_tokens` deltas, the last one with the reason."""
    sampling = SamplingParams(temperature=0, max_tokens=5, banned_token_ids=NOT_EOS)
    deltas = run(open_engine(), [CompletionRequest("r", (260,), sampling)])["r"]
    assert [delta.finish_reason for delta in deltas] == [None, None, None, None, "length"]


def test_the_context_limit_ends_a_completion_for_length(open_engine: OpenEngine) -> None:
    """Prompt and completion together fill the model's positions and no more."""
    engine = open_engine()
    sampling = SamplingParams(temperature=0, max_tokens=10_000, banned_token_ids=NOT_EOS)
    deltas = run(engine, [CompletionRequest("r", chat_ids(MAX_POSITIONS - 7, seed=1), sampling)])["r"]
    assert engine.max_context == MAX_POSITIONS
    assert len(deltas) == 7
    assert deltas[-1].finish_reason == "length"


def test_a_long_prompt_is_read_in_pieces_between_the_others_tokens(open_engine: OpenEngine) -> None:
    """While 200 tokens are read in four steps, the running completion gets its token in each of them."""
    engine = open_engine()
    engine.submit(CompletionRequest("short", (260, 261), GREEDY))
    engine.step()
    engine.submit(CompletionRequest("long", chat_ids(200, seed=4), GREEDY))
    steps = [{delta.request_id for delta in engine.step()} for _ in range(4)]
    assert steps == [{"short"}, {"short"}, {"short"}, {"short", "long"}]
