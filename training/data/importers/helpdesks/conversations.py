"""What every help desk's conversation comes to: a uniform row whose texts are masked before anything is written.

Left out: all that the customer was not shown or that no person wrote (the modules of the formats say which), and
what people quoted. A customer's rows share a split; whose they are is kept as a digest only.
"""

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from model_store.contract.conversation import detect_language
from model_store.contract.entities import EntityMasker, EntityVault
from training.data.importers.helpdesks.message_text import written_text
from training.data.importers.helpdesks.people import Person, patterns_of
from training.data.importers.rows import Origin, Row, Skipped, Turn, TurnRole, clean_text, conversation_row

MAX_MESSAGES = 200
"""Messages of a conversation that are kept; later ones are cut."""


class HelpdeskMessage(NamedTuple):
    """What one person wrote to the other; `body` is plain text or HTML."""

    role: TurnRole
    body: str


@dataclass(frozen=True, slots=True)
class HelpdeskConversation:
    """One ticket or chat: public messages of people only, in their order."""

    source: str
    id: str
    customer: str | None
    """The help desk's id of the customer, where the export has it."""
    messages: Iterable[HelpdeskMessage]
    people: Iterable[Person]


def masked_row(conversation: HelpdeskConversation) -> Row | Skipped:
    """The row of a conversation: entities and the names of `people` are placeholders, numbered through all turns.

    `labels.customer` is a digest that rows of one customer share; their split depends on it.
    """
    masker, vault = EntityMasker(patterns_of(conversation.people)), EntityVault()
    kept = itertools.islice(conversation.messages, MAX_MESSAGES)
    turns = [Turn(role, masker.mask(clean_text(written_text(body)), vault)) for role, body in kept]
    lang = detect_language(" ".join(turn.text for turn in turns))
    customer = _customer_digest(conversation)
    origin = Origin.assigned(
        f"{conversation.source}-{conversation.id}", conversation.source, lang, key=customer or None
    )
    return conversation_row(origin, turns, {"customer": customer} if customer else None)


def _customer_digest(conversation: HelpdeskConversation) -> str:
    if not conversation.customer:
        return ""
    key = f"{conversation.source}:{conversation.customer}"
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()[:16]
