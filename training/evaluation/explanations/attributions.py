"""Which tokens raised or lowered a score: integrated gradients (Sundararajan et al. 2017, 1703.01365, eq. 3).

The path leads from the same positions without any word to the conversation as it is, in the space of the trunk's input.
What the message's summary adds where a reply opens is shared out among the message's tokens, of which it is the sum.
Left out: other baselines (a padding token has a meaning that was never learned here).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model_store.contract.control_tokens import ASSISTANT_ID
from training.reformer.heads import RewardModel
from training.reformer.message_summary import EPSILON, message_starts
from training.reformer.model import ReformerPolicy

NUM_STEPS = 64
"""Points of the quadrature (Gauss and Legendre); each is one forward and one backward pass."""
_BATCH = 8


@dataclass(frozen=True)
class Attribution:
    """By how much each token moved the mean score away from `score_without_words`; a sum but for `error`."""

    by_token: tuple[float, ...]
    score: float
    score_without_words: float

    @property
    def error(self) -> float:
        """What the tokens' shares lack of the whole difference: how far the quadrature is off."""
        return self.score - self.score_without_words - sum(self.by_token)


def attribute(model: RewardModel, token_ids: list[int], num_steps: int = NUM_STEPS) -> Attribution:
    """Shares of the score of one conversation with its completion, in float32; turns on eval mode."""
    trunk = model.eval().trunk
    ids = torch.tensor([token_ids])
    with torch.no_grad():
        embedded = trunk.embed(ids)
        start = embedded - _words_of(trunk, ids, embedded)
        ends = torch.cat([embedded, start])
        score, without = _scores(model, ends).tolist()
    gradient = _mean_gradient(model, start, embedded - start, num_steps)
    with torch.no_grad():
        summary = _summary(trunk, ids)
        shares = (gradient * (embedded - start - summary)[0]).sum(-1)
        _share_out_summary(trunk, token_ids, gradient, shares)
    return Attribution(tuple(shares.tolist()), score, without)


def _scores(model: RewardModel, embedded: Tensor) -> Tensor:
    """Mean scores [B] of embedded texts [B, S, H] of equal length."""
    hidden = model.trunk.reformer.encoder(hidden_states=embedded).hidden_states
    lengths = torch.full((len(embedded),), embedded.shape[1])
    return model.scores_of(hidden, lengths).mean(-1)


def _mean_gradient(model: RewardModel, start: Tensor, path: Tensor, num_steps: int) -> Tensor:
    """The score's gradient [S, H], averaged along the straight path from `start` on, both [1, S, H]."""
    nodes, weights = np.polynomial.legendre.leggauss(num_steps)
    points = torch.tensor((nodes + 1) / 2, dtype=torch.float32)
    shares = torch.tensor(weights / 2, dtype=torch.float32)
    total = torch.zeros_like(path[0])
    for first in range(0, num_steps, _BATCH):
        at = (start + points[first : first + _BATCH, None, None] * path).requires_grad_(True)
        (gradients,) = torch.autograd.grad(_scores(model, at).sum(), at)
        total += (shares[first : first + _BATCH, None, None] * gradients).sum(0)
    return total


def _words_of(trunk: ReformerPolicy, ids: Tensor, embedded: Tensor) -> Tensor:
    """All that the words bring: what is left of the embedding without its positions."""
    positions = torch.arange(ids.shape[1])[None]
    found: Tensor = embedded - trunk.reformer.embeddings.position_embeddings(positions)
    return found


def _summary(trunk: ReformerPolicy, ids: Tensor) -> Tensor:
    """What the message's summary adds [1, S, H]; zero where the network has none."""
    if trunk.summary is None or trunk.ngrams is None:
        return torch.zeros(())
    added: Tensor = trunk.summary(trunk.ngrams(ids), ids)
    return added


def _share_out_summary(trunk: ReformerPolicy, token_ids: list[int], gradient: Tensor, shares: Tensor) -> None:
    """Adds to each token of a message what its n-grams brought to the opening of the reply; changes `shares` [S]."""
    if trunk.summary is None or trunk.ngrams is None:
        return
    ids = torch.tensor([token_ids])
    ngrams, starts = trunk.ngrams(ids)[0], message_starts(ids)[0].tolist()
    for opening in (place for place, token_id in enumerate(token_ids) if token_id == ASSISTANT_ID):
        heard = ngrams[starts[opening] : opening + 1]
        scale = torch.rsqrt(heard.sum(0).pow(2).mean() + EPSILON)
        shares[starts[opening] : opening + 1] += trunk.summary.projection(heard * scale) @ gradient[opening]
