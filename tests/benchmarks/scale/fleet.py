"""Several pods behind one address, and the HPA that sets their number by the chart's own values.

A Kubernetes service chooses a pod at random, blind to load. The HPA looks every 15 seconds at a mean that is up to half
a minute old; Kubernetes' rule: pods × metric ÷ target, rounded up, nothing within a tenth; up at most double or by two
in 30 seconds, down after a calm of `scaleDownStabilizationSeconds` by one a minute. A new pod answers later.
"""

import math
import random
from collections import deque
from collections.abc import Generator
from pathlib import Path
from typing import Any

import simpy
import yaml
from pydantic import BaseModel, ConfigDict

from tests.benchmarks.scale.pod import Pod
from tests.benchmarks.scale.service_times import ServiceTimes

_VALUES = Path(__file__).resolve().parents[3] / "helm" / "rejoinder" / "values.yaml"
_SYNC_SECONDS = 15.0
_WINDOW = 2
"""Looks over which CPU is averaged: the metrics server's window."""
_TOLERANCE = 0.1
_UP_SECONDS = 30.0
_DOWN_SECONDS = 60.0


class Autoscaling(BaseModel):
    """How the number of pods follows the load."""

    model_config = ConfigDict(frozen=True)

    min_replicas: int
    max_replicas: int
    target_cpu: float
    """Of the one core that a pod requests; it may use two."""
    target_waiting: float
    """Completions that wait in a pod; 0: not looked at."""
    down_seconds: float
    pod_start_seconds: float = 20.0
    """From the HPA's decision to the first reply: place, image, model, probe. Assumed."""

    @classmethod
    def of_chart(cls, **changes: float) -> "Autoscaling":
        """The chart's values, with changes."""
        values = yaml.safe_load(_VALUES.read_text(encoding="utf-8"))["autoscaling"]
        fields = {
            "min_replicas": values["minReplicas"],
            "max_replicas": values["maxReplicas"],
            "target_cpu": values["targetCPUUtilization"] / 100,
            "target_waiting": values["targetWaitingRequests"],
            "down_seconds": values["scaleDownStabilizationSeconds"],
        }
        return cls.model_validate(fields | changes)


class Fleet:
    """Pods that take requests at random."""

    def __init__(self, environment: simpy.Environment, times: ServiceTimes, num_pods: int, num_slots: int) -> None:
        self.environment = environment
        self._times = times
        self._num_slots = num_slots
        self._random = random.Random(0)
        self.pods = [self._new_pod() for _ in range(num_pods)]

    def choose(self) -> Pod:
        """The pod that gets the next request."""
        return self._random.choice(self.pods)

    def start(self, num_pods: int, after_seconds: float) -> Generator[Any, Any, None]:
        """Adds pods once they are ready."""
        yield self.environment.timeout(after_seconds)
        self.pods += [self._new_pod() for _ in range(num_pods)]

    def stop(self, num_pods: int) -> None:
        """Takes pods out; what they have begun they end."""
        del self.pods[len(self.pods) - num_pods :]

    def _new_pod(self) -> Pod:
        return Pod(self.environment, self._times, self._num_slots)


class Autoscaler:
    """The HPA's controller over a fleet; `history` holds (seconds, pods that are wanted, pods that answer)."""

    def __init__(self, fleet: Fleet, rule: Autoscaling) -> None:
        self.history: list[tuple[float, int, int]] = []
        self._fleet, self._rule = fleet, rule
        self._wanted = len(fleet.pods)
        self._seen_used: dict[int, float] = {}
        self._cpu: deque[float] = deque(maxlen=_WINDOW)
        self._raised: list[tuple[float, int]] = []
        self._advice: list[tuple[float, int]] = []
        self._lowered_at = -math.inf

    def run(self) -> Generator[Any, Any, None]:
        """Looks and acts for ever."""
        environment = self._fleet.environment
        while True:
            yield environment.timeout(_SYNC_SECONDS)
            self._look()
            self._act(environment.now)
            self.history.append((environment.now, self._wanted, len(self._fleet.pods)))

    def _look(self) -> None:
        used = {id(pod): pod.hearing_seconds + pod.engine_seconds for pod in self._fleet.pods}
        new = [seconds - self._seen_used.get(pod, 0.0) for pod, seconds in used.items()]
        self._seen_used = used
        self._cpu.append(sum(new) / len(new) / _SYNC_SECONDS)

    def _act(self, now: float) -> None:
        pods, rule = self._fleet.pods, self._rule
        ratios = [sum(self._cpu) / len(self._cpu) / rule.target_cpu]
        if rule.target_waiting:
            ratios.append(sum(pod.num_waiting for pod in pods) / len(pods) / rule.target_waiting)
        ratio = max(ratios)
        advised = self._wanted if abs(ratio - 1) <= _TOLERANCE else math.ceil(len(pods) * ratio)
        advised = min(rule.max_replicas, max(rule.min_replicas, advised))
        self._advice = [*((at, one) for at, one in self._advice if at > now - rule.down_seconds), (now, advised)]
        if advised > self._wanted:
            self._raise(now, advised)
        elif (highest := max(one for _, one in self._advice)) < self._wanted:
            self._lower(now, highest)

    def _raise(self, now: float, advised: int) -> None:
        self._raised = [(at, one) for at, one in self._raised if at > now - _UP_SECONDS]
        before = self._wanted - sum(one for _, one in self._raised)
        added = min(advised, max(2 * before, before + 2)) - self._wanted
        if added > 0:
            self._raised.append((now, added))
            self._wanted += added
            self._fleet.environment.process(self._fleet.start(added, self._rule.pod_start_seconds))

    def _lower(self, now: float, lowest: int) -> None:
        if now >= self._lowered_at + _DOWN_SECONDS and len(self._fleet.pods) == self._wanted > lowest:
            self._lowered_at = now
            self._wanted -= 1
            self._fleet.stop(1)
