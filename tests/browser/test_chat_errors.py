"""When it goes wrong: full, failing, refused, cut off, locked. Every failure is brought about for real."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import OpenChat
from tests.browser.scripted_replies import OTHER_REPLY
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service, wait_until

COMPLETIONS = "/v1/chat/completions"
API_KEY = "a key of at least sixteen characters"


@contextmanager
def _full(service: RunningService, engines: FakeEngines) -> Iterator[None]:
    """Takes every place of the service until the block ends."""
    engine = engines.opened[-1]
    engine.hold.set()
    request = {"model": "rejoinder", "messages": [{"role": "user", "content": "hi"}]}
    threads = [threading.Thread(target=lambda: service.http.post(COMPLETIONS, json=request)) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: engine.num_running + engine.num_waiting == 3)
    try:
        yield
    finally:
        engine.hold.clear()
        for thread in threads:
            thread.join()


def test_a_full_service_is_left_alone_for_as_long_as_it_asks(
    chat: ChatPage, service: RunningService, engines: FakeEngines
) -> None:
    """503 with Retry-After: a countdown, no sending by any way until it is over, then trying again works."""
    chat.expects_failed_requests = True
    with _full(service, engines):
        with chat.page.expect_response("**" + COMPLETIONS) as caught:
            chat.send("hi")
        assert caught.value.status == 503
        seconds = int(caught.value.headers["retry-after"])
        assert 1 <= seconds <= 5
        expect(chat.notice).to_contain_text("Many people are writing right now.")
        retry = chat.page.get_by_role("button", name="Try again")
        expect(retry).to_be_disabled()
        expect(retry).to_have_text(f"Try again in {seconds} s")
        chat.send("hello?")
        chat.page.wait_for_timeout(seconds * 1000 - 600)
        assert len(chat.bodies(COMPLETIONS)) == 1
        expect(chat.field).to_have_value("hello?")
    expect(retry).to_have_text("Try again")
    retry.click()
    chat.wait_for_reply()
    assert chat.text_of(chat.last_reply) == OTHER_REPLY
    expect(chat.replies).to_have_count(1)


def test_an_error_inside_a_stream_can_be_tried_again(
    chat: ChatPage, service: RunningService, engines: FakeEngines
) -> None:
    """What was said stays to be read under a notice; after the service has recovered, trying again replaces it."""
    chat.expects_failed_requests = True
    engine = engines.opened[-1]
    engine.fails_at_step = engine.num_steps + 40  # behind the first sentence, which is shown when it is whole
    chat.send("I forgot my password")
    expect(chat.notice).to_contain_text("The reply could not be finished.")
    assert chat.text_of(chat.last_reply)
    expect(chat.last_reply.get_by_role("button", name="Good reply")).to_have_count(0)
    wait_until(lambda: len(engines.opened) > 1 and service.http.get("/readyz").status_code == 200)
    chat.button("Try again").click()
    chat.wait_for_reply()
    assert chat.text_of(chat.last_reply).endswith("It works for one hour.")
    first, second = chat.bodies(COMPLETIONS)
    assert first["messages"] == second["messages"]


def _break_connections(service: RunningService) -> None:
    """Resets every connection, as a service does that is killed or a network that goes away."""
    for connection in list(service.server.server_state.connections):
        connection.loop.call_soon_threadsafe(connection.transport.abort)


def test_a_connection_that_breaks_is_no_whole_reply(
    chat: ChatPage, service: RunningService, engines: FakeEngines
) -> None:
    """In the middle of a stream: what was said stays under a notice, no thumbs; the same request is then sent again."""
    chat.expects_failed_requests = True
    engines.opened[-1].step_seconds = 0.03
    chat.send("long")
    expect(chat.last_reply.locator(".text")).to_contain_text("Sentence")
    _break_connections(service)
    expect(chat.notice).to_contain_text("The connection was lost.")
    expect(chat.last_reply.locator(".text")).to_contain_text("Sentence")
    expect(chat.last_reply.get_by_role("button", name="Good reply")).to_have_count(0)
    engines.opened[-1].step_seconds = 0
    chat.button("Try again").click()
    chat.wait_for_reply()
    expect(chat.button("Good reply")).to_be_visible()
    first, second = chat.request_ids
    assert first == second, "the service cannot know that it is the same request"


def test_a_stream_without_an_end_is_no_whole_reply(chat: ChatPage) -> None:
    """A proxy may end a stream cleanly where the service did not: without [DONE] the reply is not taken as whole."""
    piece = 'data: {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": "Half of"}}]}\n\n'
    headers = {"content-type": "text/event-stream"}
    chat.page.route("**" + COMPLETIONS, lambda route: route.fulfill(status=200, headers=headers, body=piece))
    chat.send("hi")
    expect(chat.notice).to_contain_text("The connection was lost.")
    assert chat.text_of(chat.last_reply) == "Half of"
    expect(chat.last_reply.get_by_role("button", name="Good reply")).to_have_count(0)


def test_a_refused_message_can_be_changed(chat: ChatPage) -> None:
    """Trying a message again that does not fit is useless: it goes back to the field and out of the conversation."""
    chat.expects_failed_requests = True
    too_long = "我" * 4000
    chat.send(too_long)
    expect(chat.notice).to_contain_text("This message is too long. Please shorten it.")
    chat.button("Change the message").click()
    expect(chat.field).to_have_value(too_long)
    expect(chat.field).to_be_focused()
    expect(chat.replies).to_have_count(0)
    chat.ask("hi")
    assert [message["content"] for message in chat.bodies(COMPLETIONS)[-1]["messages"]] == ["hi"]


def test_a_refused_message_does_not_spoil_the_next_one(chat: ChatPage) -> None:
    """Going on without changing it leaves it out of the conversation too."""
    chat.expects_failed_requests = True
    chat.send("我" * 4000)
    expect(chat.button("Change the message")).to_be_visible()
    chat.ask("hi")
    assert [message["content"] for message in chat.bodies(COMPLETIONS)[-1]["messages"]] == ["hi"]
    expect(chat.page.get_by_role("button", name="Change the message")).to_have_count(0)


def test_a_locked_service_asks_for_its_key(tmp_path: Path, engines: FakeEngines, open_page: OpenChat) -> None:
    """401 opens a field for the key; with the right one the same question is asked again, and thumbs work too."""
    with run_fake_service(tmp_path, engines, api_key=API_KEY) as service:
        chat = open_page(service.url)
        chat.expects_failed_requests = True
        chat.send("hi")
        for key in ("wrong", API_KEY):
            chat.page.get_by_label("API key").fill(key)
            chat.button("Use key").click()
            chat.wait_for_reply()
        assert chat.text_of(chat.last_reply) == OTHER_REPLY
        chat.button("Good reply").click()
        expect(chat.live).to_have_text("Thank you, stored.")


def test_an_answer_that_is_not_the_services_is_still_an_error(chat: ChatPage) -> None:
    """A proxy's HTML page of status 502 becomes a notice with a retry, and nothing of it is shown."""
    chat.expects_failed_requests = True
    chat.page.route("**" + COMPLETIONS, lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    chat.send("hi")
    expect(chat.notice).to_contain_text("Something went wrong.")
    expect(chat.page.get_by_text("Bad gateway")).to_have_count(0)
    chat.page.unroute("**" + COMPLETIONS)
    chat.button("Try again").click()
    chat.wait_for_reply()
    assert chat.text_of(chat.last_reply) == OTHER_REPLY


def test_the_page_has_what_the_service_answers_to_a_bad_request(service: RunningService) -> None:
    """The words of refusal that the page translates are keyed by codes that the service really sends."""
    request = {"model": "rejoinder", "messages": [{"role": "user", "content": "我" * 4000}]}
    refusal = service.http.post(COMPLETIONS, json=request)
    assert refusal.status_code == 400
    code = refusal.json()["error"]["code"]
    assert f"  {code}: " in service.http.get("/web/strings.js").text
