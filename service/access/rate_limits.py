"""Rate limits: so many requests a minute, counted here or, where replicas share a Redis or Valkey, there.

Fixed windows from the first request on: one number a caller, an exact time to come back, and at the worst twice the
limit around the end of a window. When the shared store is away, every process counts for itself.
"""

import ipaddress
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.storage.redis import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError

from service.access.errors import RateLimitedError

_TIMEOUT_SECONDS = 0.5
_PAUSE_SECONDS = 5.0
"""For how long a shared store that failed is left alone: its timeout must not become everybody's."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit and whom it is for. `per_minute` 0: none."""

    per_minute: int
    kind: str
    who: str
    error: type[RateLimitedError] = RateLimitedError


class RateLimits:
    """Counts requests. Lives on the event loop."""

    def __init__(self, url: str | None = None) -> None:
        """`url` names a Redis or Valkey (redis://, rediss://, valkey://, valkeys://); it is not connected to yet."""
        self._local = FixedWindowRateLimiter(MemoryStorage())
        self._shared = FixedWindowRateLimiter(_shared_storage(url)) if url else None
        self._alone_until = 0.0

    async def spend(self, quota: Quota) -> None:
        """Counts one request. Raises the quota's error, with the time to come back, when that was one too many."""
        await self._count(quota, is_spending=True)

    async def check(self, quota: Quota) -> None:
        """Raises like `spend` when nothing is left; counts nothing."""
        await self._count(quota, is_spending=False)

    def spend_at_once(self, quotas: Sequence[Quota]) -> bool:
        """Counts one request against each, if something is left of all and replicas do not count together.

        Else it counts nothing.
        """
        counted = [quota for quota in quotas if quota.per_minute > 0]
        if counted and self._shared is not None:
            return False
        if not all(_at_once(_ask(self._local.test, quota)) for quota in counted):
            return False
        return all([_at_once(_ask(self._local.hit, quota)) for quota in counted])

    async def _count(self, quota: Quota, *, is_spending: bool) -> None:
        if quota.per_minute == 0:
            return
        if self._shared is not None and time.monotonic() >= self._alone_until:
            try:
                await _count_with(self._shared, quota, is_spending)
                return
            except StorageError as error:
                self._alone_until = time.monotonic() + _PAUSE_SECONDS
                _log.warning("rate_limits_not_shared", error=type(error.storage_error).__name__)
        await _count_with(self._local, quota, is_spending)


def network_of(address: str) -> str:
    """What one guesser can call from: an address, or a whole /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if parsed.version == 6:
        parsed = parsed.ipv4_mapped or ipaddress.ip_network((int(parsed), 64), strict=False).network_address
    return str(parsed)


async def _count_with(limiter: FixedWindowRateLimiter, quota: Quota, is_spending: bool) -> None:
    if await _ask(limiter.hit if is_spending else limiter.test, quota):
        return
    item = RateLimitItemPerMinute(quota.per_minute)
    ends_at = (await limiter.get_window_stats(item, quota.kind, quota.who)).reset_time
    raise quota.error(per_minute=quota.per_minute, seconds=max(1, math.ceil(ends_at - time.time())))


async def _ask(question: Callable[..., Awaitable[bool]], quota: Quota) -> bool:
    """Puts a limiter's question about a quota."""
    return await question(RateLimitItemPerMinute(quota.per_minute), quota.kind, quota.who)


def _at_once(question: Coroutine[Any, Any, bool]) -> bool:
    """The answer of what never waits: counting in this process's memory, on its one event loop.

    Raises RuntimeError for what would wait after all.
    """
    try:
        question.send(None)
    except StopIteration as answered:
        return bool(answered.value)
    question.close()
    raise RuntimeError("counting requests in memory has waited for something")


def _shared_storage(url: str) -> RedisStorage:
    """One client for both kinds of server: they speak the same language."""
    return RedisStorage(
        f"async+{url.replace('redis', 'valkey', 1) if url.startswith('redis') else url}",
        wrap_exceptions=True,
        key_prefix="rejoinder",
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
    )
