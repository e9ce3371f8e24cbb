"""The webhook's signature and the courier's pauses, by figures from outside."""

import base64
from datetime import UTC, datetime

import pytest

from service.chat.handovers.courier import RetryPlan
from service.chat.handovers.webhook import Answer, message_body, message_id, signed_headers
from service.records.handovers.outbox import Handover

HANDOVER = Handover(
    completion_id="chatcmpl-0a1b",
    conversation_id='conv "1"\n',
    tenant="default",
    language="en",
    plan=None,
    rule="hand_over",
    model_digest="ab",
    created_at=datetime(2026, 1, 31, 8, 15, tzinfo=UTC),
    state="pending",
    num_attempts=3,
    next_attempt_at=None,
    last_problem=None,
    settled_at=None,
)


def test_a_message_is_signed_as_standard_webhooks_has_it() -> None:
    """Id, time, body and signature of the libraries' own test; a second key adds a second signature."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', (key, b"another key"))
    assert headers["webhook-id"] == "msg_p5jXN8AQM9LWM0D4loKWxJek" and headers["webhook-timestamp"] == "1614265330"
    first, second = headers["webhook-signature"].split(" ")
    assert first == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" and second.startswith("v1,") and second != first


def test_the_message_is_the_same_in_every_attempt_and_its_id_holds_no_stop() -> None:
    """A stop in the id would let one message be signed like another."""
    assert message_id(HANDOVER) == "msg_0a1b"
    assert message_body(HANDOVER) == (
        b'{"type":"conversation.handed_over","timestamp":"2026-01-31T08:15:00.000000Z","data":{"conversation_id":'
        b'"conv \\"1\\"\\n","completion_id":"chatcmpl-0a1b","tenant":"default","language":"en","plan":null,'
        b'"rule":"hand_over","model_digest":"ab"}}'
    )


@pytest.mark.parametrize(
    ("num_attempts", "retry_after", "pause"),
    [(1, None, 5), (2, None, 15), (3, None, 45), (7, None, 3600), (50, None, 3600), (1, 60, 60), (2, 1, 15)],
)
def test_pauses_triple_up_to_an_hour_and_the_desk_may_ask_for_more(
    num_attempts: int, retry_after: int | None, pause: float
) -> None:
    """Each is drawn within a tenth, so that replicas and messages do not come in step."""
    plan = RetryPlan(max_attempts=10, first_pause_seconds=5, poll_seconds=2)
    drawn = {plan.pause_seconds(num_attempts, Answer("status 503", retry_after)) for _ in range(50)}
    assert len(drawn) > 10 and all(0.9 * pause <= seconds <= 1.1 * pause for seconds in drawn)


def test_a_desk_that_asks_for_a_year_gets_an_hour() -> None:
    """Nobody else decides for how long customers wait."""
    plan = RetryPlan(max_attempts=10, first_pause_seconds=5, poll_seconds=2)
    assert plan.pause_seconds(1, Answer("status 429", 31_536_000)) <= 3960
