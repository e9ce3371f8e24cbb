"""The stream of a reply as it goes to the server: which bytes go together, and how it ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.types import Message

from service.api.completions import encode_stream
from service.api.event_stream import DONE, EventStreamResponse
from service.api.schemas import ChatCompletionRequest
from service.chat.reply import Reply
from service.chat.reply_events import ReplyDelta, ReplyFinish, ReplyHead
from service.errors import CompletionFailedError, ServiceError

HELLO = ReplyDelta(0, "Hello")
BODY = {"model": "rejoinder", "messages": [{"role": "user", "content": "Hi"}], "stream": True}


class SaidReply(Reply):
    """A reply whose events are known before; `error` comes behind them."""

    def __init__(
        self, *said: ReplyDelta | ReplyFinish, num_choices: int = 1, error: ServiceError | None = None
    ) -> None:
        ids = tuple(f"chatcmpl-{index}" for index in range(num_choices))
        at = datetime(2026, 11, 30, tzinfo=UTC)
        super().__init__(
            ReplyHead(
                completion_ids=ids, conversation_id="conv-1", created_at=at, model_name="rejoinder", model_digest="d"
            ),
            num_prompt_tokens=3,
        )
        self.said = said
        self.error = error

    async def events(self) -> AsyncIterator[ReplyDelta | ReplyFinish]:
        """See `Reply.events`."""
        for event in self.said:
            yield event
        if self.error is not None:
            raise self.error


def ends(index: int) -> ReplyFinish:
    """The end of a choice."""
    return ReplyFinish(index, f"chatcmpl-{index}", "stop", f"token-{index}")


def bodies_of(reply: Reply, **options: Any) -> tuple[list[bytes], list[bool]]:
    """The bytes of each message that the response sends, and whether more were announced with it."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return await asyncio.Future()

    events = encode_stream(reply, ChatCompletionRequest.model_validate({**BODY, **options}))
    response = EventStreamResponse(events, on_close=reply.cancel, heartbeat_seconds=60, headers={})
    asyncio.run(response({"type": "http"}, receive, send))
    start, *rest = sent
    assert start["type"] == "http.response.start"
    return [message["body"] for message in rest], [message["more_body"] for message in rest]


def pieces_in(body: bytes) -> list[dict[str, Any]]:
    """The objects of the data events in some bytes, [DONE] aside."""
    return [json.loads(event.partition(b"data: ")[2]) for event in body.removesuffix(DONE).split(b"\n\n") if event]


@pytest.mark.parametrize("has_usage", [False, True])
def test_the_end_of_a_stream_is_one_message(has_usage: bool) -> None:
    """Finish, usage, [DONE] and the end of the body go together; nothing else is held back."""
    bodies, has_more = bodies_of(SaidReply(HELLO, ends(0)), stream_options={"include_usage": has_usage})
    assert has_more == [True, True, False]
    assert pieces_in(bodies[1])[0]["choices"][0]["delta"] == {"content": "Hello"}
    finish, *usage = pieces_in(bodies[2])
    assert finish["choices"][0]["finish_reason"] == "stop" and finish["feedback_token"] == "token-0"
    assert [piece["usage"]["prompt_tokens"] for piece in usage] == [3] * has_usage
    assert bodies[2].endswith(DONE) and bodies[2].count(DONE) == 1


def test_a_choice_that_ends_before_another_does_is_told_at_once() -> None:
    """Only the end of the last choice waits for the end of the stream; choice 0's token stands there."""
    bodies, has_more = bodies_of(SaidReply(ends(0), ReplyDelta(1, "Hello"), ends(1), num_choices=2), n=2)
    assert has_more == [True, True, True, True, False]
    (first,) = pieces_in(bodies[2])
    assert first["choices"][0]["index"] == 0 and first["choices"][0]["finish_reason"] == "stop"
    assert "feedback_token" not in first
    assert pieces_in(bodies[4])[0]["choices"][0]["index"] == 1
    assert pieces_in(bodies[4])[0]["feedback_token"] == "token-0"


@pytest.mark.parametrize("said", [(HELLO,), (HELLO, ends(0))])
def test_an_error_ends_a_stream_without_done(said: tuple[ReplyDelta | ReplyFinish, ...]) -> None:
    """What came before it is told first, and the body ends behind the `error` event."""
    bodies, has_more = bodies_of(SaidReply(*said, error=CompletionFailedError()))
    text = b"".join(bodies)
    assert has_more == [*[True] * (len(bodies) - 1), False]
    assert [*pieces_in(text)][-1]["error"]["code"] == "completion_failed"
    assert text.count(b"event: error") == 1 and DONE not in text
    assert (b"token-0" in text) == (len(said) == 2)


def test_words_like_done_in_a_reply_do_not_end_it() -> None:
    """A reply may say what the end of a stream looks like."""
    said = ReplyDelta(0, DONE.decode())
    bodies, has_more = bodies_of(SaidReply(said, ends(0)))
    assert has_more == [True, True, False]
    assert pieces_in(bodies[1])[0]["choices"][0]["delta"]["content"] == DONE.decode()
