"""Addresses that an operator may set: which lead to this machine only, and which a service may be told to call.

Decides by the text alone: no name is looked up.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from model_store.web_address import is_web_address as is_web_address  # a part of this module's interface

_ORIGIN = re.compile(r"https?://([a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?")


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can be reached by this name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_safe_transport(url: str) -> bool:
    """Whether nobody on the way can read along: TLS, or never off this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def is_origin(text: str) -> bool:
    """Whether this is scheme, host and port as browsers write them."""
    return _ORIGIN.fullmatch(text) is not None
