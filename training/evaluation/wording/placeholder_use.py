"""Right use of placeholders: known ones, given ones, and no number of the model's own. Every reply must pass.

Serving bans most of this token by token; what is measured is that nothing slips through in letters.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from model_store.contract.placeholders import (
    ENTITY_PLACEHOLDERS,
    ENTITY_TYPES,
    FACT_NAMES,
    REDACTED,
    split_masked,
)
from training.evaluation.figures import Figure, grouped, share
from training.evaluation.judge import has_own_digit
from training.evaluation.wording.said import Said

UNKNOWN, NOT_GIVEN, OWN_NUMBER = "unknown", "not_given", "own_number"
KINDS = (UNKNOWN, NOT_GIVEN, OWN_NUMBER)
_NUM_EXAMPLES = 5
_NAMES = "|".join(name for name in (*ENTITY_TYPES, *FACT_NAMES) if "_" in name)
_RAW = re.compile(rf"[<>‹›{{}}]|\[[A-Z][A-Z_]+\]|\b(?:{_NAMES})\b")
_ENGLISH_NUMBER = (
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fourteen|fifteen|twenty|thirty|forty|fifty|sixty|seventy"
    "|eighty|ninety|hundred|thousand"
)
_ENGLISH_UNIT = "hours?|days?|weeks?|months?|years?|minutes?|euros?|pounds?|dollars?|per ?cent|percent"
_CHINESE_NUMBER = "[一二两三四五六七八九十百千]"
_CHINESE_UNIT = "工作日|小时|天|周|星期|月|年|元|块|折|分钟"
_NUMBER_IN_WORDS = re.compile(
    rf"\b(?:{_ENGLISH_NUMBER})(?:[ -]\w+){{0,2}}[ -](?:{_ENGLISH_UNIT})\b"
    rf"|{_CHINESE_NUMBER}{{1,4}}(?:[到至-]{_CHINESE_NUMBER}{{1,4}})?个?(?:{_CHINESE_UNIT})",
    re.IGNORECASE,
)


class Misuse(BaseModel):
    """A reply that is not right, and in which ways."""

    model_config = ConfigDict(frozen=True)

    text: str
    kinds: tuple[str, ...]


class PlaceholderFigures(BaseModel):
    """One language's replies."""

    model_config = ConfigDict(frozen=True)

    num_replies: int
    right: Figure
    """Must be 1."""
    num_misuses: dict[str, int]
    examples: tuple[Misuse, ...]


def misuses(said: Said) -> tuple[str, ...]:
    """What is wrong with a reply, of `KINDS`."""
    pieces = list(split_masked(said.text))
    placeholders = {piece.text for piece in pieces if piece.is_placeholder}
    own = "\n".join(piece.text for piece in pieces if not piece.is_placeholder)
    checks = {
        UNKNOWN: REDACTED in placeholders or _RAW.search(own) is not None,
        NOT_GIVEN: bool((placeholders & frozenset(ENTITY_PLACEHOLDERS)) - said.named),
        OWN_NUMBER: has_own_digit(said.text) or _NUMBER_IN_WORDS.search(own) is not None,
    }
    return tuple(kind for kind in KINDS if checks[kind])


def placeholder_figures(replies: Sequence[Said]) -> dict[str, PlaceholderFigures]:
    """Figures by language."""
    return {language: _figures(items) for language, items in grouped(replies, lambda said: said.language).items()}


def placeholder_table(figures: Mapping[str, PlaceholderFigures]) -> str:
    """The figures for people."""
    return "\n".join(
        f"{language}: placeholders and numbers right (must be 1) {each.right} of {each.num_replies} replies"
        + "".join(f", {kind.replace('_', ' ')} {count}" for kind, count in each.num_misuses.items() if count)
        for language, each in figures.items()
    )


def _figures(replies: Sequence[Said]) -> PlaceholderFigures:
    found = [misuses(said) for said in replies]
    counts = Counter(kind for kinds in found for kind in kinds)
    wrong = [Misuse(text=said.text, kinds=kinds) for said, kinds in zip(replies, found, strict=True) if kinds]
    return PlaceholderFigures(
        num_replies=len(replies),
        right=share([not kinds for kinds in found]),
        num_misuses={kind: counts[kind] for kind in KINDS},
        examples=tuple(wrong[:_NUM_EXAMPLES]),
    )
