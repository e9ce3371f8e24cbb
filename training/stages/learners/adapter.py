"""Adapters: few new parameters beside frozen ones, by PEFT, merged into them before anything else reads the policy.

LoRA (Hu et al. 2021) adds a product of two thin matrices, IA³ (Liu et al. 2022) scales what a matrix gives. What is
exported is a plain policy of the same shape; nothing of an adapter is served. AdaLoRA is left out: its schedule of
ranks wants hundreds of steps.
"""

import logging
from typing import Any

import torch

from training.config import PolicyConfig
from training.reformer.model import ReformerPolicy

_TARGETS = r".*(self_attention\.(query|key|value|query_key)|output\.dense|feed_forward\.dense\.dense)$"
"""Every matrix of the layers. Embeddings and head stay: they are what the policy shares with its reference."""
_FEED_FORWARD = r".*feed_forward\.dense\.dense$"

_log = logging.getLogger("training")


class Adapter:
    """What is trained of a policy: an adapter, or everything where there is none. Changes the policy in place."""

    def __init__(self, policy: ReformerPolicy, config: PolicyConfig, *, seed: int) -> None:
        """The policy computes what it did until the adapter has learned something; the same seed adds the same."""
        self.num_parameters = sum(parameter.numel() for parameter in policy.parameters())
        torch.manual_seed(seed)
        self._wrapped = None if config.adapter == "none" else _wrap(policy, config)
        self.num_trainable = sum(p.numel() for p in policy.parameters() if p.requires_grad)
        _log.info("%s of %s parameters are trained", f"{self.num_trainable:,}", f"{self.num_parameters:,}")

    def merge(self) -> None:
        """Makes the policy plain again, with what was learned inside its own matrices; does nothing without adapter."""
        if self._wrapped is not None:
            self._wrapped.merge_and_unload()
            self._wrapped = None


def _wrap(policy: ReformerPolicy, config: PolicyConfig) -> Any:
    """PEFT's handle of the policy, whose matrices now have adapters; all else is frozen."""
    from peft import IA3Config, LoraConfig, get_peft_model  # takes seconds, and most runs need none

    adapters = {
        "lora": LoraConfig(r=config.lora_rank, lora_alpha=2 * config.lora_rank, target_modules=_TARGETS),
        "ia3": IA3Config(target_modules=_TARGETS, feedforward_modules=_FEED_FORWARD),
    }
    wrapped = get_peft_model(policy, adapters[config.adapter])
    policy.eval()
    return wrapped
