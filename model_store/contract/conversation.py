"""A conversation: ordered messages, each one utterance with a role and masked content.

No HTTP and no tokens here; `chat_template` turns a conversation into the prompt that the model sees.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from model_store.errors import InvalidConversationError

_NOT_WORDS = re.compile(r"<[A-Z_0-9]+>|https?://[!-~]+")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_CHINESE_MARKS = re.compile("[，。？！；：、（）]")


class Role(StrEnum):
    """Who speaks. Roles come from fields, never from text."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One utterance; `content` is masked text (see `placeholders`)."""

    role: Role
    content: str

    def as_dict(self) -> dict[str, str]:
        """The JSON form used in records and training files."""
        return {"role": self.role.value, "content": self.content}

    @classmethod
    def from_dict(cls, data: dict[str, str]) -> "Message":
        """Reads the JSON form. Raises KeyError or ValueError for anything else."""
        return cls(Role(data["role"]), data["content"])


def check_prompt(messages: Sequence[Message]) -> None:
    """Raises InvalidConversationError unless the model can be asked to answer these messages."""
    if not messages:
        raise InvalidConversationError(problem="there is no message")
    if any(message.role is Role.SYSTEM for message in messages[1:]):
        raise InvalidConversationError(problem="a system message may only come first")
    if messages[-1].role is not Role.USER:
        raise InvalidConversationError(problem="the last message must be the user's")


def has_han(text: str) -> bool:
    """Whether there is any Han character in a text."""
    return _HAN.search(text) is not None


def language_of(messages: Sequence[Message]) -> str:
    """What the customer speaks: the language of his last message that has any letters, or else of its marks.

    A bare order number has no language.
    """
    own = [message.content for message in messages if message.role is Role.USER]
    spoken = next((text for text in reversed(own) if _has_letters(text)), None)
    return detect_language("".join(own) if spoken is None else spoken)


def _has_letters(masked: str) -> bool:
    return any(character.isalpha() for character in _NOT_WORDS.sub("", masked))


def detect_language(text: str) -> str:
    """`"zh"` when a fifth or more of the letters are Han characters, else `"en"`.

    One Han character carries about as much as a short English word, hence the low share; it also makes code-switched
    Chinese with Latin product names Chinese. Placeholders and links have no language; where there are no letters at
    all, full-width marks are Chinese.
    """
    text = _NOT_WORDS.sub("", text)
    num_han = len(_HAN.findall(text))
    num_letters = sum(character.isalpha() for character in text)
    if not num_letters:
        return "zh" if _CHINESE_MARKS.search(text) else "en"
    return "zh" if num_han * 5 >= num_letters else "en"
