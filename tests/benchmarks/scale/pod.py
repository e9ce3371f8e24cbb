"""One simulated pod: continuous batching as the real scheduler does it, a step at a time.

A request is heard first (HTTP, checks, the intent model), one after the other beside the engine, whose thread has a
core of its own. A step of the engine decodes one token for every running reply and, where a slot is free, reads the
prompt of the one that has waited longest; its first token comes with that step. Twice as many as there are slots may
wait, further ones are refused. Not simulated: pieces of long prompts, and the prefix cache beyond the turn's own
measured time.
"""

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import simpy

from tests.benchmarks.scale.service_times import ServiceTimes

PLACES_A_SLOT = 3
"""One that is served and two that wait, as in `service.chat.engine_worker`."""


@dataclass(slots=True)
class Reply:
    """A completion, from request to last token. Times are the simulation's."""

    asked_at: float
    hear_seconds: float
    read_seconds: float
    tokens_left: int
    done: simpy.Event
    first_token_at: float | None = None
    ended_at: float | None = None


@dataclass
class Pod:
    """An engine with its queue."""

    environment: simpy.Environment
    times: ServiceTimes
    num_slots: int
    is_stopping: bool = False
    hearing_seconds: float = 0.0
    engine_seconds: float = 0.0
    """CPU time of each, which are on a core of their own."""
    num_places_taken: int = 0
    waiting: deque[Reply] = field(default_factory=deque)
    running: list[Reply] = field(default_factory=list)
    _wake: simpy.Event | None = None

    def __post_init__(self) -> None:
        """Starts its thread."""
        self._ears = simpy.Resource(self.environment)
        self.environment.process(self._run())

    @property
    def num_waiting(self) -> int:
        """Replies that have a place and are not being made."""
        return self.num_places_taken - len(self.running)

    def take(self, reply: Reply) -> bool:
        """Gives a reply a place; False when every place is taken."""
        if self.num_places_taken >= PLACES_A_SLOT * self.num_slots:
            return False
        self.num_places_taken += 1
        self.environment.process(self._hear(reply))
        return True

    def _hear(self, reply: Reply) -> Generator[Any, Any, None]:
        with self._ears.request() as turn:
            yield turn
            yield self.environment.timeout(reply.hear_seconds)
        self.hearing_seconds += reply.hear_seconds
        self.waiting.append(reply)
        if self._wake is not None and not self._wake.triggered:
            self._wake.succeed()

    def _run(self) -> Generator[Any, Any, None]:
        while True:
            if not self.waiting and not self.running:
                self._wake = self.environment.event()
                yield self._wake
            yield from self._step()

    def _step(self) -> Generator[Any, Any, None]:
        reading = self.waiting.popleft() if self.waiting and len(self.running) < self.num_slots else None
        seconds = self.times.step_seconds(len(self.running), is_reading=reading is not None)
        seconds += reading.read_seconds if reading is not None else 0.0
        decoding = self.running
        self.running = [*decoding, reading] if reading is not None else decoding
        yield self.environment.timeout(seconds)
        self.engine_seconds += seconds
        if reading is not None:
            reading.first_token_at = self.environment.now
        for reply in self.running:
            reply.tokens_left -= 1
            if reply.tokens_left <= 0:
                reply.ended_at = self.environment.now
                self.num_places_taken -= 1
                reply.done.succeed()
        self.running = [reply for reply in self.running if reply.tokens_left > 0]
