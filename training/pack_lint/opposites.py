"""Opposite intents, as `opposites.yaml` of a pack lists them: opening and closing, subscribing and unsubscribing.

Their asks share nearly every word and mixing them up does harm, so each needs a bad reply that answers something else.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from training.data.domain_pack import DomainPack
from training.errors import InvalidDomainPackError
from training.pack_lint.problem import Problem


def read_opposites(directory: Path) -> tuple[tuple[str, str], ...]:
    """Pairs of intents; none where a pack has no such file. Raises InvalidDomainPackError for anything but pairs."""
    path = directory / "opposites.yaml"
    if not path.exists():
        return ()
    try:
        pairs = yaml.safe_load(path.read_text(encoding="utf-8"))
        return tuple((str(first), str(second)) for first, second in pairs)
    except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
        raise InvalidDomainPackError(path=path, problem=f"not a list of pairs of intents: {error}") from error


def opposite_problems(pack: DomainPack, pairs: Sequence[tuple[str, str]]) -> Iterator[Problem]:
    """Opposites that are no intents of the pack, or have no bad reply for the reason wrong_intent."""
    for name in dict.fromkeys(name for pair in pairs for name in pair):
        for language in pack.languages:
            intent = pack.intent(name, language)
            if intent is None:
                yield Problem(language, name, "is named in opposites.yaml, but is no intent")
            elif all(reason != "wrong_intent" for _, reason in intent.bad_replies):
                place = f"{intent.topic}/{intent.name}"
                yield Problem(language, place, "has an opposite, but no bad reply for the reason wrong_intent")
