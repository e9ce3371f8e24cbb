"""Web addresses that an operator may have a program call: plain ones, and none at which clouds tell machines secrets.

Decides by the text alone: no name is looked up.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

_METADATA_HOSTS = frozenset({"metadata.google.internal", "metadata.goog", "100.100.100.200", "fd00:ec2::254"})
"""Those that are not link-local; see each cloud's documentation of its metadata server."""


def is_web_address(url: str) -> bool:
    """Whether this is a plain web address, and none of those at which clouds tell machines their secrets."""
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    is_plain = not (parts.username or parts.password or parts.fragment) and url.isascii() and url.isprintable()
    host = parts.hostname or ""
    return parts.scheme in ("http", "https") and has_port and is_plain and " " not in url and _may_be_told(host)


def is_web_server(url: str) -> bool:
    """Whether this is a web address of a server alone, without a path or a query."""
    return is_web_address(url) and urlsplit(url).path in ("", "/") and "?" not in url and "#" not in url


def _may_be_told(host: str) -> bool:
    if not host or host.rstrip(".") in _METADATA_HOSTS:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))  # 2852039166 and 0xa9fea9fe are addresses, too
        except OSError:
            return True
    plain = getattr(address, "ipv4_mapped", None) or address
    return not (plain.is_link_local or plain.is_multicast or plain.is_unspecified or str(plain) in _METADATA_HOSTS)
