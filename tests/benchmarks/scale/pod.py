"""One simulated pod: continuous batching as the real scheduler does it, a step at a time.

A step decodes one token for every running reply and, where a slot is free, reads the prompt of the one that has waited
longest; its first token comes with that step. Twice as many as there are slots may wait, further ones are refused. Not
simulated: pieces of long prompts, the prefix cache beyond the turn's own measured time, and HTTP apart from the engine,
for they share the core and are in the measured times already.
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
    busy_seconds: float = 0.0
    waiting: deque[Reply] = field(default_factory=deque)
    running: list[Reply] = field(default_factory=list)
    _wake: simpy.Event | None = None

    def __post_init__(self) -> None:
        """Starts its thread."""
        self.environment.process(self._run())

    @property
    def num_places_taken(self) -> int:
        """Replies that run or wait."""
        return len(self.running) + len(self.waiting)

    def take(self, reply: Reply) -> bool:
        """Queues a reply; False when every place is taken."""
        if self.num_places_taken >= PLACES_A_SLOT * self.num_slots:
            return False
        self.waiting.append(reply)
        if self._wake is not None and not self._wake.triggered:
            self._wake.succeed()
        return True

    def _run(self) -> Generator[Any, Any, None]:
        while True:
            if not self.num_places_taken:
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
        self.busy_seconds += seconds
        if reading is not None:
            reading.first_token_at = self.environment.now
        for reply in self.running:
            reply.tokens_left -= 1
            if reply.tokens_left <= 0:
                reply.ended_at = self.environment.now
                reply.done.succeed()
        self.running = [reply for reply in self.running if reply.tokens_left > 0]
