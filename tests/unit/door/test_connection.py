"""The service's side of a connection writes what h11's own would, to the byte."""

from typing import Any

import h11
from hypothesis import example, given
from hypothesis import strategies as st

from service.api.door.connection import LeanConnection

NAMES = (
    "Content-Length",
    "transfer-encoding",
    "Connection",
    "connection",
    "X-Request-Id",
    "date",
    "host",
    "set-cookie",
)
VALUES = st.one_of(
    st.sampled_from(
        ["close", "keep-alive", "Close, X-Other", "upgrade , Keep-Alive,", "", ",", "chunked", "0", "5", "5,5"]
    ),
    st.text(st.characters(codec="latin-1"), max_size=8),
)
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=6)
REQUESTS = st.one_of(
    st.none(),  # what came was no request
    st.tuples(
        st.sampled_from(["GET", "POST", "HEAD", "CONNECT"]),
        st.sampled_from(["1.0", "1.1"]),
        st.sampled_from(["", "connection: close\r\n", "connection: keep-alive\r\n", "connection: x, Close\r\n"]),
    ),
)
STATUSES = st.sampled_from([200, 201, 204, 304, 404, 500, 503])
BODIES = st.lists(st.sampled_from([b"", b"hello", b"h"]), max_size=3)


def said(
    connection: h11.Connection, asked: tuple[str, str, str] | None, response: h11.Response, body: list[bytes]
) -> Any:
    """All that becomes of a response: the bytes, or the error, and what state the connection is in."""
    outcome: list[object] = []
    if asked is None:
        connection.receive_data(b"no request\r\n\r\n")
    else:
        method, version, option = asked
        connection.receive_data(f"{method} /x HTTP/{version}\r\nhost: x\r\n{option}\r\n".encode())
    try:
        connection.next_event()
    except h11.RemoteProtocolError as error:
        outcome.append(str(error))
    for event in (response, *(h11.Data(data=piece) for piece in body), h11.EndOfMessage()):
        try:
            outcome.append(connection.send(event))
        except h11.LocalProtocolError as error:
            outcome.append(str(error))
        outcome.append(dict(connection.states))
    return outcome


@example(("POST", "1.1", ""), 200, [("content-type", "text/event-stream")], [b"hello"])
@example(("POST", "1.1", "connection: close\r\n"), 200, [("Connection", "close")], [b"hello"])
@example(("GET", "1.0", ""), 200, [("connection", "upgrade , Keep-Alive,")], [b"hello"])
@example(("HEAD", "1.0", "connection: keep-alive\r\n"), 200, [], [])
@example(("GET", "1.1", ""), 200, [("Content-Length", "5"), ("transfer-encoding", "chunked")], [b"hello"])
@example(("CONNECT", "1.1", ""), 200, [("connection", ",")], [])
@example(None, 404, [("Connection", "close")], [b"hello"])
@given(asked=REQUESTS, status=STATUSES, headers=HEADERS, body=BODIES)
def test_a_response_is_written_as_h11_writes_it(
    asked: tuple[str, str, str] | None, status: int, headers: list[tuple[str, str]], body: list[bytes]
) -> None:
    """HTTP/1.0 and 1.1, HEAD, kept and closed, with a length and without; and what h11 refuses is refused."""
    items = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    try:
        response = h11.Response(status_code=status, headers=items, reason=b"OK")
    except h11.LocalProtocolError:
        return  # refused before any connection hears of it
    assert said(LeanConnection(h11.SERVER), asked, response, body) == said(
        h11.Connection(h11.SERVER), asked, response, body
    )
