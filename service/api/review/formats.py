"""Replies, conversations and ratings as the console gets them. Texts are masked, as they were recorded."""

from collections.abc import Sequence
from typing import Any

from model_store.contract.feedback import STAFF_RATER_PREFIX
from service.chat.review.reading import Reading, ReadMessage
from service.chat.review.review_desk import staff_rater
from service.records.review.dossier import Choices, RecordedReply
from service.records.review.replies import FoundReply
from service.records.store import StoredFeedback

_MAX_EXCERPT_CHARS = 240

Json = dict[str, Any]


def found_json(found: FoundReply) -> Json:
    """A reply in a list; its texts are cut."""
    return {
        "object": "review.found_reply",
        "completion_id": found.completion_id,
        "conversation_id": found.conversation_id,
        "created_at": found.created_at.isoformat(),
        "model_digest": found.model_digest,
        "language": found.language,
        "question": _excerpt(found.question),
        "text": _excerpt(found.text),
        "plan": found.plan,
        "plan_confidence": found.plan_confidence,
        "rule": found.rule,
        "safety": found.safety,
        "sentiment": found.sentiment,
        "finish_reason": found.finish_reason,
        "num_up": found.num_up,
        "num_down": found.num_down,
        "corrected": found.is_corrected,
        "num_replies": found.num_replies,
        "tags": list(found.tags),
    }


def reading_json(reading: Reading, key_id: str) -> Json:
    """A conversation whole; `key_id` is who reads it."""
    return {
        "object": "review.conversation",
        "id": reading.conversation_id,
        "created_at": reading.created_at.isoformat(),
        "is_cut": reading.is_cut,
        "tags": list(reading.tags),
        "messages": [_message_json(message, key_id) for message in reading.messages],
    }


def feedback_json(stored: StoredFeedback, key_id: str) -> Json:
    """What one rater says now."""
    return {
        "object": "review.feedback",
        "completion_id": stored.completion_id,
        "rater": stored.rater,
        "is_staff": stored.rater.startswith(STAFF_RATER_PREFIX),
        "is_mine": stored.rater == staff_rater(key_id),
        "rating": stored.rating,
        "reasons": list(stored.reasons),
        "comment": stored.comment,
        "correction": stored.correction,
        "updated_at": stored.updated_at.isoformat(),
    }


def choices_json(choices: Choices) -> Json:
    """What a filter can be about."""
    return {
        "object": "review.choices",
        "versions": [{"digest": digest, "num_replies": number} for digest, number in choices.versions],
        "plans": [{"plan": plan, "num_replies": number} for plan, number in choices.plans],
        "reasons": [{"reason": reason, "num_ratings": number} for reason, number in choices.reasons],
        "tags": [{"tag": tag, "num_conversations": number} for tag, number in choices.tags],
    }


def page_json(data: Sequence[Json], next_cursor: str | None) -> Json:
    """A page of a list."""
    return {"object": "list", "data": list(data), "has_more": next_cursor is not None, "next_cursor": next_cursor}


def _message_json(read: ReadMessage, key_id: str) -> Json:
    reply = None if read.reply is None else _reply_json(read.reply, key_id)
    return {**read.message.as_dict(), "is_replaced": read.is_replaced, "reply": reply}


def _reply_json(reply: RecordedReply, key_id: str) -> Json:
    return {
        "completion_id": reply.turn.completion_id,
        "created_at": reply.turn.created_at.isoformat(),
        "model_digest": reply.model_digest,
        "language": reply.language,
        "plan": reply.sampling.get("plan"),
        "plan_confidence": reply.sampling.get("plan_confidence"),
        "rule": reply.sampling.get("rule"),
        "safety": reply.sampling.get("safety"),
        "withheld": reply.sampling.get("withheld"),
        "article": reply.sampling.get("article"),
        "sentiment": reply.sentiment,
        "finish_reason": reply.finish_reason,
        "latency_ms": round(reply.latency_ms),
        "gold": reply.gold,
        "feedback": [
            {**feedback_json(stored, key_id), "ruling": reply.rulings.get(stored.rater)} for stored in reply.feedback
        ],
    }


def _excerpt(text: str) -> str:
    return text if len(text) <= _MAX_EXCERPT_CHARS else f"{text[:_MAX_EXCERPT_CHARS]}…"
