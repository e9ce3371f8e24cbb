"""Replies to what customers answer to what the bot asked them, or told them: `<pack>/<language>/answers/<file>.yaml`.

two_factor:
  - bot: ["does it get through"]    # words of the bot's last reply: one of these
    when: ["no|", "still not"]      # of the customer's: one of these; left out: whatever he answers
    replies: ["Then it's probably not your phone. …"]
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from model_store.reply_fit import BOT
from training.data.fitting.fitting_replies import FittingReply, alternatives_of, check_alternative

_KEYS = {"bot", "when", "replies"}


def parse_answers(groups: Iterable[Mapping[str, Any]]) -> tuple[FittingReply, ...]:
    """Replies to what customers answer, of one intent. Raises as `parse_fitting` does."""
    said: list[FittingReply] = []
    for group in groups:
        if unknown := group.keys() - _KEYS:
            raise ValueError(f"an answer has {sorted(unknown)}, which is none of {sorted(_KEYS)}")
        if not group["bot"]:
            raise ValueError("an answer to nothing that the bot said fits nobody")
        heard = [_said_by_bot(text) for text in _choices(alternatives_of(group["bot"]))]
        own = _choices(alternatives_of(group.get("when", [])))
        when = tuple(f"{bot} & {text}" for bot in heard for text in own) or tuple(heard)
        for part in (*heard, *own):  # of which each of `when` is made
            check_alternative(part)
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
