"""Who asks: conversations that begin at random, their turns, and the pauses in which people read and type."""

import itertools
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import simpy
from pydantic import BaseModel, ConfigDict

from tests.benchmarks.scale.pod import Pod, Reply
from tests.benchmarks.scale.service_times import ServiceTimes

_SEED = 1


class Habits(BaseModel):
    """What people do, which no machine can measure: assumed, and said with every figure."""

    model_config = ConfigDict(frozen=True)

    turns: int = 3
    """Messages of a conversation."""
    think_seconds: float = 20.0
    """Mean pause before the next message; exponential."""
    thumbs_a_reply: float = 0.05


@dataclass(slots=True)
class Heard:
    """What came of one request."""

    asked_at: float
    first_token_seconds: float | None
    seconds: float
    num_tokens: int

    @property
    def is_refused(self) -> bool:
        """Whether no place was free."""
        return self.first_token_seconds is None


class Crowd:
    """People in a simulation; `heard` grows as they are answered."""

    def __init__(self, environment: simpy.Environment, times: ServiceTimes, choose_pod: Callable[[], Pod]) -> None:
        self.heard: list[Heard] = []
        self._environment = environment
        self._times = times
        self._choose_pod = choose_pod
        self._random = random.Random(_SEED)

    def ask(self, turn: int) -> Generator[Any, Any, bool]:
        """One request; False when it was refused."""
        asked_at, num_tokens = self._environment.now, self._random.choice(self._times.reply_tokens)
        reply = Reply(asked_at, self._times.read_seconds(turn, self._random), num_tokens, self._environment.event())
        if not self._choose_pod().take(reply):
            self.heard.append(Heard(asked_at, None, 0.0, 0))
            return False
        yield reply.done
        first = (reply.first_token_at or self._environment.now) - asked_at
        self.heard.append(Heard(asked_at, first, self._environment.now - asked_at, num_tokens))
        return True

    def converse(self, habits: Habits) -> Generator[Any, Any, None]:
        """A conversation; who is refused leaves."""
        for turn in range(habits.turns):
            if not (yield from self.ask(turn)):
                return
            if turn + 1 < habits.turns:
                yield self._environment.timeout(self._random.expovariate(1 / habits.think_seconds))

    def arrive(self, habits: Habits, per_second: Callable[[float], float], until: float) -> Generator[Any, Any, None]:
        """Conversations that begin independently, at a rate that may change with time."""
        while self._environment.now < until:
            yield self._environment.timeout(self._random.expovariate(per_second(self._environment.now)))
            self._environment.process(self.converse(habits))


def tokens_per_second(times: ServiceTimes, num_streams: int, num_conversations: int) -> float:
    """What `make bench` measures, simulated: so many streams, each with one conversation of two turns after another."""
    environment = simpy.Environment()
    pod = Pod(environment, times, num_slots=max(64, num_streams))
    crowd = Crowd(environment, times, lambda: pod)
    conversations = itertools.count()

    def stream() -> Generator[Any, Any, None]:
        while next(conversations) < num_conversations:
            for turn in range(2):
                yield from crowd.ask(turn)

    streams = [environment.process(stream()) for _ in range(num_streams)]
    environment.run(environment.all_of(streams))
    return sum(heard.num_tokens for heard in crowd.heard) / environment.now
