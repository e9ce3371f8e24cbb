"""Recorded conversations for the review console's tests: what a small shop has after a morning."""

from datetime import UTC, datetime, timedelta
from typing import Any

from model_store.contract.conversation import Message, Role
from service.records.store import CompletionRecord, FeedbackRecord
from tests.browser.scripted_replies import XSS_CORPUS
from tests.e2e.running_service import RunningService

LONG_WORD = "https://shop.example/" + "a" * 300
BEGIN = datetime.now(UTC) - timedelta(hours=3)


def keep(service: RunningService, number: int, prompt: tuple[str, ...], text: str, **fields: Any) -> None:
    """Records one reply, `number` minutes after the morning began; `plan` and `sure` are what the model had in mind."""
    turns = (Message(Role.USER if n % 2 == 0 else Role.ASSISTANT, said) for n, said in enumerate(prompt))
    sampling = {"plan": fields.pop("plan", "track_package"), "plan_confidence": fields.pop("sure", 0.9)}
    values: dict[str, Any] = {
        "id": f"cmpl-{number}",
        "conversation_id": f"conv-{number}",
        "created_at": BEGIN + timedelta(minutes=number),
        "model_digest": "ab" * 32,
        "language": "en",
        "prompt_messages": tuple(turns),
        "completion_text": text,
        "completion_token_ids": (),
        "token_logprobs": (),
        "sampling": {**sampling, **fields.pop("sampling", {})},
        "finish_reason": "stop",
        "latency_ms": 120.0,
        "num_prompt_tokens": 9,
        "num_completion_tokens": 7,
    }
    with service.records() as records:
        records.record_completion(CompletionRecord(**{**values, **fields}))


def rate(service: RunningService, number: int, rating: str, **fields: Any) -> None:
    """A customer's thumb."""
    values = {"completion_id": f"cmpl-{number}", "rater": "rater_1", "rating": rating, **fields}
    with service.records() as records:
        records.record_feedback(FeedbackRecord(**values))


def fill(service: RunningService) -> None:
    """In the queue stand: 2 (disliked, two replies), 3 (unsure), 1 (less unsure), 4 (Chinese)."""
    question = "Where is my order <ORDER_ID>?"
    keep(service, 1, (question,), "Order <ORDER_ID> is on its way; see <TRACKING_PAGE>.", sure=0.6)
    keep(service, 2, ("Hello",), "Hello! How can I help?", plan="greeting", conversation_id="conv-2", sure=0.99)
    talk = ("Hello", "Hello! How can I help?", "My lamp is broken")
    more = {"conversation_id": "conv-2", "model_digest": "cd" * 32, "plan": "warranty"}
    keep(service, 20, talk, "Lamps are covered for <WARRANTY_PERIOD>.", sure=0.8, **more)
    keep(service, 3, (f"Look at {LONG_WORD}",), "I am not sure what you mean.", plan="out_of_scope", sure=0.31)
    keep(service, 4, ("退款什么时候到账？",), "一般<REFUND_TIME>到账。", plan="refund_status", language="zh", sure=0.95)
    keep(service, 5, ("I want a person",), "A colleague can take over.", finish_reason="handover", sure=0.97)
    rate(service, 20, "down", reasons=("incorrect", "too_long"), comment="It is not even <a lamp>")
    rate(service, 5, "up")


def fill_with_hostile_texts(service: RunningService) -> None:
    """One conversation for each text that a page must never take for markup: as question, reply, comment and reason."""
    for number, text in enumerate(XSS_CORPUS, start=100):
        keep(service, number, (text,), text, sure=0.5)
        rate(service, number, "down", comment=text, correction=text, reasons=("own_reason",))
