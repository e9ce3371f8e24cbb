"""The engines of a loaded version: the bridge between the event loop and those who make tokens.

One engine runs in a thread of this process, further ones in processes of their own. Everything here happens on the
event loop, so the book of places needs no lock; an engine hands over all deltas of a step in one call.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from service.engine.running.engine_loop import CompletionEngine
from service.engine.running.engine_thread import EngineStarter, EngineThread
from service.engine.running.messages import Closed, Lost, Ready, Refused, Report, Stepped
from service.engine.running.seats import Seat, choose_seat
from service.engine.types import CompletionRequest, Delta
from service.errors import CompletionFailedError, OverloadedError, ServiceError

_log = structlog.get_logger(__name__)
_PLACES_PER_SLOT = 3  # One that is served and two that wait.
_MAX_RETRY_AFTER_SECONDS = 60
PACE_SECONDS = 1 / 30
"""Between wake-ups of a reader who has shown something: as often as eyes can follow. Each of them runs a task, encodes
an event and writes to a socket, which token by token takes a good part of what making the token takes."""
_SMOOTHING = 0.1

Sink = Callable[[Delta | ServiceError], None]
"""Takes what becomes of one completion, on the event loop: deltas, or one error after which nothing comes."""

PromptObserver = Callable[[int, int], None]
"""Hears of every prompt that was read to its end: its tokens, and how many an earlier prompt had begun with."""

DraftObserver = Callable[[int, int], None]
"""Hears of every draft: its tokens, and how many of them were right."""


class DeltaInbox:
    """Where the deltas of one reply wait for its reader, who is woken at a pace. Lives on the event loop.

    What is kept waiting comes with the next delta, so no timer is needed: a completion that has not ended brings one.
    """

    def __init__(self, pace_seconds: float = PACE_SECONDS) -> None:
        self._pace_seconds = pace_seconds
        self._deltas: dict[int, list[Delta]] = {}
        self._error: ServiceError | None = None
        self._is_due = asyncio.Event()
        self._rests_until = 0.0

    def put(self, choice_index: int, item: Delta | ServiceError) -> None:
        """Takes what becomes of a choice. The reader hears of it at once unless it rests; of an end even then."""
        if isinstance(item, ServiceError):
            self._error = item
        else:
            self._deltas.setdefault(choice_index, []).append(item)
            if item.finish_reason is None and time.monotonic() < self._rests_until:
                return
        self._is_due.set()

    def rest(self) -> None:
        """The reader has shown something; what comes now may wait for a moment."""
        self._rests_until = time.monotonic() + self._pace_seconds

    async def take(self) -> dict[int, list[Delta]]:
        """The deltas that have come, by choice, each at least one. Raises the error that came, once there are none."""
        await self._is_due.wait()
        if self._error is None:
            self._is_due.clear()
        elif not self._deltas:
            raise self._error
        deltas, self._deltas = self._deltas, {}
        return deltas


@dataclass(slots=True)
class _Completion:
    """One that is being made, and by which engine."""

    sink: Sink
    started_at: float
    num_prompt_tokens: int
    seat: Seat | None
    is_prompt_read: bool = False


class EngineWorker:
    """Hands completions to engines and what these make to sinks. Takes the engines over and closes them in the end."""

    def __init__(
        self,
        engine: CompletionEngine,
        num_slots: int,
        on_prompt: PromptObserver = lambda num_tokens, num_reused: None,
        on_draft: DraftObserver = lambda num_drafted, num_accepted: None,
        further: Sequence[EngineStarter] = (),
    ) -> None:
        """Starts a thread for `engine`, which is open, and `further` engines, which take completions when they are
        ready; each has `num_slots`. Must be called on the event loop that the deltas shall go to.
        """
        self._num_slots = num_slots
        self._loop = asyncio.get_running_loop()
        self._completions: dict[str, _Completion] = {}
        self._on_prompt = on_prompt
        self._on_draft = on_draft
        self._mean_seconds = 1.0
        self._num_reserved = 0
        self._is_retiring = False
        self._has_broken = False
        self._closed = asyncio.Event()
        self._seats: list[Seat] = []
        self.max_context = engine.max_context
        self._start(partial(EngineThread, engine), is_ready=True)
        for start in further:
            self._start(start, is_ready=False)

    @property
    def num_engines(self) -> int:
        """Engines that take completions now."""
        return sum(seat.is_ready for seat in self._seats)

    @property
    def num_missing(self) -> int:
        """Engines that should, and do not: they are starting, or were lost."""
        return len(self._seats) - self.num_engines

    @property
    def num_slots(self) -> int:
        """Completions that these can make at the same time."""
        return self._num_slots * self.num_engines

    @property
    def capacity(self) -> int:
        """Places: for completions that are made and for those that may wait."""
        return self._num_slots * max(1, self.num_engines) * _PLACES_PER_SLOT

    @property
    def is_full(self) -> bool:
        """Whether every place is taken."""
        return self._num_reserved >= self.capacity

    @property
    def has_failed(self) -> bool:
        """Whether no engine is left."""
        return self._has_broken and self.num_engines == 0

    @property
    def is_whole(self) -> bool:
        """Whether no engine has failed for good. Others serve on, but the version should be opened again."""
        return not self._has_broken

    @property
    def num_running(self) -> int:
        """Completions in a slot."""
        return sum(seat.num_running for seat in self._seats)

    @property
    def num_waiting(self) -> int:
        """Completions that have a place but no slot yet."""
        return max(0, self._num_reserved - self.num_running)

    @property
    def prefix_cache_bytes(self) -> int:
        """Memory that holds what earlier prompts left."""
        return sum(seat.prefix_cache_bytes for seat in self._seats)

    def reserve(self, num_places: int) -> None:
        """Takes places before any work is done for the completions. Raises OverloadedError when there are too few."""
        if (overload := self.overload(num_places)) is not None:
            raise overload
        self._num_reserved += num_places

    def overload(self, num_places: int) -> OverloadedError | None:
        """What `reserve` would raise; None where there are places."""
        if self._num_reserved + num_places <= self.capacity:
            return None
        wait = math.ceil(self._mean_seconds * self._num_reserved / max(1, self.num_slots))
        return OverloadedError(capacity=self.capacity, retry_after_seconds=min(max(1, wait), _MAX_RETRY_AFTER_SECONDS))

    def release(self, num_places: int) -> None:
        """Gives back places that were reserved and not used for `submit`."""
        self._num_reserved -= num_places
        self._close_if_idle()

    def submit(self, request: CompletionRequest, sink: Sink) -> None:
        """Starts a completion in a reserved place, which is free again after the last delta, an error or `cancel`."""
        seat = choose_seat(self._seats, request.prompt_ids)
        completion = _Completion(sink, time.monotonic(), len(request.prompt_ids), seat)
        self._completions[request.request_id] = completion
        if seat is None:
            self._fail(request.request_id, CompletionFailedError())
        else:
            seat.request_ids.add(request.request_id)
            seat.engine.submit(request)

    def cancel(self, request_id: str) -> None:
        """Stops a completion; its sink hears nothing more. Does nothing for one that has ended."""
        completion = self._forget(request_id)
        if completion is not None and completion.seat is not None:
            completion.seat.engine.cancel(request_id)

    def retire(self) -> None:
        """Closes the engines after the last completion."""
        self._is_retiring = True
        self._close_if_idle()

    async def wait_closed(self) -> None:
        """Returns once all engines are closed."""
        await self._closed.wait()

    def _start(self, start: EngineStarter, *, is_ready: bool) -> None:
        seat = Seat(self._num_slots, is_ready=is_ready)
        self._seats.append(seat)
        seat.engine = start(partial(self._post, seat))

    def _post(self, seat: Seat, report: Report) -> None:
        """Takes what an engine tells, in its own thread, to the event loop."""
        try:
            self._loop.call_soon_threadsafe(self._hear, seat, report)
        except RuntimeError:  # the loop is closed: the process is going down and nobody listens any more
            seat.engine.close()

    def _hear(self, seat: Seat, report: Report) -> None:
        if isinstance(report, Stepped):
            seat.note_load(report)
            self._dispatch(report.deltas)
        elif isinstance(report, Ready):
            seat.is_ready = True
            _log.info("engine_ready", num_engines=self.num_engines)
        elif isinstance(report, Refused):
            self._refuse(report)
        else:
            self._lose(seat, report)

    def _dispatch(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            completion = self._completions.get(delta.request_id)
            if delta.num_drafted:
                self._on_draft(delta.num_drafted, delta.num_accepted)
            if completion is None:
                continue
            if not completion.is_prompt_read:
                completion.is_prompt_read = True
                self._on_prompt(completion.num_prompt_tokens, delta.num_reused)
            if delta.finish_reason is not None:
                self._forget(delta.request_id)
            completion.sink(delta)

    def _refuse(self, report: Refused) -> None:
        if report.is_full:
            self._fail(report.request_id, OverloadedError(capacity=self.capacity))
        else:
            _log.error("engine_refused_completion", code=report.code)
            self._fail(report.request_id, CompletionFailedError())

    def _lose(self, seat: Seat, report: Lost | Closed) -> None:
        """An engine is gone, for a while or for good; what it was making fails."""
        lost = seat.empty()
        seat.is_closed = isinstance(report, Closed)
        if report.failure is not None:
            self._has_broken = self._has_broken or seat.is_closed
            _log.error("engine_failed", exception=report.failure, num_lost=len(lost), num_engines=self.num_engines)
        if all(seat.is_closed for seat in self._seats):
            self._closed.set()
        for request_id in lost:
            self._fail(request_id, CompletionFailedError())

    def _fail(self, request_id: str, error: ServiceError) -> None:
        completion = self._forget(request_id)
        if completion is not None:
            completion.sink(error)

    def _forget(self, request_id: str) -> _Completion | None:
        completion = self._completions.pop(request_id, None)
        if completion is not None:
            if completion.seat is not None:
                completion.seat.request_ids.discard(request_id)
            self._mean_seconds += _SMOOTHING * (time.monotonic() - completion.started_at - self._mean_seconds)
            self.release(1)
        return completion

    def _close_if_idle(self) -> None:
        if self._is_retiring and self._num_reserved == 0:
            for seat in self._seats:
                seat.engine.close()
