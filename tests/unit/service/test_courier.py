"""The courier: goes on whatever the outbox does, and claims no more at a time than it can tell."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

from service.chat.handovers.courier import Courier, RetryPlan
from service.chat.handovers.webhook import Answer, Webhook
from service.records.errors import RecordStoreUnavailableError
from service.records.handovers.outbox import Handover, HandoverBacklog, HandoverClaim
from service.telemetry import Telemetry

NOW = datetime(2026, 1, 31, tzinfo=UTC)
PLAN = RetryPlan(max_attempts=2, first_pause_seconds=0.01, poll_seconds=0.01)


def handover(number: int) -> Handover:
    return Handover(
        completion_id=f"chatcmpl-{number}",
        conversation_id="conv-1",
        tenant="default",
        language="en",
        plan=None,
        rule="hand_over",
        model_digest="ab",
        created_at=NOW,
        state="pending",
        num_attempts=1,
        next_attempt_at=NOW,
        last_problem=None,
        settled_at=None,
    )


@dataclass
class ScriptedOutbox:
    """Gives out what is due, after the faults that it was told to have."""

    due: list[Handover]
    faults: list[Exception] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)

    def claim(self, *, lease_seconds: float) -> HandoverClaim | None:
        if self.faults:
            raise self.faults.pop()
        return HandoverClaim(self.due.pop(0), "claim", NOW) if self.due else None

    def settle(self, claim: HandoverClaim) -> bool:
        self.settled.append(claim.handover.completion_id)
        return True

    def put_back(self, claim: HandoverClaim, problem: str, *, next_attempt_at: datetime | None) -> bool:
        return True

    def backlog(self) -> HandoverBacklog:
        return HandoverBacklog(len(self.due), NOW, 0)


class ScriptedWebhook(Webhook):
    """Takes everything, once it is let go; counts what is open."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9/", (b"k" * 24,), 5.0)
        self.go = asyncio.Event()
        self.num_open = 0

    async def tell(self, handover: Handover) -> Answer:
        self.num_open += 1
        await self.go.wait()
        self.num_open -= 1
        return Answer(None)


async def run_until_told(outbox: ScriptedOutbox, webhook: ScriptedWebhook, num_told: int) -> None:
    courier = asyncio.create_task(Courier(outbox, webhook, PLAN, Telemetry()).run())
    async with asyncio.timeout(20):
        while len(outbox.settled) < num_told:
            await asyncio.sleep(0.01)
    courier.cancel()
    await asyncio.gather(courier, return_exceptions=True)
    assert courier.cancelled()


def test_neither_a_lost_database_nor_a_fault_of_the_program_ends_the_telling() -> None:
    """It goes on at the next look."""
    faults = [RecordStoreUnavailableError(store="s", problem="away"), RuntimeError("a fault"), RuntimeError("again")]
    outbox = ScriptedOutbox([handover(1)], faults)

    async def run() -> None:
        webhook = ScriptedWebhook()
        webhook.go.set()
        await run_until_told(outbox, webhook, 1)

    asyncio.run(run())
    assert outbox.settled == ["chatcmpl-1"] and not outbox.faults


def test_no_more_is_claimed_than_can_be_told() -> None:
    """What waits in the outbox can be told by another replica."""
    outbox = ScriptedOutbox([handover(number) for number in range(10)])

    async def run() -> None:
        webhook = ScriptedWebhook()
        told = asyncio.create_task(run_until_told(outbox, webhook, 10))
        async with asyncio.timeout(20):
            while webhook.num_open < 4:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert webhook.num_open == 4 and len(outbox.due) == 6
        webhook.go.set()
        await told

    asyncio.run(run())
    assert sorted(outbox.settled) == [f"chatcmpl-{number}" for number in range(10)]
