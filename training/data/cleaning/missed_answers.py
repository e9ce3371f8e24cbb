"""Finds answers that miss what was asked, such as how to subscribe where somebody wants out.

The rules are data, in `missed_answers.yaml`. They know the canned answers of public data, no more.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

RULES_FILE = Path(__file__).with_name("missed_answers.yaml")


class _Rule(NamedTuple):
    asks: re.Pattern[str]
    says: re.Pattern[str] | None
    lacks: re.Pattern[str] | None


@cache
def _rules() -> tuple[_Rule, ...]:
    entries = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))
    return tuple(
        _Rule(re.compile(entry["asks"]), _optional(entry, "says"), _optional(entry, "lacks")) for entry in entries
    )


def _optional(entry: dict[str, str], name: str) -> re.Pattern[str] | None:
    return re.compile(entry[name]) if name in entry else None


def misses_the_question(request: str, reply: str) -> bool:
    """Whether a reply answers something else than what a customer's message asks for."""
    asked, said = request.lower(), reply.lower()
    return any(_is_missed(rule, said) for rule in _rules() if rule.asks.search(asked))


def _is_missed(rule: _Rule, said: str) -> bool:
    says_another = rule.says is not None and rule.says.search(said) is not None
    return says_another or (rule.lacks is not None and not rule.lacks.search(said))
