"""What a later message is heard with: what the bot asked, and what the customer had said before.

"Yes", "it's 4471902" and "where do I send it?" mean what the turns before them make of them. Training and service put
the turns together here, the message first, so that a model's length cuts off what is furthest from it.
"""

import re

SEPARATOR = " | "
_MAX_CHARS = 160
_SENTENCE = re.compile(r"[^.!?。！？]*[.!?。！？]*")


def turns_before(reply: str, earlier: str) -> tuple[str, str]:
    """The closing sentence of the bot's reply and the customer's message before it, both cut short."""
    return closing_sentence(reply)[-_MAX_CHARS:], earlier[:_MAX_CHARS]


def closing_sentence(text: str) -> str:
    """The last sentence of a reply: most often the question."""
    sentences = [sentence.strip() for sentence in _SENTENCE.findall(text)]
    return next((sentence for sentence in reversed(sentences) if len(sentence) > 1), text.strip())
