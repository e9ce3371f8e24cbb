"""Offering a help article: how the prompt tells the model that a passage may answer the customer's question.

The model sees a title and a passage's beginning and may write `<ARTICLE>`, which the service fills with the passage
itself. Values in an article are hidden from the model, so it can neither repeat nor change them.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from model_store.contract.conversation import Message, Role
from model_store.contract.entities import EntityMasker, EntityVault
from model_store.contract.placeholders import (
    ARTICLE,
    REDACTED,
    Segment,
    entity_type_of,
    escape_lookalikes,
    split_masked,
)

HELP_PLAN = "help_article"
"""The plan of a reply that quotes; a model without it is never offered an article."""

_MAX_WORDS = 25
_MAX_CHARACTERS = 40
"""How much of a passage the model sees, in English words or Chinese characters."""
_MASKER = EntityMasker()


def offer_article(messages: Sequence[Message], title: str, passage: str, language: str) -> tuple[Message, ...]:
    """Messages with the article right before the customer's last one; there must be one."""
    last = max(index for index, message in enumerate(messages) if message.role is Role.USER)
    return (*messages[:last], article_message(title, passage, language), *messages[last:])


@lru_cache(maxsize=4096)
def article_message(title: str, passage: str, language: str) -> Message:
    """What the model sees of an article. `title` and `passage` are plain text, as its author wrote it."""
    separator = "：" if language == "zh" else ": "
    return Message(Role.SYSTEM, f"{ARTICLE} {_excerpt(title, language)}{separator}{_excerpt(passage, language)}")


def quote_article(title: str, passage: str, link: str, language: str) -> str:
    """What `<ARTICLE>` reads as: the passage, word for word, and where it stands."""
    if language == "zh":
        return f"“{passage}”（{title}：{link}）"
    return f"“{passage}” ({title}: {link})"


def has_article(messages: Sequence[Message]) -> bool:
    """Whether an article is offered for the customer's last message."""
    return len(messages) > 1 and messages[-2].role is Role.SYSTEM and messages[-2].content.startswith(ARTICLE)


def plans_for(plans: Mapping[str, int], *, has_offer: bool) -> Mapping[str, int]:
    """The plans that a reply may open with: without an offer there is nothing to quote."""
    return plans if has_offer else {name: token_id for name, token_id in plans.items() if name != HELP_PLAN}


def sureness(confidence: float, plan: str, rivals: Sequence[tuple[str, float]]) -> float:
    """How sure a bot that chose `plan` is of what is meant: its topic's probability among all that quote no article.

    Whether to quote one is no doubt about that.
    """
    quoting = 0.0 if plan == HELP_PLAN else dict(rivals).get(HELP_PLAN, 0.0)
    return confidence / (1 - quoting) if quoting < 1 else confidence


def _excerpt(text: str, language: str) -> str:
    """The beginning of a text, its values hidden and its look-alikes of placeholders escaped."""
    pieces = _hide_values(" ".join(text.split()))
    if language == "zh":
        characters = [piece for part in pieces for piece in ((part.text,) if part.is_placeholder else part.text)]
        return "".join(characters[:_MAX_CHARACTERS])
    return " ".join("".join(part.text for part in pieces).split()[:_MAX_WORDS])


def _hide_values(text: str) -> list[Segment]:
    """Text in pieces; numbers, addresses and the like are `REDACTED`, for the model could only get them wrong.

    What looks like a person's name stays: an article has no customer's in it.
    """
    vault = EntityVault()

    def hide(part: Segment) -> Segment:
        if part.is_placeholder and entity_type_of(part.text) == "NAME":
            return Segment(escape_lookalikes(vault.value_of(part.text) or ""), False)
        return Segment(REDACTED, True) if part.is_placeholder else part

    return [hide(part) for part in split_masked(_MASKER.mask(text, vault))]
