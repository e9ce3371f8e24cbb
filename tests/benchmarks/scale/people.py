"""Who asks: conversations that begin at random, their turns, and the pauses in which people read and type."""

import itertools
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import simpy
from pydantic import BaseModel, ConfigDict

from tests.benchmarks.scale.pod import Pod, Reply
from tests.benchmarks.scale.service_times import ServiceTimes, Steady

_SEED = 1
_TURNS_HELD = 2
_ROUNDS_HELD = 3
"""Of which a figure is the mean: chance moves one of few conversations."""


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
    turn: int
    first_token_seconds: float | None
    seconds: float
    num_tokens: int

    @property
    def is_refused(self) -> bool:
        """Whether no place was free."""
        return self.first_token_seconds is None


class Crowd:
    """People in a simulation; `heard` grows as they are answered."""

    def __init__(
        self, environment: simpy.Environment, times: ServiceTimes, choose_pod: Callable[[], Pod], seed: int = _SEED
    ) -> None:
        self.heard: list[Heard] = []
        self._environment = environment
        self._times = times
        self._choose_pod = choose_pod
        self._random = random.Random(seed)

    def ask(self, turn: int) -> Generator[Any, Any, bool]:
        """One request; False when it was refused."""
        asked_at, num_tokens = self._environment.now, self._random.choice(self._times.reply_tokens)
        first = self._times.first_token_seconds(turn, self._random)
        hear, read = self._times.hear_share * first, (1 - self._times.hear_share) * first
        reply = Reply(asked_at, hear, read, num_tokens, self._environment.event())
        if not self._choose_pod().take(reply):
            self.heard.append(Heard(asked_at, turn, None, 0.0, 0))
            return False
        yield reply.done
        first = (reply.first_token_at or self._environment.now) - asked_at
        self.heard.append(Heard(asked_at, turn, first, self._environment.now - asked_at, num_tokens))
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


def hold(times: ServiceTimes, num_streams: int, num_conversations: int) -> Steady:
    """What `make bench` measures, simulated: so many streams, each with one conversation of two turns after another."""
    rounds = [_hold(times, num_streams, num_conversations, seed) for seed in range(_ROUNDS_HELD)]
    heard = [one for crowd, _ in rounds for one in crowd.heard]
    firsts = (
        median(one.first_token_seconds or 0.0 for one in heard if one.turn == turn) for turn in range(_TURNS_HELD)
    )
    seconds = sum(seconds for _, seconds in rounds)
    return Steady(sum(one.num_tokens for one in heard) / seconds, fmean(firsts))


def _hold(times: ServiceTimes, num_streams: int, num_conversations: int, seed: int) -> tuple[Crowd, float]:
    """One round, and how long it took."""
    environment = simpy.Environment()
    pod = Pod(environment, times, num_slots=max(64, num_streams))
    crowd = Crowd(environment, times, lambda: pod, seed)
    conversations = itertools.count()

    def stream() -> Generator[Any, Any, None]:
        while next(conversations) < num_conversations:
            for turn in range(_TURNS_HELD):
                yield from crowd.ask(turn)

    environment.run(environment.all_of([environment.process(stream()) for _ in range(num_streams)]))
    return crowd, environment.now
