"""Which of an intent's replies suit whom: `<pack>/<language>/fitting/<file>.yaml`, by intent.

    order_status:
      assume:                       # replies, word for word, that do not fit whatever customers say about it
        "Did the page freeze? …": ["froze", "crash", "money & taken"]
        "Good question! …": []      # nothing: it is not said any more
      say:                          # further replies; for whom, what they answer, and whether only later on
        - when: ["can you see", "look it up"]
          replies: ["I can't see orders from here, I'm sorry. …"]

Conditions are words that messages have to hold: `model_store.reply_fit`. What customers answer to what the bot asked,
or told them to do, has a folder of its own, `<pack>/<language>/answers/<file>.yaml`:

    two_factor:
      - bot: ["does it get through"]    # words of the bot's last reply: one of these
        when: ["no|", "still not"]      # of the customer's: one of these; left out: whatever he answers
        replies: ["Then it's probably not your phone. …"]

No network learns these replies as an answer to the intent, for they answer some of its messages only.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from model_store.reply_fit import BOT, parse_alternative

_KEYS, _GROUP_KEYS, _ANSWER_KEYS = {"assume", "say"}, {"when", "replies", "later"}, {"bot", "when", "replies"}


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

    def conditions(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Texts with what must have been said for them."""
        yield from self.assumed.items()
        yield from ((reply.text, reply.when) for reply in self.said if reply.when)


def parse_fitting(entry: Mapping[str, Any], answers: Iterable[Mapping[str, Any]] = ()) -> FittingReplies:
    """What stands in files for one intent. Raises KeyError, TypeError, AttributeError or ValueError for bad ones."""
    if unknown := entry.keys() - _KEYS:
        raise ValueError(f"it has {sorted(unknown)}, which is neither `assume` nor `say`")
    assumed = {str(text): _alternatives(when) for text, when in (entry.get("assume") or {}).items()}
    said: list[FittingReply] = []
    for group in entry.get("say") or ():
        if unknown := group.keys() - _GROUP_KEYS:
            raise ValueError(f"a group has {sorted(unknown)}, which is none of {sorted(_GROUP_KEYS)}")
        when, is_later = _alternatives(group["when"]), bool(group.get("later", False))
        said += (FittingReply(str(text), when, is_later) for text in group["replies"])
    return FittingReplies(assumed, (*said, *parse_answers(answers)))


def parse_answers(groups: Iterable[Mapping[str, Any]]) -> tuple[FittingReply, ...]:
    """Replies to what customers answer, of one intent. Raises as `parse_fitting` does."""
    said: list[FittingReply] = []
    for group in groups:
        if unknown := group.keys() - _ANSWER_KEYS:
            raise ValueError(f"an answer has {sorted(unknown)}, which is none of {sorted(_ANSWER_KEYS)}")
        if not group["bot"]:
            raise ValueError("an answer to nothing that the bot said fits nobody")
        heard = [_said_by_bot(text) for text in _choices(_alternatives(group["bot"]))]
        own = _choices(_alternatives(group.get("when", [])))
        when = tuple(f"{bot} & {text}" for bot in heard for text in own) or tuple(heard)
        for alternative in when:
            parse_alternative(alternative)
        said += (FittingReply(str(text), when) for text in group["replies"])
    return tuple(said)


def _said_by_bot(terms: str) -> str:
    return " & ".join(f"{BOT} {term.strip()}" for term in terms.split("&"))


def _choices(alternatives: Iterable[str]) -> list[str]:
    """The same, with those that differ in their first term alone as one."""
    first_by_rest: dict[str, list[str]] = defaultdict(list)
    for text in alternatives:
        first, _, rest = map(str.strip, text.partition("&"))
        first_by_rest[rest].append(first)
    return [" / ".join(first) + (f" & {rest}" if rest else "") for rest, first in first_by_rest.items()]


def _alternatives(when: Any) -> tuple[str, ...]:
    if not isinstance(when, list):
        raise TypeError(f"{when!r} is no list of words")
    for text in when:
        parse_alternative(str(text))
    return tuple(map(str, when))
