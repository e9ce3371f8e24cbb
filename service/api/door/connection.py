"""h11's side of a connection, with the head of a response made in one pass.

h11 sets up to three headers on each response, and for each copies and checks all the others again: on a stream's
response that is a fiftieth of what the whole request takes. What is written is the same, to the byte.
"""

import h11

_NO_BODY = (204, 304)
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_HeaderItem = tuple[bytes, bytes, bytes]
"""As written, in lower case, value."""


class LeanConnection(h11.Connection):
    """`h11.Connection` for a server."""

    def _clean_up_response_headers_for_sending(self, response: h11.Response) -> h11.Response:
        """Frames a body of unknown length and says where the connection ends (RFC 9112, 6 and 9.6)."""
        items: list[_HeaderItem] = response.headers._full_items  # checked when the response was made
        dropped: frozenset[bytes] = frozenset()
        added: list[_HeaderItem] = []
        ends = not self._cstate.keep_alive
        if self._has_unknown_length(response, items):
            dropped = _FRAMING
            if self.their_http_version is not None and self.their_http_version >= b"1.1":
                added.append((b"Transfer-Encoding", b"transfer-encoding", b"chunked"))
            elif self._request_method != b"HEAD":
                ends = True
        if ends:
            dropped |= {b"connection"}
            added += [(b"Connection", b"connection", option) for option in _closing(items)]
        headers = type(response.headers)([*(item for item in items if item[1] not in dropped), *added])
        return h11.Response(
            headers=headers,
            status_code=response.status_code,
            http_version=response.http_version,
            reason=response.reason,
        )

    def _has_unknown_length(self, response: h11.Response, items: list[_HeaderItem]) -> bool:
        """Whether only the end of the body, or of the same one asked for by GET, tells how long it is."""
        status = response.status_code
        if status in _NO_BODY or (self._request_method == b"CONNECT" and 200 <= status < 300):
            return False
        names = {name for _, name, _ in items}
        return b"transfer-encoding" in names or b"content-length" not in names


def _closing(items: list[_HeaderItem]) -> list[bytes]:
    """The options of a `connection` header that closes."""
    given = [value for _, name, value in items if name == b"connection"]
    options = {option.strip() for value in given for option in value.lower().split(b",")}
    return sorted((options | {b"close"}) - {b"", b"keep-alive"})
