"""Masking: what customers and the shop say, before the model or the store sees it.

Customers' data becomes entity placeholders, the shop's own facts become fact placeholders. The values stay in memory,
in the vault of one request. How values are found is `model_store.contract.entities`' business.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from model_store.contract.conversation import Message, Role, detect_language, language_of
from model_store.contract.entities import EntityMasker, EntityPattern, EntityVault, compile_operator_pattern
from model_store.contract.facts import FactSheet
from model_store.contract.placeholders import ENTITY_PLACEHOLDERS, Segment, escape_lookalikes, split_masked
from model_store.contract.unmasking import Resolver
from service.errors import InvalidDataFileError

_MIN_KNOWN_CHARS = 2


@dataclass(frozen=True, slots=True)
class MaskedConversation:
    """Messages without personal data, the values taken out of them, and the language that the customer speaks."""

    messages: tuple[Message, ...]
    vault: EntityVault
    language: str


class ConversationMasker:
    """Masks conversations with one shop's facts and patterns. Immutable and safe to share between threads."""

    def __init__(self, facts: FactSheet, entities: EntityMasker) -> None:
        self._facts = facts
        self._entities = entities

    def mask(self, messages: Sequence[Message], history: Sequence[Message] = ()) -> MaskedConversation:
        """Masks a whole conversation; its last message with any words decides the language.

        `history` was said before the messages and is masked already. Its values were not kept: a value that comes again
        gets another placeholder, and a completion cannot name the old one.
        """
        vault = EntityVault(part.text for part in _placeholders_in(history))
        masked = tuple(Message(message.role, self._mask_message(message, vault)) for message in messages)
        conversation = _join(history, masked)
        return MaskedConversation(conversation, vault, language_of(conversation))

    def recall(self, messages: Sequence[Message]) -> MaskedConversation:
        """A conversation that was masked when it was recorded; its placeholders read as themselves."""
        named = (part.text for part in _placeholders_in(messages) if part.text in ENTITY_PLACEHOLDERS)
        vault = EntityVault.of_masked(named)
        return MaskedConversation(tuple(messages), vault, language_of(messages))

    def resolver(self, conversation: MaskedConversation) -> Resolver:
        """What the placeholders of this conversation read as."""
        return self._facts.resolver(conversation.vault, conversation.language)

    def mask_remarks(
        self, correction: str | None, comment: str | None, kept: frozenset[str] = frozenset()
    ) -> tuple[str | None, str | None]:
        """Masks what a person wrote about a completion: the better reply, as the shop's words, and the comment.

        Placeholders in `kept` stay in the correction: who has read the masked text may use them.
        """
        vault = EntityVault(kept)
        masked_correction = None if correction is None else self._mask_around(correction, vault, kept)
        masked_comment = None if comment is None else self._entities.mask(comment, vault)
        return masked_correction, masked_comment

    def _mask_message(self, message: Message, vault: EntityVault) -> str:
        if message.role is Role.USER:
            return self._entities.mask(message.content, vault)
        return self._mask_shop_text(message.content, vault)

    def _mask_around(self, text: str, vault: EntityVault, kept: frozenset[str]) -> str:
        """Shop text in which some placeholders are meant as such; what only looks like one is rewritten."""
        if not kept:
            return self._mask_shop_text(text, vault)
        language = detect_language(text)
        parts = re.split(f"({'|'.join(map(re.escape, kept))})", text)
        return "".join(part if part in kept else self._mask_shop_text(part, vault, language) for part in parts)

    def _mask_shop_text(self, text: str, vault: EntityVault, language: str | None = None) -> str:
        """Text in which the shop speaks: its facts first, else its own address would pass for the customer's."""
        masked = self._facts.mask(escape_lookalikes(text), language or detect_language(text))
        masked = _mask_known_values(masked, vault)
        return self._entities.mask_keeping_placeholders(masked, vault)


def _join(history: Sequence[Message], new: tuple[Message, ...]) -> tuple[Message, ...]:
    """History and what comes after it; a new system message takes the old one's place in front."""
    if not history or new[0].role is not Role.SYSTEM:
        return (*history, *new)
    return (new[0], *(message for message in history if message.role is not Role.SYSTEM), *new[1:])


def _placeholders_in(messages: Sequence[Message]) -> Iterator[Segment]:
    return (part for message in messages for part in split_masked(message.content) if part.is_placeholder)


def _mask_known_values(text: str, vault: EntityVault) -> str:
    """Takes out values the customer has given: a reply repeats a name without the words that betray it as one."""
    for placeholder in sorted(vault.placeholders, key=lambda name: -len(vault.value_of(name) or "")):
        value = vault.value_of(placeholder) or ""
        if len(value) >= _MIN_KNOWN_CHARS:
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])", placeholder, text)
    return text


def load_entity_patterns(path: Path) -> tuple[EntityPattern, ...]:
    """Reads the operator's patterns: a YAML list of `{type, regex}`. Raises InvalidDataFileError."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
        return tuple(compile_operator_pattern(entry["type"], entry["regex"]) for entry in entries)
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise InvalidDataFileError(path=path, problem=f"{type(error).__name__}: {error}") from error
