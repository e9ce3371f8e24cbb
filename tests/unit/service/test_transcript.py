"""Transcripts: what was said, found by laying the prompts of recorded completions over each other."""

from datetime import UTC, datetime

from model_store.contract.conversation import Message, Role
from model_store.knowledge.offer import offer_article
from service.chat.conversations.transcript import transcribe
from service.records.store import RecordedTurn


def turn(*prompt: str, reply: str, system: str | None = None) -> RecordedTurn:
    """A completion of alternating messages, the customer's last."""
    roles = [Role.USER if (len(prompt) - index) % 2 else Role.ASSISTANT for index in range(len(prompt))]
    messages = [Message(role, text) for role, text in zip(roles, prompt, strict=True)]
    if system:
        messages.insert(0, Message(Role.SYSTEM, system))
    return RecordedTurn(
        completion_id=f"cmpl-{reply}",
        created_at=datetime.now(UTC),
        prompt_messages=tuple(messages),
        completion_text=reply,
    )


def texts(*turns: RecordedTurn) -> list[str]:
    """The transcript's texts."""
    return [item.message.content for item in transcribe(turns)]


def test_prompts_that_grow_are_one_conversation() -> None:
    """Each message once; replies know their completion, messages before them none."""
    turns = (turn("a", reply="1"), turn("a", "1", "b", reply="2"))
    assert texts(*turns) == ["a", "1", "b", "2"]
    assert [item.completion_id for item in transcribe(turns)] == [None, "cmpl-1", None, "cmpl-2"]
    assert texts() == []


def test_a_prompt_that_lost_its_beginning_goes_on_where_it_was() -> None:
    """The model's window was full; what it no longer saw was said all the same."""
    assert texts(turn("a", reply="1"), turn("a", "1", "b", reply="2"), turn("b", "2", "c", reply="3")) == [
        "a", "1", "b", "2", "c", "3",
    ]  # fmt: skip


def test_a_reply_made_again_replaces_the_one_before() -> None:
    """The same prompt once more, at the beginning and later."""
    assert texts(turn("a", reply="1"), turn("a", reply="2")) == ["a", "2"]
    again = (turn("a", reply="1"), turn("a", "1", "b", reply="2"), turn("a", "1", "b", reply="3"))
    assert texts(*again) == ["a", "1", "b", "3"]


def test_messages_sent_at_the_same_time_are_both_there() -> None:
    """Two turns that follow the same history: neither is lost, the history is there once."""
    assert texts(turn("a", reply="1"), turn("a", "1", "b", reply="2"), turn("a", "1", "c", reply="3")) == [
        "a", "1", "b", "2", "c", "3",
    ]  # fmt: skip


def test_what_a_client_knows_and_the_service_does_not_is_taken_over() -> None:
    """A history from elsewhere, and half a reply that was stopped and so never recorded."""
    assert texts(turn("x", "0", "a", reply="1")) == ["x", "0", "a", "1"]
    assert texts(turn("a", reply="1"), turn("a", "1", "b", "half", "c", reply="2")) == [
        "a", "1", "b", "half", "c", "2",
    ]  # fmt: skip


def test_the_newest_system_message_stands_in_front_and_articles_are_no_messages() -> None:
    """An article is offered by the service for one question only."""
    plain = turn("a", "1", "b", reply="2", system="Be kind.")
    offered = RecordedTurn(
        completion_id="cmpl-3",
        created_at=plain.created_at,
        prompt_messages=offer_article(plain.prompt_messages, "Repairs", "We mend zips.", "en"),
        completion_text="3",
    )
    assert texts(turn("a", reply="1", system="Be short."), offered) == ["Be kind.", "a", "1", "b", "3"]
    alone = RecordedTurn(
        completion_id="cmpl-4",
        created_at=plain.created_at,
        prompt_messages=offer_article((Message(Role.USER, "a"),), "Repairs", "We mend zips.", "en"),
        completion_text="4",
    )
    assert texts(alone) == ["a", "4"]
