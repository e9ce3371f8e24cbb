"""Log-probabilities of completions: rows are read together by length and come back in their own places."""

import random

import torch

from tests.unit.reformer.tiny_policy import random_prompt, tiny_policy
from training.reformer.model import ReformerPolicy
from training.rlhf.logprobs import CompletionBatch, compare, completion_logprobs, pack_completions

_LENGTHS = random.Random(3).sample(range(2, 90), 40)


def _rows(policy: ReformerPolicy) -> list[CompletionBatch]:
    """Prompts of up to a third of the row, completions behind them; all rows at once first, then each by itself."""
    texts = [random_prompt(length, seed) for seed, length in enumerate(_LENGTHS)]
    starts = [max(1, length // 3) for length in _LENGTHS]
    prompts = [text[:start] for text, start in zip(texts, starts, strict=True)]
    completions = [text[start:] for text, start in zip(texts, starts, strict=True)]
    bans = [frozenset({5}) for _ in texts]
    size = int(policy.config.vocab_size)
    alone = [pack_completions([p], [c], [b], size) for p, c, b in zip(prompts, completions, bans, strict=True)]
    return [pack_completions(prompts, completions, bans, size), *alone]


def test_a_row_among_rows_of_other_lengths_has_the_log_probabilities_it_has_alone() -> None:
    """Forty rows of 2 to 89 tokens in a mixed order, gradients included."""
    policy = tiny_policy()
    together, *alone = _rows(policy)
    values = completion_logprobs(policy, together, 0.7)
    assert values.shape == together.mask.shape and not values[~together.mask].any()
    for row, batch in zip(values, alone, strict=True):
        expected = completion_logprobs(policy, batch, 0.7)[0]
        assert torch.allclose(row[: len(expected)], expected, atol=1e-4)
    values.sum().backward()
    found = policy.lm_head.decoder.weight.grad.clone()
    policy.zero_grad()
    sum(completion_logprobs(policy, batch, 0.7).sum() for batch in alone).backward()
    assert torch.allclose(found, policy.lm_head.decoder.weight.grad, rtol=1e-3, atol=1e-3)


def test_a_policy_is_no_distance_from_itself_and_some_from_another() -> None:
    """KL of every completion is 0 and its values those of the reference; an other policy is away in every row."""
    policy, other = tiny_policy(), tiny_policy()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.2)
    together = _rows(policy)[0]
    same = compare(policy, policy, together, 1.0)
    assert torch.equal(same.values, same.reference_values) and same.kl.abs().max() < 1e-6
    assert (compare(other, policy, together, 1.0).kl > 0).all()
    assert same.entropy > 0
