"""A pretrained sentence encoder with a linear head over intents: the teacher that knows words which no ask holds.

One head serves all languages. The network is trained in `stages.base_model.plan_teacher`.
"""

import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm
from transformers import BertModel

from training.data.domain_pack import DomainPack, plan_of
from training.data.plan_teacher.pretrained_encoder import (
    EncoderTokenizer,
    before_first,
    encoder_file,
    end_ids,
    load_pretrained_encoder,
    mean_embedding,
    mean_states,
    pad_queries,
)
from training.precision import fast_matrices

MAX_TOKENS = 64
_BATCH_TOKENS = 4096
_HEAD_DROPOUT = 0.1


class IntentEncoder(nn.Module):
    """Encoder and head; embeddings of single tokens stay as they were, so that unseen words keep their meaning."""

    def __init__(self, intents: Sequence[str], network: BertModel, tokenizer: EncoderTokenizer) -> None:
        super().__init__()
        self.intents = tuple(intents)
        self.tokenizer = tokenizer
        self.network = network
        self.network.embeddings.word_embeddings.weight.requires_grad_(False)
        self.head = nn.Linear(network.config.hidden_size, len(intents))
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    @classmethod
    def pretrained(cls, intents: Sequence[str], *, dropout: float = 0.0) -> "IntentEncoder":
        """The installed encoder under a fresh head; `dropout` of its hidden states, in training.

        Raises DataNotFoundError when it is not installed.
        """
        return cls(intents, *load_pretrained_encoder(encoder_file(), dropout=dropout))

    def forward(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Logits [B, num intents] of padded queries."""
        embedded = mean_embedding(self.network, token_ids, mask)
        logits: Tensor = self.head(F.dropout(embedded, _HEAD_DROPOUT, training=self.training))
        return logits

    def encode(self, text: str) -> list[int]:
        """Token ids of a message."""
        return self.tokenizer.encode(text, MAX_TOKENS)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """[n, H] float32."""
        return self._over_batches(texts, lambda ids, mask: mean_embedding(self.network, ids, mask))

    def mean_states(self, texts: Sequence[str], layers: Sequence[int]) -> np.ndarray:
        """[n, num layers, H] float32: of each text, the means of these layers' hidden states."""
        rows = self._over_batches(texts, lambda ids, mask: mean_states(self.network, ids, mask, layers).flatten(1))
        return rows.reshape(len(texts), len(layers), -1)

    def own_states(self, texts: Sequence[str], layers: Sequence[int]) -> np.ndarray:
        """`mean_states` of the messages' own tokens, without those of the turns before them."""

        def compute(ids: Tensor, mask: Tensor) -> Tensor:
            counted = before_first(ids, end_ids(self.tokenizer.backend))
            return mean_states(self.network, ids, mask, layers, counted).flatten(1)

        return self._over_batches(texts, compute).reshape(len(texts), len(layers), -1)

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """[n, num intents] float32, in the order of `intents`."""
        return self._over_batches(texts, lambda ids, mask: self(ids, mask).float().softmax(-1))

    @torch.no_grad()
    def _over_batches(self, texts: Sequence[str], compute: Callable[[Tensor, Tensor], Tensor]) -> np.ndarray:
        """Rows of `compute` for every text; texts of like length share a batch."""
        self.eval()
        queries = [self.encode(text) for text in texts]
        order = sorted(range(len(queries)), key=lambda index: len(queries[index]))
        found: list[tuple[list[int], np.ndarray]] = []
        with tqdm(total=len(texts), desc="teacher", unit="text", file=sys.stderr, leave=False) as progress:
            for members in _batches(order, queries):
                with fast_matrices():
                    rows = compute(*pad_queries([queries[index] for index in members])).float().numpy()
                found.append((members, rows))
                progress.update(len(members))
        result = np.zeros((len(texts), found[0][1].shape[1] if found else 0), np.float32)
        for members, rows in found:
            result[members] = rows
        return result


class EncoderTeacher:
    """Opinions of an intent encoder as probabilities of plans; asking for a detail is never its opinion."""

    def __init__(self, encoder: IntentEncoder, pack: DomainPack) -> None:
        """The encoder must know every intent of the pack."""
        plans = {plan: index for index, plan in enumerate(pack.plans)}
        self._encoder = encoder
        self._columns = [plans[plan_of(intent)] for intent in encoder.intents]
        self._num_plans = len(plans)

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """[n, num plans] float16, in the order of the pack's plans."""
        found = np.zeros((len(texts), self._num_plans), np.float16)
        found[:, self._columns] = self._encoder.probabilities(texts)
        return found


def _batches(order: Sequence[int], queries: Sequence[Sequence[int]]) -> list[list[int]]:
    batches: list[list[int]] = []
    for index in order:
        if batches and (len(batches[-1]) + 1) * len(queries[index]) <= _BATCH_TOKENS:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
