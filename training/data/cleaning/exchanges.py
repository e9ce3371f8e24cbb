"""Cleaning conversations: each becomes the stretches in which the agent says only what it can know.

A reply of which nothing is left, or that misses the question, ends a stretch, and what follows begins another, with a
vault of its own: nobody learns to answer what went before. Repetitions: `RepetitionFilter`.
"""

import copy
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from model_store.contract.conversation import Message, Role
from model_store.contract.entities import EntityMasker, EntityVault
from training.data.cleaning.claims import claims_in_words, unsaid_values
from training.data.cleaning.missed_answers import misses_the_question
from training.data.cleaning.wording import clean_request, reply_sentences

MAX_TURN_CHARS = 1000
MAX_REPLY_CHARS = 420
MAX_SAME_REPLY = 20
"""Conversations of one exchange that may have the same reply."""
_ROLES = {"user": Role.USER, "agent": Role.ASSISTANT}
_ASSENT = re.compile(
    r"(?:certainly|understood|absolutely|of course|sure|okay|ok|yes|great|perfect|excellent|very well|alright|all right"
    r"|good|right|thank you|thanks|thank you for (?:your |the )?(?:patience|understanding|cooperation|waiting|help))"
    r"(?:,? (?:sir|ma'am|madam|sir/madam|thing|very much|and understanding|and cooperation))*[.!]*",
    re.I,
)
"""What agrees to something: behind it stood what was agreed to."""
_NO_LETTERS = re.compile(r"[\W_]+")

Conversation = tuple[Message, ...]


def clean_conversation(
    turns: Iterable[Mapping[str, str]], masker: EntityMasker, *, is_shop: bool = True
) -> list[Conversation]:
    """The stretches of a conversation, masked; each ends with a reply. `is_shop`: the agent is a shop's."""
    stretches: list[Conversation] = []
    open_stretch = _Stretch(masker, is_shop=is_shop)
    for role, text in _joined(turns):
        if role is Role.USER:
            open_stretch.add_request(text)
        elif not open_stretch.add_reply(text):
            stretches += open_stretch.closed()
            open_stretch = _Stretch(masker, is_shop=is_shop)
    return stretches + open_stretch.closed()


def _joined(turns: Iterable[Mapping[str, str]]) -> Iterator[tuple[Role, str]]:
    """Role and text of turns that alternate; one speaker's consecutive turns are joined."""
    open_role, texts = None, list[str]()
    for turn in turns:
        role, text = _ROLES[turn["role"]], turn["text"].strip()[:MAX_TURN_CHARS]
        if open_role is not None and role is not open_role:
            yield open_role, "\n".join(texts)
            texts = []
        open_role = role
        texts.append(text)
    if open_role is not None:
        yield open_role, "\n".join(texts)


class _Stretch:
    """The messages since the last reply that had to go."""

    def __init__(self, masker: EntityMasker, *, is_shop: bool) -> None:
        self._masker = masker
        self._is_shop = is_shop
        self._vault = EntityVault()
        self._messages: list[Message] = []
        self._customer_said = ""

    def add_request(self, text: str) -> None:
        """Adds what the customer says."""
        masked = self._masker.mask_keeping_placeholders(clean_request(text), self._vault)
        if masked:
            self._messages.append(Message(Role.USER, masked))
            self._customer_said += f" {masked}"

    def add_reply(self, text: str) -> bool:
        """Adds what the agent may say of a text; False where that is nothing, or no answer."""
        reply = self._backed_part(text)
        request = self._messages[-1].content if self._messages else ""
        if not reply or misses_the_question(request, reply):
            return False
        self._messages.append(Message(Role.ASSISTANT, reply))
        return True

    def closed(self) -> list[Conversation]:
        """The stretch up to its last reply, or nothing where there is none."""
        last = max((at for at, message in enumerate(self._messages) if message.role is Role.ASSISTANT), default=-1)
        return [tuple(self._messages[: last + 1])] if last >= 0 else []

    def _backed_part(self, text: str) -> str:
        # What only the agent mentions never gets a placeholder: its sentences go, and its numbers would be missing.
        vault = copy.deepcopy(self._vault)
        sentences = reply_sentences(text, is_shop=self._is_shop)
        kept: list[str] = []
        for sentence in sentences:
            if claims_in_words(sentence):
                continue  # before masking, which takes longer
            masked = self._masker.mask_keeping_placeholders(sentence, vault)
            if unsaid_values(masked, self._customer_said):
                continue
            if sum(map(len, kept)) + len(masked) > MAX_REPLY_CHARS:
                break
            kept.append(masked)
        is_mere_assent = len(kept) < len(sentences) and all(map(_ASSENT.fullmatch, kept))
        return "" if is_mere_assent else " ".join(kept)


class RepetitionFilter:
    """Says of a source's conversations, one after another, whether they say something new."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._num_replies: Counter[str] = Counter()

    def is_new(self, conversation: Conversation) -> bool:
        """False for an equal conversation but for case and punctuation, and for one more canned reply to a message."""
        key = "|".join(_NO_LETTERS.sub("", message.content.casefold()) for message in conversation)
        if key in self._seen:
            return False
        self._seen.add(key)
        if len(conversation) > 2:
            return True
        reply = conversation[-1].content
        self._num_replies[reply] += 1
        return self._num_replies[reply] <= MAX_SAME_REPLY
