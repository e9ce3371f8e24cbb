"""The grammar of masked text: typed placeholders such as `<ORDER_ID>` or `<SUPPORT_HOURS>`.

Masked text is plain `str` in which every match of `PLACEHOLDER_PATTERN` is a placeholder and nothing else can be one:
look-alikes that a person typed are rewritten by `escape_lookalikes`. Which text becomes which placeholder is decided in
`entities` (the customer's own data) and `facts` (the shop's); this module knows only names.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

ENTITY_TYPES = (
    "EMAIL",
    "PHONE",
    "CARD",
    "IBAN",
    "ORDER_ID",
    "TRACKING_ID",
    "AMOUNT",
    "DATE",
    "URL",
    "POSTCODE",
    "NAME",
)
"""What is taken out of a customer's text. The order is part of the token table: append only."""

MAX_ENTITIES_PER_TYPE = 6
"""Distinct values of one type that a conversation can tell apart; further ones become `REDACTED`."""

FACT_NAMES = (
    "BRAND",
    "WEBSITE",
    "SUPPORT_EMAIL",
    "SUPPORT_PHONE",
    "SUPPORT_HOURS",
    "STORE_HOURS",
    "STORE_ADDRESS",
    "HELP_PAGE",
    "ACCOUNT_PAGE",
    "PASSWORD_PAGE",
    "ORDERS_PAGE",
    "TRACKING_PAGE",
    "RETURNS_PAGE",
    "BILLING_PAGE",
    "PRIVACY_PAGE",
    "SIZE_GUIDE",
    "PAYMENT_METHODS",
    "DELIVERY_TIME",
    "EXPRESS_TIME",
    "SHIPPING_FEE",
    "FREE_SHIPPING_FROM",
    "RETURN_WINDOW",
    "REFUND_TIME",
    "WARRANTY_PERIOD",
    "RESPONSE_TIME",
    "GIFT_CARD_VALIDITY",
    "LOYALTY_PROGRAM",
    "CRISIS_LINE",
)
"""What differs from shop to shop. The order is part of the token table: append only."""

ARTICLE = "<ARTICLE>"
"""Stands for a passage of the shop's help articles and its link; the model may write it where its prompt offers one."""

REDACTED = "<REDACTED>"
"""Stands for a value that was removed and cannot be put back; the model may read it, never write it."""


def entity_placeholder(entity_type: str, number: int) -> str:
    """The placeholder of the `number`-th (from 1) distinct value of a type: `<EMAIL>`, `<EMAIL_2>`, …"""
    return f"<{entity_type}>" if number == 1 else f"<{entity_type}_{number}>"


def fact_placeholder(name: str) -> str:
    """The placeholder of a fact: `<SUPPORT_HOURS>`."""
    return f"<{name}>"


ENTITY_PLACEHOLDERS = tuple(
    entity_placeholder(entity_type, number)
    for entity_type in ENTITY_TYPES
    for number in range(1, MAX_ENTITIES_PER_TYPE + 1)
)
FACT_PLACEHOLDERS = tuple(fact_placeholder(name) for name in FACT_NAMES)
ALL_PLACEHOLDERS = frozenset((*ENTITY_PLACEHOLDERS, *FACT_PLACEHOLDERS, ARTICLE, REDACTED))
MAX_PLACEHOLDER_LENGTH = max(len(placeholder) for placeholder in ALL_PLACEHOLDERS)

_SHAPE = re.compile(r"<[A-Z]+(?:_[A-Z]+)*(?:_\d)?>")
LIKE_A_PLACEHOLDER = re.compile(r"<[A-Z][A-Z_0-9]*>")
"""Whatever an author may have meant as one, so that a wrong name is told."""
PLACEHOLDER_PATTERN = re.compile("|".join(re.escape(p) for p in sorted(ALL_PLACEHOLDERS, key=len, reverse=True)))


class Segment(NamedTuple):
    """A piece of masked text: literal text, or one placeholder."""

    text: str
    is_placeholder: bool


def split_masked(text: str) -> Iterator[Segment]:
    """Cuts masked text into literal pieces and placeholders, in order, without empty pieces."""
    end = 0
    for match in PLACEHOLDER_PATTERN.finditer(text):
        if match.start() > end:
            yield Segment(text[end : match.start()], False)
        yield Segment(match.group(), True)
        end = match.end()
    if end < len(text):
        yield Segment(text[end:], False)


def fold_case(text: str) -> str:
    """Masked text in lower case; placeholders stay as they are."""
    return "".join(part.text if part.is_placeholder else part.text.lower() for part in split_masked(text))


def escape_lookalikes(text: str) -> str:
    """Rewrites everything shaped like a placeholder to ‹…›, so that nobody can type one.

    The shape, not the list, decides: a name that a later version adds is already harmless in text stored today.
    """
    return _SHAPE.sub(lambda match: f"‹{match.group()[1:-1]}›", text)


def entity_type_of(placeholder: str) -> str | None:
    """The entity type behind `<ORDER_ID_2>`, or None for facts, `ARTICLE` and `REDACTED`."""
    name = placeholder[1:-1]
    stem, _, number = name.rpartition("_")
    candidate = stem if number.isdigit() else name
    return candidate if candidate in ENTITY_TYPES else None
