"""Which words were said before, or nearly so: one person's thumb on them a second time tells nothing new.

Equal means: the same letters and digits, whatever the case, the spacing and the punctuation. Longer texts are also
alike when they share nine tenths of their runs of characters (`data.data_report.duplicates`); in short ones a single
word may turn the meaning.
"""

import hashlib
import re
from collections.abc import Sequence

from model_store.contract.conversation import Message, Role
from training.data.data_report.duplicates import DuplicateFinder, Groups

MIN_NEAR_CHARS = 80
"""Letters and digits below which texts are alike only when they are equal."""
_MIN_SIMILARITY = 0.9
_NO_LETTERS = re.compile(r"[\W_]+")


def plain(text: str) -> str:
    """Letters and digits alone, of any script."""
    return _NO_LETTERS.sub("", text.casefold())


def exchange(messages: Sequence[Message], reply: str) -> str:
    """What a thumb is about: the customer's last words and the reply."""
    asked = next((message.content for message in reversed(messages) if message.role is Role.USER), "")
    return f"{asked}\n{reply}"


def whole(messages: Sequence[Message], reply: str) -> str:
    """Everything that was said up to and with a reply."""
    return "\n".join([*(message.content for message in messages), reply])


def alike(texts: Sequence[str]) -> list[int]:
    """For each text the number of the first one that it is like; numbers are places in `texts`."""
    groups = Groups()
    finder = DuplicateFinder(groups, min_similarity=_MIN_SIMILARITY)
    first_of: dict[bytes, int] = {}
    for number, text in enumerate(texts):
        groups.add()
        normal = plain(text)
        earlier = first_of.setdefault(hashlib.sha256(normal.encode(errors="replace")).digest(), number)
        if earlier != number:
            groups.join(earlier, number)
        elif len(normal) >= MIN_NEAR_CHARS:
            finder.add(number, text)
    firsts = [0] * len(texts)
    for members in groups.members():
        for number in members:
            firsts[number] = members[0]
    return firsts
