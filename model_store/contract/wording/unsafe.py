"""What a support bot must never say, found by patterns: training unlearns it, the service does not let it pass.

The patterns are data, in `unsafe_patterns.yaml`, each under the name of its rule.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

DEFAULT_PATTERNS_FILE = Path(__file__).with_name("unsafe_patterns.yaml")
_CLAUSE_END = re.compile(r"[.,;:!?，。；：！？\n]")


@dataclass(frozen=True, slots=True)
class UnsafeRule:
    """A name, what breaks the rule, and what, earlier in the same clause, excuses it (None: nothing)."""

    name: str
    pattern: re.Pattern[str]
    excuse: re.Pattern[str] | None

    def is_broken_by(self, text: str) -> bool:
        """Whether some match stands in a clause without an excuse before it."""
        return any(not self._is_excused(text[: match.start()]) for match in self.pattern.finditer(text))

    def _is_excused(self, text_before: str) -> bool:
        clause = _CLAUSE_END.split(text_before)[-1]
        return self.excuse is not None and self.excuse.search(clause) is not None


@cache
def load_rules(path: Path = DEFAULT_PATTERNS_FILE) -> tuple[UnsafeRule, ...]:
    """Rules in the file's order. Raises OSError, KeyError, yaml.YAMLError or re.error for a file that holds none."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tuple(
        UnsafeRule(
            entry["rule"], _any_of(entry["patterns"]), _any_of(entry["excuses"]) if entry.get("excuses") else None
        )
        for entry in entries
    )


def unsafe_rules(text: str) -> tuple[str, ...]:
    """Names of the safety rules that a text breaks, in the file's order."""
    return broken_rules(text, DEFAULT_PATTERNS_FILE)


def broken_rules(text: str, path: Path) -> tuple[str, ...]:
    """Names of a file's rules that a text breaks, in the file's order. Raises as `load_rules` does."""
    return tuple(rule.name for rule in load_rules(path) if rule.is_broken_by(text))


def _any_of(patterns: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)
