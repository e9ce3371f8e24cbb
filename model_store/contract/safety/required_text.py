"""What a text must hold for a regular expression to match in it: looking for that takes a tenth of the time.

Sound, not complete: an expression whose every match holds one of some literals is tried only where one of them is; one
of which that cannot be told is tried always. The idea is that of RE2's FilteredRE2.
"""

import re
from collections.abc import Iterable, Sequence
from re import _constants, _parser  # type: ignore[attr-defined]  # `sre_parse`, its earlier name, is deprecated
from typing import Any

Literals = frozenset[str]
"""One of these is in every match; none: nothing is known."""

_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT)
_NOTHING: Literals = frozenset()
_END = (_constants.AT, _constants.AT_END)


class PatternIndex:
    """Patterns by what must be in a text for them to match. Immutable."""

    def __init__(self, patterns: Sequence[re.Pattern[str]]) -> None:
        positions: dict[str, list[int]] = {}
        always: list[int] = []
        for position, pattern in enumerate(patterns):
            literals = required_literals(pattern)
            for literal in literals:
                positions.setdefault(literal, []).append(position)
            if not literals:
                always.append(position)
        self._positions = positions
        self._always = always
        self._ascii_literals = tuple(literal for literal in positions if literal.isascii())
        self._literals = tuple(positions)

    def candidates(self, text: str) -> list[int]:
        """The positions of the patterns that may match somewhere in the text, in order; no other can."""
        folded = text.casefold()
        literals = self._ascii_literals if folded.isascii() else self._literals
        found = set(self._always)
        for literal in [literal for literal in literals if literal in folded]:
            found.update(self._positions[literal])
        return sorted(found)


def required_literals(pattern: re.Pattern[str]) -> Literals:
    """Case-folded texts one of which every match holds; none where nothing is known.

    Folding maps each character by itself, so what is in a match is in the folded text as well.
    """
    if pattern.flags & re.UNICODE:  # its rules let a case-blind i match a dotless one, which does not fold to it
        return _NOTHING
    return frozenset(map(str.casefold, _of_sequence(_parser.parse(pattern.pattern, pattern.flags))))


def _of_sequence(nodes: Iterable[tuple[Any, Any]]) -> Literals:
    """The most telling of what stands one after the other."""
    found: list[Literals] = []
    run = ""
    for kind, argument in (*nodes, _END):
        if kind is _constants.LITERAL:
            run += chr(argument)
            continue
        found += [frozenset({run})] if run else []
        found.append(_of_node(kind, argument))
        run = ""
    return max(found, key=_how_telling)


def _of_node(kind: Any, argument: Any) -> Literals:
    if kind is _constants.BRANCH:
        branches = [_of_sequence(branch) for branch in argument[1]]
        return frozenset().union(*branches) if all(branches) else _NOTHING
    if kind is _constants.SUBPATTERN:
        _, added_flags, _, inner = argument
        return _NOTHING if added_flags & re.UNICODE else _of_sequence(inner)
    if kind in _REPEATS:
        least, _, inner = argument
        return _of_sequence(inner) if least > 0 else _NOTHING
    return _NOTHING


def _how_telling(literals: Literals) -> tuple[int, int]:
    """Long ones are rarer, and few are found sooner."""
    return min(map(len, literals), default=0), -len(literals)
