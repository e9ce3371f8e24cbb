"""Requests that are read by hand: whole and plain ones, as h11 reads them; nothing else."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.door.simple_request import read_simple_request

START = b"POST /v1/chat/completions HTTP/1.1"
PLAIN = START + b"\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def read_by_h11(data: bytes) -> tuple[dict[str, str], bytes, bool]:
    """Headers, body, and whether that was all. Raises h11.RemoteProtocolError."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    body, event = b"", connection.next_event()
    while isinstance(event, h11.Data):
        body += bytes(event.data)
        event = connection.next_event()
    is_all = isinstance(event, h11.EndOfMessage) and connection.trailing_data[0] == b""
    return {name.decode(): value.decode() for name, value in request.headers}, body, is_all


def test_a_plain_request_is_read() -> None:
    """Names in lower case, values without blanks around them."""
    request = read_simple_request(PLAIN.replace(b"shop\r", b"  shop \t\r"), START)
    assert request is not None
    assert request.headers == {"host": "shop", "content-type": "application/json", "content-length": "2"}
    assert request.body == b"{}"
    assert not request.closes


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"{}", b"{"),
        (b"{}", b"{}{"),
        (b"{}", b"{}POST / HTTP/1.1\r\n\r\n"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"completions HTTP", b"completions?x=1 HTTP"),
        (b"completions HTTP", b"completions  HTTP"),
        (b"POST", b"post"),
        (b"Host: shop\r\n", b""),
        (b"Host: shop\r\n", b"Host: shop\r\nhost: other\r\n"),
        (b"Host: shop\r\n", b"Host : shop\r\n"),
        (b"Host: shop\r\n", b" Host: shop\r\n"),
        (b"Host: shop\r\n", b"Host: shop\r\n folded\r\n"),
        (b"Host: shop\r\n", b"Host: sh\x00op\r\n"),
        (b"Host: shop\r\n", b"Host: sh\x7fop\r\n"),
        (b"Host: shop\r\n", b"Host: shop\n"),
        (b"Host: shop\r\n", b"Host: shop\r\nX-Name: \xc3\xa9\r\n"),
        (b"Host: shop\r\n", b"Host: shop\r\nno colon\r\n"),
        (b"Host: shop\r\n", b"Host: shop\r\nExpect: 100-continue\r\n"),
        (b"Host: shop\r\n", b"Host: shop\r\nUpgrade: h2c\r\n"),
        (b"Host: shop\r\n", b"Host: shop\r\nTransfer-Encoding: chunked\r\n"),
        (b"Host: shop\r\n", b"Host: shop\r\nConnection: Close\r\n"),
        (b"Host: shop\r\n", b"Host: shop\r\nConnection: close, te\r\n"),
        (b"Host: shop\r\n", b"Host: shop\r\nX-Long: " + b"x" * 20_000 + b"\r\n"),
        (b"Length: 2", b"Length: +2"),
        (b"Length: 2", b"Length: 2, 2"),
        (b"Length: 2", b"Length: 0x2"),
        (b"Length: 2", b"Length: 3"),
        (b"Content-Length: 2\r\n", b""),
    ],
)
def test_whatever_is_unusual_is_left_to_h11(old: bytes, new: bytes) -> None:
    """Half of these h11 takes, the others it refuses by its own rules."""
    assert old in PLAIN
    assert read_simple_request(PLAIN.replace(old, new), START) is None


@given(
    lines=st.lists(
        st.sampled_from(
            [b"x-a: 1", b"x-b:", b"x-c: a b", b"x-d:\t!~ ", b"connection: close", b"connection: keep-alive"]
        )
        | st.binary(max_size=12).map(lambda value: b"x-e: " + value),
        max_size=4,
    ),
    body=st.binary(max_size=40),
)
def test_what_is_read_means_the_same_to_h11(lines: list[bytes], body: bytes) -> None:
    """Headers and body; and behind it nothing is left over."""
    head = [START, b"host: shop", b"content-length: %d" % len(body), *lines]
    data = b"\r\n".join(head) + b"\r\n\r\n" + body
    request = read_simple_request(data, START)
    if request is not None:
        assert (dict(request.headers), request.body, True) == read_by_h11(data)
