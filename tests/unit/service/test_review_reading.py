"""A conversation as a reviewer reads it: every reply is there, also those that a later one has replaced."""

from datetime import UTC, datetime, timedelta

from model_store.contract.conversation import Message, Role
from service.chat.review.reading import Reading, read
from service.records.review.dossier import Dossier, RecordedReply
from service.records.store import RecordedTurn

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def reply(number: int, text: str, *prompt: str) -> RecordedReply:
    """A reply to a prompt of customer and bot in turns."""
    turns = [Message(Role.USER if n % 2 == 0 else Role.ASSISTANT, said) for n, said in enumerate(prompt)]
    turn = RecordedTurn(
        completion_id=f"cmpl-{number}",
        created_at=NOON + timedelta(minutes=number),
        prompt_messages=tuple(turns),
        completion_text=text,
    )
    return RecordedReply(
        turn=turn,
        model_digest="a" * 64,
        language="en",
        sampling={},
        finish_reason="stop",
        latency_ms=1.0,
        feedback=(),
    )


def read_all(*replies: RecordedReply) -> Reading:
    """What is read of these."""
    return read(Dossier(conversation_id="conv-1", created_at=NOON, replies=replies, is_cut=False))


def lines(reading: Reading) -> list[tuple[str, str | None, bool]]:
    """Text, completion and whether it was replaced, by message."""
    return [
        (item.message.content, item.reply.turn.completion_id if item.reply else None, item.is_replaced)
        for item in reading.messages
    ]


def test_messages_come_in_order_with_the_replies_that_they_are() -> None:
    """A plain conversation reads as it was said."""
    reading = read_all(reply(1, "Hello", "Hi"), reply(2, "Soon", "Hi", "Hello", "When?"))
    assert lines(reading) == [
        ("Hi", None, False),
        ("Hello", "cmpl-1", False),
        ("When?", None, False),
        ("Soon", "cmpl-2", False),
    ]


def test_a_reply_that_was_asked_for_again_stands_before_what_replaced_it() -> None:
    """Twice replaced, and the conversation went on from the last."""
    reading = read_all(
        reply(1, "No.", "When?"),
        reply(2, "Never.", "When?"),
        reply(3, "Soon.", "When?"),
        reply(4, "Bye.", "When?", "Soon.", "Thanks"),
    )
    assert lines(reading) == [
        ("When?", None, False),
        ("No.", "cmpl-1", True),
        ("Never.", "cmpl-2", True),
        ("Soon.", "cmpl-3", False),
        ("Thanks", None, False),
        ("Bye.", "cmpl-4", False),
    ]


def test_a_conversation_without_replies_is_empty() -> None:
    """One that was begun and never used."""
    assert read_all().messages == ()
