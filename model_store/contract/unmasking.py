"""Putting values back: from the masked text that the model writes to the text that a person reads.

Works on a stream: whatever could still become a placeholder is held back until it is decided, so a placeholder that is
split over deltas never shows. Where a value is unknown a phrase stands in, never an empty or raw placeholder.
"""

import re
from collections.abc import Callable

from model_store.contract.placeholders import MAX_PLACEHOLDER_LENGTH, PLACEHOLDER_PATTERN

_UNDECIDED_TAIL = re.compile(r"<[A-Z_0-9]*$")

Resolver = Callable[[str], str]
"""Gives the text for a placeholder; must answer for every one in `ALL_PLACEHOLDERS`."""


def unmask(masked_text: str, resolve: Resolver) -> str:
    """Masked text with every placeholder replaced by its value."""
    return PLACEHOLDER_PATTERN.sub(lambda match: resolve(match.group()), masked_text)


class StreamUnmasker:
    """`unmask` for a text that arrives in pieces; the pieces' concatenation is the same."""

    def __init__(self, resolve: Resolver) -> None:
        self._resolve = resolve
        self._held = ""

    def feed(self, masked_piece: str) -> str:
        """The text that can be shown now."""
        text = self._held + masked_piece
        if "<" not in text:  # most pieces
            return text
        tail = _UNDECIDED_TAIL.search(text)
        if tail and len(tail.group()) <= MAX_PLACEHOLDER_LENGTH:
            self._held = tail.group()
            text = text[: tail.start()]
        else:
            self._held = ""
        return unmask(text, self._resolve)

    def flush(self) -> str:
        """What was held back when the text ended; it did not become a placeholder."""
        held, self._held = self._held, ""
        return held
