"""What is left of a message when what its author says that he does not mean is taken out: "not the voucher, the card".

Who corrects the bot names what it took him for, and names it first; conditions of replies and an intent model hear
words, and would hear that. The patterns are data, in `corrections.yaml`.
"""

import re
from functools import cache
from pathlib import Path

import yaml

_PATTERNS_FILE = Path(__file__).with_name("corrections.yaml")
_MAX_CHARS = 300
"""Of a message that is looked at: who says more than this tells a story."""


def what_is_meant(text: str) -> str:
    """A masked later message without what it denies; the message itself where it denies nothing, or nothing else."""
    if len(text) > _MAX_CHARS:
        return text
    meant = _without(text, "denied")
    if meant != text:
        meant = _without(meant, "announces")
    return meant.strip() if any(map(str.isalnum, meant)) else text


def _without(text: str, section: str) -> str:
    for pattern in _patterns()[section]:
        text = pattern.sub(lambda match: match.groupdict().get("kept") or "", text, count=1)
    return text


@cache
def _patterns() -> dict[str, list[re.Pattern[str]]]:
    entries: dict[str, dict[str, list[str]]] = yaml.safe_load(_PATTERNS_FILE.read_text(encoding="utf-8"))
    return {
        section: [re.compile(pattern, re.IGNORECASE) for patterns in by_language.values() for pattern in patterns]
        for section, by_language in entries.items()
    }
