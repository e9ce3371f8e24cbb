"""Which of an intent's replies suit whom: `<pack>/<language>/fitting/<file>.yaml`, by intent.

    order_status:
      assume:                       # replies, word for word, that do not fit whatever customers say about it
        "Did the page freeze? …": ["froze", "crash", "money & taken"]
        "Good question! …": []      # nothing: it is not said any more
      say:                          # further replies; for whom, what they answer, and whether only later on
        - when: ["can you see", "look it up"]
          replies: ["I can't see orders from here, I'm sorry. …"]

Conditions are words that messages have to hold: `model_store.reply_fit`. No network learns these replies as an answer
to the intent, for they answer some of its messages only; the bundle carries them. Answers to the bot: `answers`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from model_store.reply_fit import parse_alternative

_KEYS, _GROUP_KEYS = {"assume", "say"}, {"when", "replies", "later"}


@dataclass(frozen=True, slots=True)
class FittingReply:
    """A reply for those of whose messages one alternative of `when` holds; without any, for all."""

    text: str
    when: tuple[str, ...]
    is_later: bool = False
    """Whether something has to have been said about the matter before."""


@dataclass(frozen=True, slots=True)
class FittingReplies:
    """Of one intent in one language."""

    assumed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By an existing reply's text, what the customer must have said for it; nothing: never."""
    said: tuple[FittingReply, ...] = ()

    def with_further(self, replies: Sequence[FittingReply]) -> "FittingReplies":
        """The same with more to say."""
        return FittingReplies(self.assumed, (*self.said, *replies))

    def conditions(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Texts with what must have been said for them."""
        yield from self.assumed.items()
        yield from ((reply.text, reply.when) for reply in self.said if reply.when)


def parse_fitting(entry: Mapping[str, Any]) -> FittingReplies:
    """What stands in a file for one intent. Raises KeyError, TypeError, AttributeError or ValueError for bad ones."""
    if unknown := entry.keys() - _KEYS:
        raise ValueError(f"it has {sorted(unknown)}, which is neither `assume` nor `say`")
    assumed = {str(text): alternatives_of(when) for text, when in (entry.get("assume") or {}).items()}
    said: list[FittingReply] = []
    for group in entry.get("say") or ():
        if unknown := group.keys() - _GROUP_KEYS:
            raise ValueError(f"a group has {sorted(unknown)}, which is none of {sorted(_GROUP_KEYS)}")
        when, is_later = alternatives_of(group["when"]), bool(group.get("later", False))
        said += (FittingReply(str(text), when, is_later) for text in group["replies"])
    return FittingReplies(assumed, tuple(said))


def alternatives_of(when: Any) -> tuple[str, ...]:
    """A list of conditions. Raises TypeError or ValueError for one that is none."""
    if not isinstance(when, list):
        raise TypeError(f"{when!r} is no list of words")
    for text in when:
        check_alternative(str(text))
    return tuple(map(str, when))


@cache  # the same words are asked for by many replies
def check_alternative(text: str) -> None:
    """Raises ValueError for what is no condition."""
    parse_alternative(text)
