"""What the customer's message holds, all of it at once: the sum of its n-gram embeddings, given to the reply's opening.

The plan is chosen where the assistant's turn begins. A network of our size hears an unseen wording worse through its
layers than a bag of n-grams does, so the opening gets the bag as well (wide and deep, Cheng et al. 2016; fastText,
Joulin et al. 2016): its embedding carries the normalised sum of everything since the last turn marker of the customer.
Like the n-grams' rows, the projection is learned in the stage `message_summary` and left alone afterwards.
"""

import torch
from torch import Tensor, nn

from model_store.contract.control_tokens import ASSISTANT_ID, USER_ID
from training.reformer.dropout import Dropout

EPSILON = 1e-6
_INIT_STD = 0.02


class MessageSummary(nn.Module):
    """The current message's known n-grams, summed, brought to length √H and projected; zero but where a reply opens.

    In training, as large a share of the tokens is not heard as `dropout` says.
    """

    def __init__(self, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.projection = nn.Linear(hidden_size, hidden_size, bias=False)
        self.dropout = Dropout(dropout)

    def reset_parameters(self) -> None:
        """Draws fresh weights."""
        nn.init.normal_(self.projection.weight, std=_INIT_STD)

    def forward(self, ngrams: Tensor, token_ids: Tensor) -> Tensor:
        """[B, S, H] of a text's n-grams [B, S, H] and its token ids [B, S]."""
        is_heard = torch.rand_like(ngrams[..., :1]) >= self.dropout.share if self.training else 1
        total = (ngrams * is_heard).float().cumsum(1)
        before = torch.cat([torch.zeros_like(total[:, :1]), total[:, :-1]], dim=1)
        starts = message_starts(token_ids)[..., None].expand_as(total)
        summed = total - before.gather(1, starts)
        normalised = summed * torch.rsqrt(summed.pow(2).mean(-1, keepdim=True) + EPSILON)
        projected: Tensor = self.projection(self.dropout(normalised).to(ngrams.dtype))
        return projected * (token_ids == ASSISTANT_ID)[..., None]


def message_starts(token_ids: Tensor) -> Tensor:
    """[B, S]: where the last customer's turn up to each position begins; 0 before the first."""
    positions = torch.arange(token_ids.shape[1]).expand_as(token_ids)
    return torch.where(token_ids == USER_ID, positions, 0).cummax(1).values
