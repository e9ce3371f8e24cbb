"""Rollouts: completions sampled from the policy, with their rewards and how far they are from the reference policy."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean
from typing import Protocol

import torch
from torch import Tensor

from model_store.contract.conversation import Message
from training import distributed
from training.precision import fast_matrices
from training.reformer.decoder import Sample, sample_completions
from training.reformer.model import ReformerPolicy
from training.rlhf.estimators import kl_k1
from training.rlhf.logprobs import CompletionBatch, compare, completion_logprobs, pack_completions
from training.rlhf.rewards import RewardTerms


class RolloutPrompt(Protocol):
    """What a rollout needs of a prompt; `training.data.prompts.Prompt` is one."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation, masked; the customer's message last."""

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The rendered conversation, an assistant turn opened at the end."""

    @property
    def banned_ids(self) -> frozenset[int]:
        """Tokens that no completion may hold."""

    @property
    def opening_ids(self) -> frozenset[int]:
        """Plans that a completion must open with one of; empty for a model without plans."""

    @property
    def references(self) -> tuple[str, ...]:
        """Replies that people wrote for it; usually none."""

    @property
    def intents(self) -> frozenset[str]:
        """What was asked, where that is known for sure; empty for prompts from people."""


RewardFunction = Callable[[Sequence[RolloutPrompt], Sequence[Sample]], list[RewardTerms]]
"""Rewards of completions, one for each prompt and sample."""


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How rollouts are drawn; always from the whole distribution, so that ratios are those of the sampler."""

    temperature: float
    max_new_tokens: int


@dataclass(frozen=True)
class Rollout:
    """N completions of the policy as it was when they were sampled; n of them are this process's to learn from."""

    samples: tuple[Sample, ...]
    terms: tuple[RewardTerms, ...]
    batch: CompletionBatch
    """This process's, n rows; all of them where there is one process."""
    logprobs: Tensor
    """Of these under the policy, [n, S - 1], without a gradient."""
    kl: Tensor
    """Nats a completion against the reference, [N], of the tokens that were drawn: what a reward is penalised by."""
    expected_kl: Tensor
    """The same over all that could have been drawn in their places, [N]: what is measured, since it varies less."""
    entropy: float

    @property
    def num_tokens(self) -> int:
        """Tokens of all N completions."""
        return sum(len(sample.token_ids) for sample in self.samples)

    @property
    def rewards(self) -> Tensor:
        """Total rewards [N]."""
        return torch.tensor([terms.total for terms in self.terms])

    def figures(self) -> dict[str, float]:
        """Means that a report shows: reward and its terms, KL, entropy, length, share of proper endings."""
        by_term = {
            f"reward_{f.name}": fmean(getattr(terms, f.name) for terms in self.terms) for f in fields(RewardTerms)
        }
        return {
            "reward": float(self.rewards.mean()),
            **by_term,
            "kl": float(self.expected_kl.mean()),
            "entropy": self.entropy,
            "num_tokens": fmean(len(sample.token_ids) for sample in self.samples),
            "proper_endings": fmean(sample.ended for sample in self.samples),
        }


class Actors:
    """The policy that learns, and the frozen reference policy."""

    def __init__(self, policy: ReformerPolicy, reference: ReformerPolicy, sampling: SamplingSettings) -> None:
        """Freezes `reference`."""
        self.policy = policy
        self.reference = reference.requires_grad_(False).eval()
        self.sampling = sampling

    def collect(self, prompts: Sequence[RolloutPrompt], reward: RewardFunction, *, seed: int) -> Rollout:
        """Samples one completion a prompt and rates it. Raises TooFewRowsError with fewer prompts than processes."""
        samples = sample_completions(
            self.policy,
            [prompt.token_ids for prompt in prompts],
            banned_ids=[prompt.banned_ids for prompt in prompts],
            opening_ids=[prompt.opening_ids for prompt in prompts],
            temperature=self.sampling.temperature,
            max_new_tokens=self.sampling.max_new_tokens,
            seed=seed,
        )
        own_prompts, own_samples = distributed.own_batch(prompts), distributed.own_batch(samples)
        batch = self.pack(own_prompts, [sample.token_ids for sample in own_samples])
        with fast_matrices():  # as in training, so that ratios start at 1
            found = compare(self.policy, self.reference, batch, self.sampling.temperature)
        kl = kl_k1(found.values, found.reference_values, batch.mask)
        num_tokens = sum(len(sample.token_ids) for sample in samples)
        part = distributed.part_of_mean(int(batch.mask.sum()), num_tokens)
        return Rollout(
            samples=tuple(samples),
            terms=_rate(reward, own_prompts, own_samples, len(prompts)),
            batch=batch,
            logprobs=found.values,
            kl=torch.tensor(distributed.gather(kl.tolist(), len(prompts))),
            expected_kl=torch.tensor(distributed.gather(found.kl.tolist(), len(prompts))),
            entropy=distributed.total(found.entropy * part),
        )

    def pack(self, prompts: Sequence[RolloutPrompt], completions: Sequence[Sequence[int]]) -> CompletionBatch:
        """One batch of prompts with these completions."""
        vocab_size = int(self.policy.config.vocab_size)
        return pack_completions(
            [p.token_ids for p in prompts],
            completions,
            [p.banned_ids for p in prompts],
            vocab_size,
            opening_ids=[p.opening_ids for p in prompts],
        )

    @torch.no_grad()
    def logprobs(self, batch: CompletionBatch) -> Tensor:
        """Under the policy, [N, S - 1], without a gradient; in bf16 as in training, so that ratios start at 1."""
        with fast_matrices():
            return completion_logprobs(self.policy, batch, self.sampling.temperature)

    @torch.no_grad()
    def reference_logprobs(self, batch: CompletionBatch) -> Tensor:
        """Under the reference policy, [N, S - 1]."""
        with fast_matrices():
            return completion_logprobs(self.reference, batch, self.sampling.temperature)


def _rate(
    reward: RewardFunction, own_prompts: Sequence[RolloutPrompt], own_samples: Sequence[Sample], num_prompts: int
) -> tuple[RewardTerms, ...]:
    """The terms of all completions; each process rates its own."""
    with distributed.alone():
        own = [asdict(terms) for terms in reward(own_prompts, own_samples)]
    return tuple(RewardTerms(**terms) for terms in distributed.gather(own, num_prompts))
