"""Asking and being answered: deltas as they come, stopping, what the next request holds."""

import re

from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import OpenChat
from tests.browser.scripted_replies import LONG_REPLY, OTHER_REPLY
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, wait_until

PASSWORD_TEXT = (
    "No problem, that happens to all of us. Open https://shop.example/password, enter your e-mail address, and we "
    "send you a link for a new password. It works for one hour."
)
COMPLETIONS = "/v1/chat/completions"


def test_a_reply_grows_while_it_is_made(chat: ChatPage, engines: FakeEngines) -> None:
    """Text is shown before the reply is whole, behind a caret, and the whole text is there in the end."""
    engines.opened[-1].step_seconds = 0.02
    chat.send("I forgot my password")
    expect(chat.last_reply).to_have_class(re.compile("is-streaming"))
    caret = "e => getComputedStyle(e, '::after').content"
    assert chat.last_reply.locator(".text").evaluate(caret) == '""'
    early = chat.text_of(chat.last_reply)
    assert 0 < len(early) < len(PASSWORD_TEXT)
    assert PASSWORD_TEXT.startswith(early)
    chat.wait_for_reply()
    assert chat.text_of(chat.last_reply) == PASSWORD_TEXT
    assert chat.last_reply.locator(".text").evaluate(caret) == "none"


def test_the_request_asks_for_a_stream_with_usage(chat: ChatPage) -> None:
    """The first request holds the message, the model, a conversation id and who asks; the second all that was said."""
    chat.ask("I forgot my password")
    chat.ask("Where is my order 10423?")
    first, second = chat.bodies(COMPLETIONS)
    assert first == {
        "model": "rejoinder",
        "messages": [{"role": "user", "content": "I forgot my password"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "metadata": first["metadata"],
        "user": first["user"],
    }
    assert re.fullmatch(r"visitor_[0-9a-f]{32}", first["user"])
    assert re.fullmatch(r"conv_[0-9a-f]{32}", first["metadata"]["conversation_id"])
    assert (second["metadata"], second["user"]) == (first["metadata"], first["user"])
    assert second["messages"] == [
        {"role": "user", "content": "I forgot my password"},
        {"role": "assistant", "content": PASSWORD_TEXT},
        {"role": "user", "content": "Where is my order 10423?"},
    ]


def test_stopping_ends_the_work_and_keeps_what_was_said(chat: ChatPage, engines: FakeEngines) -> None:
    """After a stop the engine is idle, the reply stays without thumbs, and the next question can be asked."""
    engine = engines.opened[-1]
    engine.step_seconds = 0.02
    chat.send("long")
    expect(chat.last_reply).to_have_class(re.compile("is-streaming"))
    chat.button("Stop").click()
    expect(chat.last_reply.get_by_text("Stopped.")).to_be_visible()
    wait_until(lambda: not engine.has_work, seconds=2)
    said = chat.text_of(chat.last_reply)
    assert said
    assert LONG_REPLY.startswith(said)
    expect(chat.last_reply.get_by_role("button", name="Good reply")).to_have_count(0)
    engine.step_seconds = 0
    assert chat.text_of(chat.ask("hi")) == OTHER_REPLY
    assert chat.bodies(COMPLETIONS)[-1]["messages"][1] == {"role": "assistant", "content": said}
    expect(chat.page.get_by_role("button", name="Try again")).to_have_count(0)


def test_a_stopped_reply_can_be_asked_for_again(chat: ChatPage, engines: FakeEngines) -> None:
    """Trying again replaces the half reply, on the page and in the conversation."""
    engines.opened[-1].step_seconds = 0.02
    chat.send("I forgot my password")
    expect(chat.last_reply).to_have_class(re.compile("is-streaming"))
    chat.field.press("Escape")
    chat.button("Try again").click()
    chat.wait_for_reply()
    assert chat.text_of(chat.last_reply) == PASSWORD_TEXT
    expect(chat.replies).to_have_count(1)
    first, second = chat.bodies(COMPLETIONS)
    assert second["messages"] == first["messages"]


def test_a_reply_that_waits_can_be_stopped(chat: ChatPage, engines: FakeEngines) -> None:
    """Nothing is said yet: the dots go, nothing of the reply enters the conversation."""
    engines.opened[-1].hold.set()
    chat.send("hi")
    expect(chat.last_reply.locator(".dots")).to_be_visible()
    chat.button("Stop").click()
    expect(chat.last_reply.locator(".dots")).to_have_count(0)
    engines.opened[-1].hold.clear()
    chat.ask("hello")
    assert [message["role"] for message in chat.bodies(COMPLETIONS)[-1]["messages"]] == ["user", "user"]


def test_nothing_can_be_sent_while_a_reply_streams(chat: ChatPage, engines: FakeEngines) -> None:
    """Enter keeps the draft; after the reply the same Enter sends it."""
    engines.opened[-1].hold.set()
    chat.send("hi")
    chat.send("too early")
    expect(chat.field).to_have_value("too early")
    assert len(chat.bodies(COMPLETIONS)) == 1
    engines.opened[-1].hold.clear()
    chat.wait_for_reply()
    chat.field.press("Enter")
    expect(chat.replies).to_have_count(2)


def test_the_version_that_replied_is_shown(chat: ChatPage, service: RunningService) -> None:
    """Twelve digits of the model's digest stand under each reply."""
    model = service.http.get("/v1/models").json()["data"][0]
    expect(chat.ask("hi").locator(".digest")).to_have_text(model["digest"][:12])


def test_an_empty_reply_says_so_and_stays_out_of_the_conversation(chat: ChatPage) -> None:
    """The service refuses empty messages, so the next request must not hold one; it can be rated all the same."""
    reply = chat.ask("nothing")
    expect(reply.get_by_text("The bot had nothing to say.")).to_be_visible()
    expect(reply.get_by_role("button", name="Bad reply")).to_be_visible()
    chat.ask("hi")
    contents = [message["content"] for message in chat.bodies(COMPLETIONS)[-1]["messages"]]
    assert contents == ["nothing", "hi"]


def test_a_reply_cut_at_its_longest_length_says_so(open_page: OpenChat, service: RunningService) -> None:
    """The fake tokenizer makes the long reply longer than the service allows."""
    chat = open_page(service.url)
    reply = chat.ask("long")
    expect(reply.get_by_text("The reply was cut off at its longest length.")).to_be_visible()
    assert len(chat.text_of(reply)) < len(LONG_REPLY)


def test_a_new_conversation_starts_empty(chat: ChatPage, engines: FakeEngines) -> None:
    """It stops what streams, shows the starters again and has another id."""
    engines.opened[-1].step_seconds = 0.02
    chat.send("long")
    expect(chat.last_reply).to_have_class(re.compile("is-streaming"))
    chat.button("New conversation").click()
    expect(chat.replies).to_have_count(0)
    expect(chat.field).to_be_focused()
    engines.opened[-1].step_seconds = 0
    chat.button("I forgot my password").click()
    chat.wait_for_reply()
    assert chat.text_of(chat.last_reply) == PASSWORD_TEXT
    first, second = chat.bodies(COMPLETIONS)
    assert first["metadata"] != second["metadata"]
    assert len(second["messages"]) == 1


def test_a_long_conversation_is_sent_in_part(chat: ChatPage) -> None:
    """A request never outgrows what the service takes: the latest messages, beginning with the user's."""
    contents = chat.page.evaluate(
        """async () => {
          const { Conversation } = await import("/web/client/visit.js");
          const conversation = new Conversation();
          for (let turn = 0; turn < 60; turn += 1) {
            conversation.add("user", `question ${turn}`);
            conversation.add("assistant", `reply ${turn}`);
          }
          conversation.add("user", "short");
          const short = conversation.latest();
          conversation.add("assistant", "单".repeat(14000));
          conversation.add("user", "a".repeat(4000));
          conversation.add("assistant", "b".repeat(4000));
          conversation.add("user", "last");
          return [short, conversation.latest()];
        }"""
    )
    short, long = contents
    assert [short[0]["content"], short[-1]["content"], len(short)] == ["question 41", "short", 39]
    assert [message["content"][0] for message in long] == ["a", "b", "l"]


def test_a_reader_further_up_is_left_in_peace(chat: ChatPage, engines: FakeEngines) -> None:
    """New text does not move the page of someone who has scrolled up; a button leads back to the end."""
    for _ in range(6):
        chat.ask("I forgot my password")
    engines.opened[-1].step_seconds = 0.02
    chat.send("long")
    expect(chat.last_reply).to_have_class(re.compile("is-streaming"))
    log = chat.page.get_by_role("log")
    log.evaluate("e => { e.scrollTop = 0 }")
    length = len(chat.text_of(chat.last_reply))
    wait_until(lambda: len(chat.text_of(chat.last_reply)) > length + 40)
    assert log.evaluate("e => e.scrollTop") == 0
    chat.button("Jump to the latest message").click()
    chat.wait_for_reply()
    assert log.evaluate("e => e.scrollHeight - e.scrollTop - e.clientHeight") < 2
