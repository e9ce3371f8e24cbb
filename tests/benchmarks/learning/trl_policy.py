"""What TRL needs to train our policy: a model class that it can load, and a tokenizer that spells token ids.

TRL pads prompts on the left, calls the trunk and the head by themselves, and makes the reference policy from a path.
The trainers are in `trl_learning`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from tokenizers import Tokenizer as BackendTokenizer
from tokenizers import decoders, models
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast, ReformerConfig
from transformers.modeling_outputs import BaseModelOutput

from model_store.contract.control_tokens import BOS_ID, EOS_ID, PAD_ID
from training.data.prompts import Prompt
from training.reformer.decoder import sample_completions
from training.reformer.model import ReformerPolicy

_FIRST_LETTER = 0xF0000
"""Of a private plane, which no text uses and which has room for 65,534 ids."""
_MAX_SEED = 2**31


class TrlConfig(ReformerConfig):  # type: ignore[misc]
    """The same under a name of its own, or TRL would make the reference policy from the stock class."""

    model_type = "reformer-for-trl"
    auto_map: ClassVar[dict[str, str]] = {}
    """TRL asks for it."""


class TrlPolicy(ReformerPolicy):
    """Our policy as TRL calls it."""

    config_class = TrlConfig
    config: TrlConfig

    def __init__(self, config: TrlConfig) -> None:
        super().__init__(config)
        self.reformer.forward = self.states
        self.prompts: Mapping[tuple[int, ...], Prompt] = {}
        """By token ids: what completions of each may hold and open with."""

    def leave_untrained(self) -> None:
        """What ours leaves, and a bias that TRL's head adds and ours, which serves, does not."""
        super().leave_untrained()
        self.lm_head.decoder.bias.requires_grad_(False)

    def states(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> BaseModelOutput:
        """Hidden states [B, S, 2H] of token ids [B, S] with padding on either side: what TRL calls the backbone."""
        num_left = attention_mask.int().argmax(dim=1, keepdim=True)
        position = torch.arange(input_ids.shape[1])[None]
        to_right = (position + num_left) % input_ids.shape[1]
        to_left = (position - num_left) % input_ids.shape[1]
        hidden = self.encode(input_ids.gather(1, to_right))
        return BaseModelOutput(last_hidden_state=hidden.gather(1, to_left[..., None].expand(hidden.shape)))

    @torch.no_grad()
    def generate(self, input_ids: Tensor, attention_mask: Tensor, generation_config: Any, **_: Any) -> Tensor:
        """Prompts [B, P] padded on the left → with completions behind them [B, P + C], padded on the right.

        By our own sampler, which keeps keys and values; what is banned is banned here as well.
        """
        token_ids = [row[kept].tolist() for row, kept in zip(input_ids, attention_mask.bool(), strict=True)]
        prompts = [self.prompts[tuple(ids)] for ids in token_ids]
        samples = sample_completions(
            self,
            token_ids,
            banned_ids=[prompt.banned_ids for prompt in prompts],
            opening_ids=[prompt.opening_ids for prompt in prompts],
            temperature=generation_config.temperature,
            max_new_tokens=generation_config.max_new_tokens,
            seed=int(torch.randint(_MAX_SEED, ())),
        )
        completions = [torch.tensor(sample.token_ids) for sample in samples]
        padded = torch.nn.utils.rnn.pad_sequence(completions, batch_first=True, padding_value=PAD_ID)
        return torch.cat([input_ids, padded], dim=1)


def load_trl_policy(base: Path, folder: Path) -> TrlPolicy:
    """Our checkpoint `base` for TRL, which finds the same weights for its reference policy in `folder`."""
    AutoConfig.register(TrlConfig.model_type, TrlConfig, exist_ok=True)
    AutoModelForCausalLM.register(TrlConfig, TrlPolicy, exist_ok=True)
    TrlPolicy.from_pretrained(base, dtype=torch.float32, hidden_dropout_prob=0.0).save_pretrained(folder)
    policy: TrlPolicy = TrlPolicy.from_pretrained(folder, dtype=torch.float32)
    policy.leave_untrained()
    return policy


def spelled(token_ids: Sequence[int]) -> str:
    """Token ids as text of one letter each.

    TRL takes text alone, and replies were sampled token by token: their words would not always give these ids again.
    """
    return "".join(chr(_FIRST_LETTER + token_id) for token_id in token_ids)


def spelling_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """The tokenizer that reads what `spelled` writes."""
    vocabulary = {spelled([token_id]): token_id for token_id in range(vocab_size)}
    backend = BackendTokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.decoder = decoders.Fuse()
    pad, bos, eos = (spelled([token_id]) for token_id in (PAD_ID, BOS_ID, EOS_ID))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=pad, bos_token=bos, eos_token=eos, padding_side="left"
    )
