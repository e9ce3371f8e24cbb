"""Asks that stand under two intents: whichever the bot hears, it has learned that it is the other."""

import re
from collections import defaultdict
from collections.abc import Iterator

from training.data.domain_pack import DomainPack
from training.pack_lint.problem import Problem

_NO_WORD = re.compile(r"[\W_]+")


def contradictions(pack: DomainPack) -> Iterator[Problem]:
    """The same words, whatever their case and punctuation, in asks of several intents of one language."""
    intents: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for intent in pack.intents:
        for ask in intent.asks:
            words = _NO_WORD.sub(" ", ask.casefold()).strip() or ask
            intents[intent.language, words][intent.name] = ask
    for (language, _), asks in intents.items():
        if len(asks) > 1:
            first, *others = asks
            yield Problem(language, first, f"has the ask {asks[first]!r} in common with {', '.join(others)}")
