"""What is asked of the simulation: how many pods a load takes, what that costs, and what a sudden load does."""

import math
from collections.abc import Sequence

import simpy
from pydantic import BaseModel, ConfigDict

from tests.benchmarks.over_http.conversations import percentile
from tests.benchmarks.scale.fleet import Autoscaler, Autoscaling, Fleet
from tests.benchmarks.scale.people import Crowd, Habits, Heard
from tests.benchmarks.scale.service_times import ServiceTimes

_LEAST_SECONDS, _LEAST_REPLIES = 60.0, 6000
_MOST_SECONDS = 40_000.0
_BUCKET_SECONDS = 15.0


class Promise(BaseModel):
    """When a load is carried."""

    model_config = ConfigDict(frozen=True)

    first_token_seconds: float = 1.0
    """99 of 100 first tokens come within this."""
    refused_share: float = 0.001
    busy_share: float = 0.8
    """Of the busier core at most: room for a peak within the peak. Above it a little more load is much more waiting."""


class Prices(BaseModel):
    """Of a month of 730 hours. Assumed: put your own in."""

    model_config = ConfigDict(frozen=True)

    core_hour: float = 0.04
    gib_hour: float = 0.005
    cores_a_pod: float = 2.0
    """The engine's, and the one that hears. The chart requests one and sets no limit."""
    gib_a_pod: float = 0.5


class Load(BaseModel):
    """What a fleet of a fixed size does under a steady load. Seconds."""

    model_config = ConfigDict(frozen=True)

    conversations_per_hour: float
    pods: int
    busy_share: float
    """Of the busier of a pod's two cores."""
    first_token_p50: float
    first_token_p99: float
    reply_p50: float
    reply_p99: float
    refused_share: float
    replies_per_second: float
    writes_per_second: float
    """Transactions of the database: one a reply, one a thumb."""
    num_replies: int

    def cost_a_month(self, prices: Prices) -> float:
        """In the prices' currency."""
        return 730 * self.pods * (prices.cores_a_pod * prices.core_hour + prices.gib_a_pod * prices.gib_hour)

    def keeps(self, promise: Promise) -> bool:
        """Whether people get what was promised."""
        is_soon = self.first_token_p99 <= promise.first_token_seconds and self.busy_share <= promise.busy_share
        return is_soon and self.refused_share <= promise.refused_share


def steady(times: ServiceTimes, habits: Habits, per_hour: float, num_pods: int, num_slots: int) -> Load:
    """Simulates a load for as long as it takes to know the slowest hundredth, or some minutes."""
    environment = simpy.Environment()
    fleet = Fleet(environment, times, num_pods, num_slots)
    crowd = Crowd(environment, times, fleet.choose)
    seconds = min(_MOST_SECONDS, max(_LEAST_SECONDS, _LEAST_REPLIES * 3600 / per_hour / habits.turns))
    warm_up = 2 * habits.turns * habits.think_seconds + 10
    environment.process(crowd.arrive(habits, lambda _: per_hour / 3600, warm_up + seconds))
    environment.run(warm_up)
    before = _cpu_seconds(fleet)
    environment.run(warm_up + seconds)
    busy = max(now - then for now, then in zip(_cpu_seconds(fleet), before, strict=True)) / seconds / num_pods
    heard = [one for one in crowd.heard if one.asked_at >= warm_up]
    return _load(heard, habits, per_hour, num_pods, min(1.0, busy), seconds)


def _cpu_seconds(fleet: Fleet) -> tuple[float, float]:
    """That hearing and the engines of all pods have taken."""
    return sum(pod.hearing_seconds for pod in fleet.pods), sum(pod.engine_seconds for pod in fleet.pods)


def _load(heard: Sequence[Heard], habits: Habits, per_hour: float, num_pods: int, busy: float, seconds: float) -> Load:
    answered = [one for one in heard if not one.is_refused]
    firsts = [one.first_token_seconds or 0.0 for one in answered]
    wholes = [one.seconds for one in answered]
    per_second = len(answered) / seconds
    return Load(
        conversations_per_hour=per_hour,
        pods=num_pods,
        busy_share=busy,
        first_token_p50=percentile(firsts, 0.5),
        first_token_p99=percentile(firsts, 0.99),
        reply_p50=percentile(wholes, 0.5),
        reply_p99=percentile(wholes, 0.99),
        refused_share=1 - len(answered) / len(heard) if heard else 0.0,
        replies_per_second=per_second,
        writes_per_second=per_second * (1 + habits.thumbs_a_reply),
        num_replies=len(answered),
    )


def _busy_cores(times: ServiceTimes, habits: Habits, per_hour: float, num_slots: int) -> tuple[float, float]:
    """Those that hear and those of engines that a load keeps busy when steps are full: a first guess."""
    first, replies = times.mean_first_token_seconds[-1], per_hour / 3600 * habits.turns
    steps = times.mean_reply_tokens * (times.step_base / num_slots + times.step_row)
    return replies * times.hear_share * first, replies * ((1 - times.hear_share) * first + steps)


def fewest_pods(times: ServiceTimes, habits: Habits, promise: Promise, per_hour: float, num_slots: int) -> Load:
    """The smallest fleet that keeps the promise."""
    num_pods = max(1, math.ceil(max(_busy_cores(times, habits, per_hour, num_slots)) / promise.busy_share))
    found = steady(times, habits, per_hour, num_pods, num_slots)
    while num_pods > 1 and found.keeps(promise):
        fewer = steady(times, habits, per_hour, num_pods - 1, num_slots)
        if not fewer.keeps(promise):
            return found
        num_pods, found = num_pods - 1, fewer
    while not found.keeps(promise):
        num_pods += max(1, num_pods // 50)
        found = steady(times, habits, per_hour, num_pods, num_slots)
    return found


class Moment(BaseModel):
    """A quarter of a minute of a sudden load."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    """Since the load grew."""
    pods: int
    first_token_p99: float
    refused_share: float


class Step(BaseModel):
    """What people noticed of a load that grew tenfold at once."""

    model_config = ConfigDict(frozen=True)

    name: str
    pods_before: int
    pods_after: int
    refused_share: float
    """Of the five minutes after it."""
    seconds_until_kept: float | None
    """From the growth until the promise is kept for good; None: not within the simulated time."""
    moments: tuple[Moment, ...]


class Growth(BaseModel):
    """A load that grows at once, in conversations an hour."""

    model_config = ConfigDict(frozen=True)

    name: str
    before: float
    after: float
    num_slots: int


def step_of_load(times: ServiceTimes, habits: Habits, promise: Promise, rule: Autoscaling, growth: Growth) -> Step:
    """Ten simulated minutes after the load has grown."""
    num_slots = growth.num_slots
    pods_before = round(sum(_busy_cores(times, habits, growth.before, num_slots)) / rule.target_cpu)
    pods_before = max(rule.min_replicas, pods_before)
    environment = simpy.Environment()
    fleet = Fleet(environment, times, pods_before, num_slots)
    crowd = Crowd(environment, times, fleet.choose)
    scaler = Autoscaler(fleet, rule)
    grows_at = 300.0
    end = grows_at + 600.0
    environment.process(scaler.run())
    rates = (growth.before / 3600, growth.after / 3600)
    environment.process(crowd.arrive(habits, lambda now: rates[now >= grows_at], end))
    environment.run(end)
    moments = _moments(crowd.heard, scaler.history, grows_at, end)
    late = [moment.seconds for moment in moments if not _is_kept(moment, promise)]
    until = 0.0 if not late else late[-1] + _BUCKET_SECONDS
    first_minutes = [one for one in crowd.heard if grows_at <= one.asked_at < grows_at + 300]
    return Step(
        name=growth.name,
        pods_before=pods_before,
        pods_after=len(fleet.pods),
        refused_share=sum(one.is_refused for one in first_minutes) / max(1, len(first_minutes)),
        seconds_until_kept=until if until < end - grows_at else None,
        moments=moments,
    )


def _is_kept(moment: Moment, promise: Promise) -> bool:
    is_soon = moment.first_token_p99 <= promise.first_token_seconds
    return is_soon and moment.refused_share <= promise.refused_share


def _moments(
    heard: Sequence[Heard], history: Sequence[tuple[float, int, int]], grows_at: float, end: float
) -> tuple[Moment, ...]:
    moments = []
    for at, _, pods in history:
        if at <= grows_at or at > end:
            continue
        asked = [one for one in heard if at - _BUCKET_SECONDS <= one.asked_at < at]
        firsts = [one.first_token_seconds for one in asked if one.first_token_seconds is not None]
        refused = sum(one.is_refused for one in asked) / max(1, len(asked))
        fields = {"pods": pods, "first_token_p99": percentile(firsts, 0.99), "refused_share": refused}
        moments.append(Moment(seconds=at - grows_at - _BUCKET_SECONDS, **fields))
    return tuple(moments)
