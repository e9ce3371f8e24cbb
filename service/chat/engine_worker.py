"""One thread for each loaded engine: the bridge between the event loop and the synchronous engine.

Everything but `_run` and what it calls happens on the event loop, so the book of places needs no lock. The thread hands
over all deltas of a step in one call.
"""

import asyncio
import math
import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from service.engine.errors import EngineError, EngineOverloadedError
from service.engine.types import CompletionRequest, Delta
from service.errors import CompletionFailedError, OverloadedError, ServiceError

_log = structlog.get_logger(__name__)
_PLACES_PER_SLOT = 3  # One that is served and two that wait.
_MAX_RETRY_AFTER_SECONDS = 60
PACE_SECONDS = 1 / 30
"""Between wake-ups of a reader who has shown something: as often as eyes can follow. Each of them runs a task, encodes
an event and writes to a socket, which token by token takes a good part of what making the token takes."""
_SMOOTHING = 0.1


class CompletionEngine(Protocol):
    """What a worker asks of an engine; `service.engine.engine.Engine` is the real one."""

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""

    @property
    def num_running(self) -> int:
        """Completions in a slot."""

    @property
    def num_waiting(self) -> int:
        """Completions in the queue."""

    @property
    def max_context(self) -> int:
        """Most tokens of prompt and completion together."""

    @property
    def prefix_cache_bytes(self) -> int:
        """Memory that holds what earlier prompts left."""

    def submit(self, request: CompletionRequest) -> None:
        """Queues a completion."""

    def cancel(self, request_id: str) -> object:
        """Forgets a completion in whatever state it is."""

    def step(self) -> list[Delta]:
        """Makes the next token of every running completion; of one that is alone perhaps several."""

    def close(self) -> None:
        """Frees the model's memory."""


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


class EngineWorker:
    """Runs an engine in a thread of its own. Takes over the engine and closes it in the end."""

    def __init__(
        self,
        engine: CompletionEngine,
        num_slots: int,
        on_prompt: PromptObserver = lambda num_tokens, num_reused: None,
        on_draft: DraftObserver = lambda num_drafted, num_accepted: None,
    ) -> None:
        """Starts the thread; must be called on the event loop that the deltas shall go to."""
        self._engine = engine
        self._num_slots = num_slots
        self._loop = asyncio.get_running_loop()
        self._commands: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._sinks: dict[str, Sink] = {}
        self._started_at: dict[str, float] = {}
        self._on_prompt = on_prompt
        self._on_draft = on_draft
        self._unread_prompts: dict[str, int] = {}
        """Their lengths, by completion."""
        self._mean_seconds = 1.0
        self._num_reserved = 0
        self._is_retiring = False
        self._closed = asyncio.Event()
        self.max_context = engine.max_context
        self.capacity = num_slots * _PLACES_PER_SLOT
        self.has_failed = False
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    @property
    def num_running(self) -> int:
        """Completions in a slot."""
        return self._engine.num_running

    @property
    def num_waiting(self) -> int:
        """Completions that have a place but no slot yet."""
        return max(0, self._num_reserved - self._engine.num_running)

    @property
    def prefix_cache_bytes(self) -> int:
        """Memory that holds what earlier prompts left."""
        return self._engine.prefix_cache_bytes

    def reserve(self, num_places: int) -> None:
        """Takes places before any work is done for the completions. Raises OverloadedError when there are too few."""
        if self._num_reserved + num_places > self.capacity:
            wait = math.ceil(self._mean_seconds * self._num_reserved / self._num_slots)
            raise OverloadedError(
                capacity=self.capacity, retry_after_seconds=min(max(1, wait), _MAX_RETRY_AFTER_SECONDS)
            )
        self._num_reserved += num_places

    def release(self, num_places: int) -> None:
        """Gives back places that were reserved and not used for `submit`."""
        self._num_reserved -= num_places
        self._close_if_idle()

    def submit(self, request: CompletionRequest, sink: Sink) -> None:
        """Starts a completion in a reserved place, which is free again after the last delta, an error or `cancel`."""
        self._sinks[request.request_id] = sink
        self._started_at[request.request_id] = time.monotonic()
        self._unread_prompts[request.request_id] = len(request.prompt_ids)
        if self._closed.is_set():
            self._fail(request.request_id, CompletionFailedError())
        else:
            self._commands.put(lambda: self._submit_to_engine(request))

    def cancel(self, request_id: str) -> None:
        """Stops a completion; its sink hears nothing more. Does nothing for one that has ended."""
        if self._forget(request_id) is not None:
            self._commands.put(lambda: self._engine.cancel(request_id))

    def retire(self) -> None:
        """Closes the engine after its last completion."""
        self._is_retiring = True
        self._close_if_idle()

    async def wait_closed(self) -> None:
        """Returns once the engine is closed."""
        await self._closed.wait()

    def _forget(self, request_id: str) -> Sink | None:
        sink = self._sinks.pop(request_id, None)
        self._unread_prompts.pop(request_id, None)
        if sink is not None:
            seconds = time.monotonic() - self._started_at.pop(request_id)
            self._mean_seconds += _SMOOTHING * (seconds - self._mean_seconds)
            self.release(1)
        return sink

    def _close_if_idle(self) -> None:
        if self._is_retiring and self._num_reserved == 0:
            self._commands.put(None)

    def _dispatch(self, deltas: list[Delta]) -> None:
        for delta in deltas:
            if delta.request_id in self._unread_prompts:
                self._on_prompt(self._unread_prompts.pop(delta.request_id), delta.num_reused)
            if delta.num_drafted:
                self._on_draft(delta.num_drafted, delta.num_accepted)
            ended = delta.finish_reason is not None
            sink = self._forget(delta.request_id) if ended else self._sinks.get(delta.request_id)
            if sink is not None:
                sink(delta)

    def _fail(self, request_id: str, error: ServiceError) -> None:
        sink = self._forget(request_id)
        if sink is not None:
            sink(error)

    def _end(self, has_failed: bool) -> None:
        self.has_failed = has_failed
        self._closed.set()
        for request_id in list(self._sinks):
            self._fail(request_id, CompletionFailedError())

    def _run(self) -> None:
        has_failed = False
        try:
            while self._obey_commands():
                deltas = self._engine.step()
                if deltas:
                    self._post(self._dispatch, deltas)
        except Exception:  # a thread's outermost loop: whoever waits for a token must hear that none will come
            _log.exception("engine_failed")
            has_failed = True
        finally:
            self._engine.close()
            self._post(self._end, has_failed)

    def _obey_commands(self) -> bool:
        """Takes what the event loop wants; waits for it when there is nothing else to do. False: time to close."""
        while True:
            try:
                command = self._commands.get(block=not self._engine.has_work)
            except queue.Empty:
                return True
            if command is None:
                return False
            command()

    def _submit_to_engine(self, request: CompletionRequest) -> None:
        try:
            self._engine.submit(request)
        except EngineOverloadedError:
            self._post(self._fail, request.request_id, OverloadedError(capacity=self.capacity))
        except EngineError as error:
            _log.error("engine_refused_completion", code=error.code)
            self._post(self._fail, request.request_id, CompletionFailedError())

    def _post(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed: the process is going down and nobody listens any more
            self._commands.put(None)
