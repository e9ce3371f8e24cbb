"""The courier: tells the desk what lies in the outbox, again and again with growing pauses, until it is told or dead.

At least once, never by two at the same time: whoever claims a hand-over has time for one attempt and for noting how it
went before anybody else may claim it.
"""

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from service.chat.handovers.webhook import Answer, Webhook
from service.records.errors import RecordStoreUnavailableError
from service.records.handovers.outbox import HandoverClaim, HandoverOutbox
from service.settings import Settings
from service.telemetry import Telemetry

_MAX_PAUSE_SECONDS = 3600.0
_PAUSE_FACTOR = 3.0
_JITTER = 0.1
_NUM_AT_ONCE = 4
_LEASE_MARGIN_SECONDS = 10.0
"""Beside the attempt: for the two writes around it, and for clocks that disagree."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPlan:
    """How often the desk is told, how long the first pause is, and how often is looked for what is due."""

    max_attempts: int
    first_pause_seconds: float
    poll_seconds: float

    def pause_seconds(self, num_attempts: int, answer: Answer) -> float:
        """How long to wait after so many attempts: three times as long each time, up to an hour, ± a tenth.

        The desk may ask for more, up to the same hour.
        """
        pause = self.first_pause_seconds * _PAUSE_FACTOR ** (num_attempts - 1)
        asked_for = float(answer.retry_after_seconds or 0)
        return min(max(pause, asked_for), _MAX_PAUSE_SECONDS) * random.uniform(1 - _JITTER, 1 + _JITTER)


class Courier:
    """Lives on the event loop, from `run` until that is cancelled. Any number of replicas may have one."""

    def __init__(self, outbox: HandoverOutbox, webhook: Webhook, plan: RetryPlan, telemetry: Telemetry) -> None:
        self._outbox = outbox
        self._webhook = webhook
        self._plan = plan
        self._telemetry = telemetry
        self._awake = asyncio.Event()
        self._lease_seconds = 2 * webhook.timeout_seconds + _LEASE_MARGIN_SECONDS

    def wake(self) -> None:
        """There is something to tell: does not wait for the next look."""
        self._awake.set()

    async def run(self) -> None:
        """Tells until it is cancelled. What is then being told is told again when its claim is over."""
        async with self._webhook:
            while True:
                try:
                    await self._work()
                except ExceptionGroup as group:  # a fault of this program must not end the telling in silence
                    _log.error("courier_failed", errors=[type(error).__name__ for error in group.exceptions])
                await asyncio.sleep(self._plan.poll_seconds)

    async def _work(self) -> None:
        places = asyncio.Semaphore(_NUM_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_counting())
            while True:
                await places.acquire()
                self._awake.clear()
                claimed_at = time.monotonic()
                claim = await self._claim()
                if claim is None:
                    places.release()
                    await self._rest()
                else:
                    delivery = tasks.create_task(self._deliver(claim, claimed_at))
                    delivery.add_done_callback(lambda _: places.release())

    async def _claim(self) -> HandoverClaim | None:
        try:
            return await asyncio.to_thread(self._outbox.claim, lease_seconds=self._lease_seconds)
        except RecordStoreUnavailableError as error:
            _log.warning("handovers_not_read", code=error.code)
            return None

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._plan.poll_seconds):
                await self._awake.wait()

    async def _deliver(self, claim: HandoverClaim, claimed_at: float) -> None:
        try:
            # A process that was stopped meanwhile may wake up when the hand-over is somebody else's.
            if time.monotonic() - claimed_at < self._lease_seconds - self._webhook.timeout_seconds:
                await self._note(claim, await self._webhook.tell(claim.handover))
        except RecordStoreUnavailableError as error:
            _log.warning("handover_not_noted", completion_id=claim.handover.completion_id, code=error.code)

    async def _note(self, claim: HandoverClaim, answer: Answer) -> None:
        """Keeps how an attempt went; another one comes unless it went well or was the last."""
        about = {"completion_id": claim.handover.completion_id, "num_attempts": claim.handover.num_attempts}
        if answer.problem is None:
            await asyncio.to_thread(self._outbox.settle, claim)
            self._telemetry.handover_deliveries.labels("delivered").inc()
            _log.info("handover_delivered", **about)
            return
        is_dead = answer.is_final or claim.handover.num_attempts >= self._plan.max_attempts
        pause = timedelta(seconds=self._plan.pause_seconds(claim.handover.num_attempts, answer))
        next_attempt_at = None if is_dead else datetime.now(UTC) + pause
        await asyncio.to_thread(self._outbox.put_back, claim, answer.problem, next_attempt_at=next_attempt_at)
        self._telemetry.handover_deliveries.labels("dead" if is_dead else "failed").inc()
        _log.warning("handover_dead" if is_dead else "handover_failed", problem=answer.problem, **about)

    async def _keep_counting(self) -> None:
        """Shows what is not told. While the database is away the last figures stay, and the oldest one ages."""
        while True:
            with suppress(RecordStoreUnavailableError):
                self._telemetry.handovers_counted(*await asyncio.to_thread(self._outbox.backlog))
            await asyncio.sleep(self._plan.poll_seconds)


def make_courier(settings: Settings, outbox: HandoverOutbox, telemetry: Telemetry) -> Courier | None:
    """The courier to the operator's desk; None where no address is set."""
    if settings.handover_webhook_url is None:
        return None
    webhook = Webhook(
        settings.handover_webhook_url.get_secret_value(),
        settings.handover_signing_keys,
        settings.handover_webhook_timeout_seconds,
    )
    plan = RetryPlan(
        max_attempts=settings.handover_max_attempts,
        first_pause_seconds=settings.handover_retry_seconds,
        poll_seconds=settings.poll_seconds,
    )
    return Courier(outbox, webhook, plan, telemetry)
