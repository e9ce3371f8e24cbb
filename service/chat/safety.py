"""Safety rules: messages that get a fixed reply before any model runs.

The rules are data, in `safety_rules.yaml` beside this file, whose top says how to write one; they have no way to reach
the model or the network.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from stdnum import luhn

from service.errors import InvalidDataFileError

DEFAULT_RULES_FILE = Path(__file__).with_name("safety_rules.yaml")
_MAX_CHARS = 4000
"""Of a message; of a longer one the first and the last half of this are read, for the rules run on the event loop."""
_CLAUSE_END = re.compile(r"[,;!?。、\n]|\.(?=\s|$)")
_WORD_NAME = re.compile(r"(?<!P)<(\w+)>")
_APOSTROPHES = str.maketrans("’‘", "''")


@dataclass(frozen=True, slots=True)
class SafetyRule:
    """A name, the patterns that set it off, what excuses a match in its clause, and a masked reply by language."""

    name: str
    patterns: tuple[re.Pattern[str], ...]
    excuse: re.Pattern[str] | None
    replies: Mapping[str, str]

    def is_set_off_by(self, text: str) -> bool:
        """Whether some match has no excuse; a card number counts only with a card's check digit."""
        return any(
            _has_card_checksum(match) and not self._is_excused(text, match)
            for pattern in self.patterns
            for match in pattern.finditer(text)
        )

    def _is_excused(self, text: str, match: re.Match[str]) -> bool:
        return self.excuse is not None and self.excuse.search(_clause_around(text, match)) is not None


class SafetyRules:
    """The rules in order; the first that is set off answers. Immutable."""

    def __init__(self, rules: tuple[SafetyRule, ...]) -> None:
        self._rules = rules

    @classmethod
    def load(cls, path: Path = DEFAULT_RULES_FILE) -> "SafetyRules":
        """Reads rules from YAML. Raises InvalidDataFileError."""
        try:
            return cls(tuple(_parse_rule(entry) for entry in yaml.safe_load(path.read_text(encoding="utf-8"))))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, re.error, KeyError, TypeError) as error:
            raise InvalidDataFileError(path=path, problem=f"{type(error).__name__}: {error}") from error

    def match(self, text: str) -> SafetyRule | None:
        """The rule that this text sets off, if any; full-width letters, digits and signs count as plain ones."""
        ends = text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS // 2]}\n{text[-_MAX_CHARS // 2 :]}"
        plain = unicodedata.normalize("NFKC", ends).translate(_APOSTROPHES)
        return next((rule for rule in self._rules if rule.is_set_off_by(plain)), None)


def _clause_around(text: str, match: re.Match[str]) -> str:
    """The match and what stands before and after it up to the next comma or stop."""
    after = _CLAUSE_END.search(text, match.end())
    before = _CLAUSE_END.split(text[: match.start()])[-1]
    return before + text[match.start() : after.start() if after else len(text)]


def _has_card_checksum(match: re.Match[str]) -> bool:
    """True for a match without a group `card`."""
    card = match.groupdict().get("card")
    return card is None or bool(luhn.is_valid(re.sub(r"[ -]", "", card)))


def _parse_rule(entry: Mapping[str, object]) -> SafetyRule:
    patterns, excuses, replies = entry["patterns"], entry.get("excuses") or [], entry["replies"]
    words = entry.get("words") or {}
    if not isinstance(patterns, list) or not isinstance(excuses, list):
        raise TypeError("patterns and excuses are lists")
    if not isinstance(words, dict) or not isinstance(replies, dict):
        raise TypeError("words is a mapping, replies a mapping by language")
    expressions = _expand_words(words)
    return SafetyRule(
        str(entry["rule"]),
        tuple(_compile([pattern], expressions) for pattern in patterns),
        _compile(excuses, expressions) if excuses else None,
        {"en": str(replies["en"]), "zh": str(replies["zh"])},
    )


def _expand_words(words: Mapping[object, object]) -> dict[str, str]:
    """Each word's expression; a word may use those above it."""
    expressions: dict[str, str] = {}
    for name, expression in words.items():
        expressions[str(name)] = _fill_in(str(expression), expressions)
    return expressions


def _fill_in(pattern: str, expressions: Mapping[str, str]) -> str:
    """The pattern with each `<word>` spelled out. Raises KeyError for a word that the rule does not have."""
    return _WORD_NAME.sub(lambda found: f"(?:{expressions[found[1]]})", pattern)


def _compile(patterns: Sequence[object], expressions: Mapping[str, str]) -> re.Pattern[str]:
    """One expression for any of these."""
    joined = "|".join(f"(?:{_fill_in(str(pattern), expressions)})" for pattern in patterns)
    # ASCII: a Han character next to a Latin word is a word boundary, which Unicode's \b denies.
    return re.compile(joined, re.IGNORECASE | re.ASCII)
