"""What no completion of a conversation may hold. Service and training ask the same function.

Structure, personal data that nobody named, and Chinese for customers who have not written any: a network that has read
two languages slips into the wrong one now and then.
"""

from collections.abc import Collection, Sequence

from model_store.contract.control_tokens import banned_unless_named
from model_store.contract.conversation import Message, Role, has_han
from model_store.contract.tokenizer import Tokenizer


def banned_in_reply(messages: Sequence[Message], named: Collection[str], tokenizer: Tokenizer) -> frozenset[int]:
    """Token ids that a reply to masked messages must not hold, of which `named` are the placeholders it may use."""
    banned = banned_unless_named(named)
    speaks_chinese = any(has_han(message.content) for message in messages if message.role is Role.USER)
    return banned if speaks_chinese else banned | tokenizer.han_ids
