"""How the service draws a reply where the client does not say: training measures policies as people meet them.

Who draws: `service.engine.sampler` for people, `training.reformer.decoder` for training; a contract test holds the two
to the same distribution. Which plans may come first: `model_store.knowledge.offer.plans_for`.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_store.contract.control_tokens import banned_unless_named
from model_store.contract.conversation import Message, Role, has_han, language_of
from model_store.contract.tokenizer import Tokenizer

DEFAULT_TEMPERATURE = 0.5
DEFAULT_TOP_P = 0.9
OPENING_MIN_P = 0.5
"""A wording may be drawn at random, what it says should not be: plans half as likely as the best still get a chance."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What another model thinks of a reply's openings, multiplied with what the network thinks (Hinton 2002).

    Openings that it knows nothing of keep the probability that the network gives them.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """In nats; they need not sum to one."""
    source: str
    """Digest of the model whose opinion it is."""

    def applied(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Logits [V] with these openings' changed; together they stay as likely as they were."""
        result = logits.astype(np.float64)
        ids = np.asarray(self.token_ids, np.int64)
        before = result[ids]
        after = before + np.asarray(self.logprobs)
        result[ids] = after + (np.logaddexp.reduce(before) - np.logaddexp.reduce(after))
        return result


def banned_in_reply(messages: Sequence[Message], named: Collection[str], tokenizer: Tokenizer) -> frozenset[int]:
    """Token ids that a reply to masked messages must not hold; `named` are the placeholders that it may use.

    Structure, personal data that nobody named, and Chinese for customers who have not written any, nor its marks: a
    network that has read two languages slips into the wrong one now and then.
    """
    banned = banned_unless_named(named)
    has_written_han = any(has_han(message.content) for message in messages if message.role is Role.USER)
    speaks_chinese = has_written_han or language_of(messages) == "zh"  # whose "？" is full width
    return banned if speaks_chinese else banned | tokenizer.han_ids


def rival_plans(ranked: Iterable[tuple[str | None, float]]) -> tuple[tuple[str, float], ...]:
    """The plans among a reply's likeliest first tokens, best first, with their probabilities; None: a token is no plan.

    A network that is confused thinks of words, too, but a reply opens with a plan. Then the probabilities are those
    among the plans: what is not ranked is less likely than any that is.
    """
    tokens = list(ranked)
    plans = [(plan, probability) for plan, probability in tokens if plan is not None]
    total = sum(probability for _, probability in plans) if len(plans) < len(tokens) else 1.0
    return tuple((plan, probability / total) for plan, probability in plans if total)
