"""Finds what an agent says that nothing in its conversation backs: actions, promises, statuses, records, figures.

The patterns are data, in `claims.yaml`, by kind. Entities and figures are compared with what the customer said: the
service lets the model write no value that the conversation does not hold, so it must not learn to want to.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from model_store.contract.placeholders import REDACTED, entity_type_of, fold_case, split_masked

CLAIMS_FILE = Path(__file__).with_name("claims.yaml")
ENTITY, FIGURE = "entity", "figure"
"""Kinds that are found by comparison: a placeholder, a number, that the customer has not said."""
_FIGURE = re.compile(r"\d+(?:[.,:]\d+)*")


class ClaimPattern(NamedTuple):
    """A kind of claim, what makes it, and what, earlier in the sentence, excuses it (None: nothing)."""

    kind: str
    pattern: re.Pattern[str]
    excuse: re.Pattern[str] | None

    def is_made_by(self, folded: str) -> bool:
        """Whether some match in a sentence in lower case has no excuse before it."""
        matches = self.pattern.finditer(folded)
        return any(self.excuse is None or not self.excuse.search(folded[: match.start()]) for match in matches)


@cache
def load_claim_patterns(path: Path = CLAIMS_FILE) -> tuple[ClaimPattern, ...]:
    """Patterns in the file's order. Raises OSError, KeyError, yaml.YAMLError or re.error for a file that holds none."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tuple(
        ClaimPattern(
            entry["kind"], _any_of(entry["patterns"]), _any_of(entry["excuses"]) if "excuses" in entry else None
        )
        for entry in entries
    )


def claims_in_words(sentence: str) -> tuple[str, ...]:
    """The kinds of claim that a sentence makes by its words, masked or not."""
    folded = fold_case(sentence)
    return tuple(claim.kind for claim in load_claim_patterns() if claim.is_made_by(folded))


def unsaid_values(masked: str, customer_said: str) -> tuple[str, ...]:
    """ENTITY or FIGURE or both, where a masked sentence has some that the customer's masked words have not."""
    entities, figures = (find(masked) - find(customer_said) for find in (_entities, _figures))
    return (ENTITY,) * bool(entities) + (FIGURE,) * bool(figures)


def _entities(masked: str) -> set[str]:
    found = {text for text, is_placeholder in split_masked(masked) if is_placeholder}
    return {text for text in found if entity_type_of(text) or text == REDACTED}


def _figures(masked: str) -> set[str]:
    return {
        digits
        for text, is_placeholder in split_masked(masked)
        if not is_placeholder
        for digits in _FIGURE.findall(text)
    }


def _any_of(patterns: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
