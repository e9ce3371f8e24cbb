"""Safety rules: messages that get a fixed reply before any model runs.

The rules are data, in `safety_rules.yaml` beside this file; they have no way to reach the model or the network.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from service.errors import InvalidDataFileError

DEFAULT_RULES_FILE = Path(__file__).with_name("safety_rules.yaml")


@dataclass(frozen=True, slots=True)
class SafetyRule:
    """A name, the pattern of what sets the rule off, and its reply in each language as masked text."""

    name: str
    pattern: re.Pattern[str]
    replies: Mapping[str, str]


class SafetyRules:
    """The rules in order; the first that matches answers. Immutable."""

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
        """The rule that this text sets off, if any."""
        return next((rule for rule in self._rules if rule.pattern.search(text)), None)


def _parse_rule(entry: Mapping[str, object]) -> SafetyRule:
    patterns, replies = entry["patterns"], entry["replies"]
    if not isinstance(patterns, list) or not isinstance(replies, dict):
        raise TypeError("a rule needs a list of patterns and replies by language")
    joined = "|".join(f"(?:{pattern})" for pattern in patterns)
    return SafetyRule(
        str(entry["rule"]), re.compile(joined, re.IGNORECASE), {"en": str(replies["en"]), "zh": str(replies["zh"])}
    )
