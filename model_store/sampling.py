"""How the service draws a reply where the client does not say: training measures policies as people meet them.

Who draws: `service.engine.sampler` for people, `training.reformer.decoder` for training; a contract test holds the two
to the same distribution. Which plans may come first: `model_store.knowledge.offer.plans_for`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
