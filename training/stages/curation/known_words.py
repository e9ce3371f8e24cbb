"""Words that may be learned from: those of the pack's authors, and those that enough customers have said.

What one person alone says can be a secret of theirs or a trigger of somebody who rates; a network that never read it
can do neither. Left out: words in replies (`completion_text` is the model's own) and triggers of known words in an
order of their own, which `groups` bounds.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain

from model_store.contract.conversation import Message, Role
from model_store.contract.placeholders import ARTICLE
from training.config import FeedbackConfig
from training.data.domain_pack import PACKS_DIRECTORY, DomainPack, Intent, load_pack
from training.stages.curation.words import Piece, pieces, vocabulary

_LARGE_PACK = "shop"
_MIN_MATTERS = 2
"""Intents in one language, or one in both, whose texts have a word."""
Speaker = Hashable | None
"""A customer; None: nobody in particular, or the staff's choice of what others said. All of these count as one."""


@dataclass(frozen=True, slots=True)
class KnownWords:
    """Words, pairs of Chinese characters and other signs that a prompt may hold."""

    words: frozenset[str]

    def known_part(self, text: str) -> str:
        """A masked text without the words that are not known. Placeholders stay.

        A Chinese character stays with either neighbour that it is known beside.
        """
        kept: list[str] = []
        end = 0
        for piece in pieces(text):
            known = self._known_part(piece)
            if known and piece.start > end:
                kept.append(text[end : piece.start])
            kept.append(known)
            end = piece.end
        return "".join(kept).strip()

    def in_prompt(self, messages: Sequence[Message]) -> tuple[Message, ...] | None:
        """A prompt of known words; None where of the customer's last message no word is left.

        The excerpt of a help article, which the service puts there, stays as it is.
        """
        known = tuple(
            message if _is_article(message) else replace(message, content=self.known_part(message.content))
            for message in messages
        )
        return None if _says_nothing(known) and not _says_nothing(messages) else known

    def _known_part(self, piece: Piece) -> str:
        if piece.is_placeholder:
            return piece.text
        if not piece.is_han:
            return piece.text if piece.words[0] in self.words else ""
        is_kept = [False] * len(piece.text)
        for place, word in enumerate(piece.words):
            if word in self.words:
                is_kept[place : place + len(word)] = [True] * len(word)
        return "".join(character for character, keeps in zip(piece.text, is_kept, strict=True) if keeps)


def known_words(
    pack_name: str, said: Iterable[tuple[Speaker, Sequence[Message]]], feedback: FeedbackConfig
) -> KnownWords:
    """The words of authors, and those of prompts that enough speakers have said. Raises as `load_pack` does."""
    speakers: dict[str, set[Speaker]] = defaultdict(set)
    everybody: set[Speaker] = set()
    for speaker, messages in said:
        everybody.add(speaker)
        for message in messages:
            for word in vocabulary([message.content]):
                speakers[word].add(speaker)
    needed = max(
        feedback.min_accounts_per_word, math.ceil(feedback.min_share_of_accounts_per_word * len(everybody) - 1e-9)
    )
    return KnownWords(_authors_words(pack_name) | {word for word, who in speakers.items() if len(who) >= needed})


def authored_texts(pack: DomainPack) -> Iterator[str]:
    """What the authors of a pack have customers and the bot say in training; nothing that is held out."""
    for intent in (*pack.intents, *pack.help_intents):
        yield from _texts_of(intent)
    yield from (wording for flow in pack.flows for turn in flow.turns for wording in turn.wordings)
    yield from (
        str(value) for by_language in pack.slots.values() for values in by_language.values() for value in values
    )
    said = pack.phrases
    for group in (said.tone_messages, said.given_along, said.given_later, {"": said.system_messages}):
        yield from chain.from_iterable(texts for by_language in group.values() for texts in by_language.values())
    for article in pack.articles:
        yield from article.texts


def _texts_of(intent: Intent) -> Iterator[str]:
    yield from intent.asks
    yield from intent.every_reply


@cache
def _authors_words(pack_name: str) -> frozenset[str]:
    """All words of a pack's authors, and of another domain's, which ships, those that are about several matters.

    A small pack has few; a rare word of another domain would be nobody's here but an attacker's.
    """
    pack = load_pack(pack_name)
    words = vocabulary(authored_texts(pack))
    if pack_name != _LARGE_PACK and (PACKS_DIRECTORY / _LARGE_PACK).is_dir():
        about: Counter[str] = Counter()
        for intent in load_pack(_LARGE_PACK).intents:
            about.update(vocabulary(_texts_of(intent)))
        words |= {word for word, num_matters in about.items() if num_matters >= _MIN_MATTERS}
    return frozenset(words)


def _is_article(message: Message) -> bool:
    return message.role is Role.SYSTEM and message.content.startswith(ARTICLE)


def _says_nothing(messages: Sequence[Message]) -> bool:
    """Whether the last message has neither a word nor a placeholder."""
    return not messages or not any(
        piece.is_placeholder or piece.text[0].isalnum() for piece in pieces(messages[-1].content)
    )
