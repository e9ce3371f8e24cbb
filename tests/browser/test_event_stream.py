"""The parser of server-sent events, against the HTML standard, in the browser that uses it."""

from typing import Any

import pytest

from tests.browser.chat_page import ChatPage

_PARSE = """async (pieces) => {
  const { EventParser } = await import("/web/client/event-stream.js");
  const parser = new EventParser();
  return pieces.flatMap((piece) => parser.feed(piece));
}"""
_READ = """async (pieces) => {
  const { readEvents } = await import("/web/client/event-stream.js");
  const body = new ReadableStream({
    start(controller) {
      for (const bytes of pieces) controller.enqueue(new Uint8Array(bytes));
      controller.close();
    },
  });
  const events = [];
  for await (const event of readEvents(body)) events.push(event.data);
  return events;
}"""

CASES: list[tuple[str, list[dict[str, str]]]] = [
    ("data: a\n\n", [{"type": "message", "data": "a"}]),
    ("data:a\ndata: b\ndata\n\n", [{"type": "message", "data": "a\nb\n"}]),
    ("event: error\ndata: {}\n\ndata: x\n\n", [{"type": "error", "data": "{}"}, {"type": "message", "data": "x"}]),
    (": heartbeat\n\n: heartbeat\n\ndata: a\n\n", [{"type": "message", "data": "a"}]),
    ("data: a\r\n\r\ndata: b\r\rdata: c\n\n", [{"type": "message", "data": letter} for letter in "abc"]),
    ("event: error\n\ndata: a\n\n", [{"type": "message", "data": "a"}]),
    ("\ufeffdata: a\n\n", [{"type": "message", "data": "a"}]),
    ("id: 1\nretry: 5\nunknown: x\ndata:  a: b\n\n", [{"type": "message", "data": " a: b"}]),
    ("data: cut off", []),
    ("data: cut off\n", []),
]


@pytest.mark.parametrize(("stream", "events"), CASES)
def test_events_are_the_same_however_the_stream_is_cut(
    module_chat: ChatPage, stream: str, events: list[dict[str, str]]
) -> None:
    """In one piece, in single characters, and in every two pieces."""
    cuts: list[list[str]] = [[stream], list(stream), *([stream[:at], stream[at:]] for at in range(len(stream)))]
    results: list[Any] = [module_chat.page.evaluate(_PARSE, pieces) for pieces in cuts]
    assert all(result == events for result in results)


def test_a_character_cut_in_two_arrives_whole(module_chat: ChatPage) -> None:
    """UTF-8 is decoded across pieces."""
    stream = "data: 密码\n\n".encode()
    for at in range(len(stream)):
        assert module_chat.page.evaluate(_READ, [list(stream[:at]), list(stream[at:])]) == ["密码"]
