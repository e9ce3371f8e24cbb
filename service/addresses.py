"""Addresses that an operator may set: which lead to this machine only, and which a service may be told to call.

Decides by the text alone: no name is looked up.
"""

import ipaddress
import re
import socket
from urllib.parse import urlsplit

_ORIGIN = re.compile(r"https?://([a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?")


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can be reached by this name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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


def is_safe_transport(url: str) -> bool:
    """Whether nobody on the way can read along: TLS, or never off this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def is_origin(text: str) -> bool:
    """Whether this is scheme, host and port as browsers write them."""
    return _ORIGIN.fullmatch(text) is not None


def _may_be_told(host: str) -> bool:
    if not host:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))  # 2852039166 and 0xa9fea9fe are addresses, too
        except OSError:
            return True
    plain = getattr(address, "ipv4_mapped", None) or address
    return not (plain.is_link_local or plain.is_multicast or plain.is_unspecified)
