"""A request that came in one piece and has nothing unusual about it, read by hand.

Stricter than h11 and never laxer: what is read here means the same to h11, which reads everything else.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_MAX_HEAD_BYTES = 16_384
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[!-~](?:[\t -~]*[!-~])?)?)[ \t]*")
_LENGTH = re.compile("[0-9]{1,9}")
_UNUSUAL = ("transfer-encoding", "expect", "upgrade", "te", "trailer")
"""Headers by which a request may be something else than its bytes say."""


@dataclass(frozen=True, slots=True)
class SimpleRequest:
    """Its headers by their names in lower case, each of which came once, and its whole body."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        """Whether the connection ends with the response."""
        return self.headers.get("connection") == "close"


def read_simple_request(data: bytes, start_line: bytes) -> SimpleRequest | None:
    """A whole request with this start line (of HTTP/1.1) and nothing behind it; None for any that is not so simple."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    if first != start_line or len(head) > _MAX_HEAD_BYTES:
        return None
    headers = _read_headers(lines)
    if headers is None or "host" not in headers or any(name in headers for name in _UNUSUAL):
        return None
    if headers.get("connection", "keep-alive") not in ("close", "keep-alive"):
        return None
    length = headers.get("content-length", "")
    if not _LENGTH.fullmatch(length) or int(length) != len(body):
        return None
    return SimpleRequest(headers, body)


def _read_headers(lines: list[bytes]) -> dict[str, str] | None:
    """None where a line is no plain header, or a name comes twice."""
    headers: dict[str, str] = {}
    for line in lines:
        found = _HEADER.fullmatch(line)
        if found is None:
            return None
        headers[found[1].decode("ascii").lower()] = found[2].decode("ascii")
    return headers if len(headers) == len(lines) else None
