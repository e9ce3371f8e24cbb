"""The engine worker: places, endings and failures, with a fake engine in a real thread."""

import asyncio
import math
from collections.abc import Sequence

import pytest

from service.chat.engine_worker import DeltaInbox, EngineWorker
from service.engine.running.engine_loop import Tell
from service.engine.running.engine_thread import EngineStarter, EngineThread
from service.engine.running.messages import Ready
from service.engine.types import CompletionRequest, Delta, EngineOptions, FinishReason, SamplingParams
from service.errors import CompletionFailedError, OverloadedError, ServiceError
from tests.contract.fake_engine import FakeEngine

Heard = list[Delta | ServiceError]


def script(request: CompletionRequest) -> Sequence[int]:
    """Three tokens."""
    return (300, 301, 302)


def fake_engine() -> FakeEngine:
    """An engine with one slot and two waiting places."""
    return FakeEngine(script, EngineOptions(num_slots=1))


def ask(request_id: str, num_prompt_tokens: int = 2) -> CompletionRequest:
    """A small request."""
    return CompletionRequest(request_id, (1,) * num_prompt_tokens, SamplingParams())


async def until_ended(heard: Heard) -> None:
    """Waits for the last delta or an error."""
    async with asyncio.timeout(5):
        while not heard or (isinstance(heard[-1], Delta) and heard[-1].finish_reason is None):
            await asyncio.sleep(0.001)


def test_deltas_arrive_in_order_and_the_place_is_free_afterwards() -> None:
    """Three tokens, then the place can be reserved again."""

    async def scenario() -> Heard:
        worker, heard = EngineWorker(fake_engine(), 1), Heard()
        worker.reserve(3)
        with pytest.raises(OverloadedError) as caught:
            worker.reserve(1)
        assert caught.value.retry_after_seconds >= 1
        worker.submit(ask("a"), heard.append)
        await until_ended(heard)
        worker.reserve(1)
        return heard

    heard = asyncio.run(scenario())
    assert [delta.token_id for delta in heard if isinstance(delta, Delta)] == [300, 301, 302]


def test_every_prompt_is_told_once_with_its_length() -> None:
    """When its first token comes, however many follow."""

    async def scenario() -> list[tuple[int, int]]:
        told: list[tuple[int, int]] = []
        worker = EngineWorker(fake_engine(), 1, lambda num_tokens, num_reused: told.append((num_tokens, num_reused)))
        heard: tuple[Heard, Heard] = ([], [])
        worker.reserve(2)
        worker.submit(ask("a", num_prompt_tokens=5), heard[0].append)
        worker.submit(ask("b", num_prompt_tokens=7), heard[1].append)
        for items in heard:
            await until_ended(items)
        return told

    assert asyncio.run(scenario()) == [(5, 0), (7, 0)]


def test_a_cancelled_completion_is_silent() -> None:
    """Nothing arrives after `cancel`, and the engine forgets it."""

    async def scenario() -> None:
        engine = fake_engine()
        engine.hold.set()
        worker, heard = EngineWorker(engine, 1), Heard()
        worker.reserve(1)
        worker.submit(ask("a"), heard.append)
        while not engine.num_running:
            await asyncio.sleep(0.001)
        worker.cancel("a")
        worker.cancel("a")
        engine.hold.clear()
        while engine.has_work:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert heard == []
        worker.reserve(3)

    asyncio.run(scenario())


def test_a_request_that_the_engine_refuses_fails_alone() -> None:
    """A prompt beyond the context: an error for it, and the neighbour is served."""

    async def scenario() -> tuple[Heard, Heard]:
        worker, bad, good = EngineWorker(fake_engine(), 1), Heard(), Heard()
        worker.reserve(2)
        worker.submit(ask("bad", num_prompt_tokens=9999), bad.append)
        worker.submit(ask("good"), good.append)
        await until_ended(bad)
        await until_ended(good)
        assert not worker.has_failed
        return bad, good

    bad, good = asyncio.run(scenario())
    assert [type(item) for item in bad] == [CompletionFailedError]
    assert len(good) == 3


def test_a_dead_engine_fails_all_its_completions_and_those_to_come() -> None:
    """Nobody waits for ever."""

    async def scenario() -> tuple[Heard, Heard]:
        engine = fake_engine()
        engine.fails_at_step = 2
        worker, running, late = EngineWorker(engine, 1), Heard(), Heard()
        worker.reserve(2)
        worker.submit(ask("running"), running.append)
        await worker.wait_closed()
        await until_ended(running)
        worker.submit(ask("late"), late.append)
        await until_ended(late)
        assert worker.has_failed and engine.is_closed
        return running, late

    running, late = asyncio.run(scenario())
    assert isinstance(running[-1], CompletionFailedError) and isinstance(late[-1], CompletionFailedError)


def test_a_retired_worker_closes_after_its_last_place_is_free() -> None:
    """Not while a place is reserved, used or not."""

    async def scenario() -> None:
        engine = fake_engine()
        worker, heard = EngineWorker(engine, 1), Heard()
        worker.reserve(2)
        worker.retire()
        worker.submit(ask("a"), heard.append)
        await until_ended(heard)
        await asyncio.sleep(0.02)
        assert not engine.is_closed
        worker.release(1)
        async with asyncio.timeout(5):
            await worker.wait_closed()
        assert engine.is_closed

    asyncio.run(scenario())


def beside(engine: FakeEngine) -> EngineStarter:
    """Starts a further engine, which says that it is ready as a process does."""

    def start(tell: Tell) -> EngineThread:
        tell(Ready())
        return EngineThread(engine, tell)

    return start


async def until_ready(worker: EngineWorker, num_engines: int) -> None:
    """Waits for engines that take completions."""
    async with asyncio.timeout(5):
        while worker.num_engines != num_engines:
            await asyncio.sleep(0.001)


def test_every_engine_has_places_of_its_own_and_completions_go_to_the_idle_one() -> None:
    """Two slots in two engines: two completions at once, and places for six."""

    async def scenario() -> None:
        engines = fake_engine(), fake_engine()
        worker, heard = EngineWorker(engines[0], 1, further=[beside(engines[1])]), (Heard(), Heard())
        assert (worker.num_engines, worker.capacity) == (1, 3)
        await until_ready(worker, 2)
        assert (worker.num_slots, worker.capacity) == (2, 6)
        worker.reserve(2)
        for number, items in enumerate(heard):
            worker.submit(ask(str(number)), items.append)
        for items in heard:
            await until_ended(items)
        assert [len(engine.requests) for engine in engines] == [1, 1]

    asyncio.run(scenario())


@pytest.mark.parametrize("broken", [0, 1])
def test_an_engine_that_fails_loses_its_own_completions_only(broken: int) -> None:
    """The others serve on, whichever it was; the version counts as failed when none is left."""

    async def scenario() -> None:
        engines = fake_engine(), fake_engine()
        for engine in engines:
            engine.hold.set()
        worker, heard = EngineWorker(engines[0], 1, further=[beside(engines[1])]), (Heard(), Heard(), Heard())
        await until_ready(worker, 2)
        worker.reserve(3)
        for number in (0, 1):
            worker.submit(ask(str(number)), heard[number].append)
        engines[broken].fails_at_step = engines[broken].num_steps + 5
        await until_ended(heard[broken])
        assert isinstance(heard[broken][-1], CompletionFailedError)
        assert (worker.num_engines, worker.has_failed, worker.is_whole) == (1, False, False)
        worker.submit(ask("2"), heard[2].append)
        engines[1 - broken].hold.clear()
        for items in (heard[1 - broken], heard[2]):
            await until_ended(items)
        assert [len(items) for items in (heard[1 - broken], heard[2])] == [3, 3]
        engines[1 - broken].fails_at_step = engines[1 - broken].num_steps + 1
        worker.reserve(1)
        worker.submit(ask("3"), heard[2].append)
        await worker.wait_closed()
        assert worker.has_failed

    asyncio.run(scenario())


def test_retiring_closes_every_engine() -> None:
    """After the last completion of any of them."""

    async def scenario() -> None:
        engines = fake_engine(), fake_engine()
        worker, heard = EngineWorker(engines[0], 1, further=[beside(engines[1])]), Heard()
        await until_ready(worker, 2)
        worker.reserve(1)
        worker.retire()
        worker.submit(ask("a"), heard.append)
        await until_ended(heard)
        await worker.wait_closed()
        assert not worker.has_failed and all(engine.is_closed for engine in engines)

    asyncio.run(scenario())


def delta(token_id: int, finish_reason: FinishReason | None = None) -> Delta:
    """A token of one completion."""
    return Delta("a", token_id, 0.0, 0.0, (), finish_reason)


async def is_woken(reader: "asyncio.Task[dict[int, list[Delta]]]") -> bool:
    """Whether a reader that waits now gets something without anything else coming."""
    for _ in range(3):
        await asyncio.sleep(0)
    return reader.done()


def test_a_reader_that_has_shown_something_is_woken_once_for_all_that_follows() -> None:
    """The first delta at once; what comes while the reader rests, together with the end."""

    async def scenario() -> list[dict[int, list[Delta]]]:
        inbox = DeltaInbox(pace_seconds=math.inf)
        inbox.put(0, delta(300))
        first = await inbox.take()
        inbox.rest()
        reader = asyncio.create_task(inbox.take())
        for token_id in (301, 302):
            inbox.put(0, delta(token_id))
            assert not await is_woken(reader)
        inbox.put(0, delta(303, "stop"))
        assert await is_woken(reader)
        return [first, reader.result()]

    found = [[delta.token_id for delta in deltas[0]] for deltas in asyncio.run(scenario())]
    assert found == [[300], [301, 302, 303]]


def test_an_error_wakes_a_resting_reader_after_what_came_before_it() -> None:
    """The text that was made is still told; then the error is raised, again and again."""

    async def scenario() -> dict[int, list[Delta]]:
        inbox = DeltaInbox(pace_seconds=math.inf)
        inbox.rest()
        inbox.put(1, delta(300))
        inbox.put(0, CompletionFailedError())
        deltas = await inbox.take()
        for _ in range(2):
            with pytest.raises(CompletionFailedError):
                await inbox.take()
        return deltas

    assert [delta.token_id for delta in asyncio.run(scenario())[1]] == [300]
