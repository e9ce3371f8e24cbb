"""What a few words settle that answer the bot: a yes or a no to its offer of a person, asking after that person,
wanting none, and an answer to what it asked that an author expected.

A network that reads "行" or "yes please" by itself hears thanks. What was offered is in what the bot said last, and who
says yes to it is not to be asked again. Service and evaluation read the same rule.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, field_validator

from model_store.contract.conversation import Message, Role
from model_store.intents.matters import KnownReplies
from model_store.replies import PERSON_PLAN

_Pattern = Annotated[str, StringConstraints(min_length=1, max_length=4000)]
_Patterns = dict[Literal["en", "zh"], _Pattern]
_GAPS = re.compile(r"[^\w<>]+")
_APOSTROPHES = re.compile("['’‘]")
_MAX_CHARS = 60
"""Of a message that is read by this rule: a longer one has more to say than yes or no."""


class OfferRule(BaseModel):
    """Regular expressions by language, any of which may match. `plan_rules.yaml` says what the entries mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    is_on: bool
    offered: _Patterns
    accepted: _Patterns
    declined: _Patterns
    asked_after: _Patterns
    refused: _Patterns
    demanded: _Patterns
    declined_plan: str

    @field_validator("offered", "accepted", "declined", "asked_after", "refused", "demanded")
    @classmethod
    def _check_patterns(cls, patterns: dict[str, str]) -> dict[str, str]:
        for pattern in patterns.values():
            try:
                re.compile(f"(?:{pattern})")
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return patterns

    def settled_plan(self, conversation: Sequence[Message], known: KnownReplies) -> str | None:
        """What the reply to masked messages has to do; None where the last of them is no such answer."""
        *earlier, last = conversation
        reply = next((message.content for message in reversed(earlier) if message.role is Role.ASSISTANT), "")
        if not (self.is_on and reply) or len(last.content) > _MAX_CHARS:
            return None
        said = _plain(last.content)
        if self._matchers["offered"].search(reply.strip()):
            if self._matchers["accepted"].fullmatch(said):
                return PERSON_PLAN
            if self._matchers["declined"].fullmatch(said):
                return self.declined_plan
        if self._matchers["demanded"].search(said) and not self._matchers["refused"].search(said):
            return PERSON_PLAN
        is_waiting = known.topics_of(reply) == {PERSON_PLAN}
        if is_waiting and self._matchers["asked_after"].search(said):
            return PERSON_PLAN
        return known.topic_answered(conversation)

    def refuses_person(self, conversation: Sequence[Message]) -> bool:
        """Whether the customer says last, in a few words, that he wants no person, or nothing but no, so that none is
        forced on him.
        """
        said = _plain(conversation[-1].content if conversation else "")
        is_no = self._matchers["refused"].search(said) or self._matchers["declined"].fullmatch(said)
        return self.is_on and len(said) <= _MAX_CHARS and bool(is_no)

    @cached_property
    def _matchers(self) -> dict[str, re.Pattern[str]]:
        names = ("offered", "accepted", "declined", "asked_after", "refused", "demanded")
        return {name: _any_of(getattr(self, name)) for name in names}


def _plain(text: str) -> str:
    """In lower case, without apostrophes and punctuation."""
    return _GAPS.sub(" ", _APOSTROPHES.sub("", text.lower())).strip()


def _any_of(patterns: dict[str, str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns.values()), re.IGNORECASE)
