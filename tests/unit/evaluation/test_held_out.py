"""Held-out prompts: whose they are, how they are spread, and how likely a policy finds a reply."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from model_store.contract.tokenizer import Tokenizer
from tests.unit.reformer.tiny_policy import smallest_shape
from tests.unit.stages.feedback_workspace import clear_policy, make_tokenizer
from training.data.domain_pack import load_pack
from training.evaluation.figures import paired_difference, share
from training.evaluation.held_out import (
    Sampling,
    ScoredText,
    as_scored,
    authored_texts,
    gate_prompts,
    log_likelihoods,
    outside_prompts,
    sample_replies,
)
from training.evaluation.scorecard import authored_perplexity
from training.reformer.model import ReformerPolicy


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A small tokenizer."""
    return make_tokenizer(Path(tmp_path_factory.mktemp("tokenizer")) / "tokenizer.json")


@pytest.fixture(scope="module")
def policy(tokenizer: Tokenizer) -> ReformerPolicy:
    """A tiny policy."""
    shape = smallest_shape(tokenizer.vocab_size)
    return clear_policy(shape, 3)


def test_the_gate_and_the_outside_share_no_prompt_and_training_has_none_of_them() -> None:
    """A version is not shown to be better on the prompts that chose it, nor on those it learned."""
    pack = load_pack("shop")
    inside = {prompt.messages[0].content for prompt in gate_prompts(pack, 10_000)}
    outside = {prompt.messages[0].content for prompt in outside_prompts(pack, 10_000)}
    known = {ask for intent in pack.intents for ask in intent.asks}
    assert len(inside) > 300 and len(outside) > 300
    assert not inside & outside and not (inside | outside) & known


def test_prompts_are_spread_over_intents_and_languages() -> None:
    """The first 124 are one of every intent in every language; 300 are as many English as Chinese."""
    prompts = gate_prompts(load_pack("shop"), 300)
    assert len({(prompt.intent, prompt.language) for prompt in prompts[:124]}) == 124
    assert Counter(prompt.language for prompt in prompts) == {"en": 150, "zh": 150}
    assert prompts == gate_prompts(load_pack("shop"), 300)


def test_the_log_likelihood_is_that_of_a_plain_forward_pass(policy: ReformerPolicy) -> None:
    """Two texts of different length in one batch, one of them with banned tokens."""
    texts = [
        ScoredText((1, 4, 300, 5), (301, 302, 2), frozenset()),
        ScoredText((1, 4, 5), (400,), frozenset(), frozenset({401, 402})),
    ]
    expected = []
    for text in texts:
        with torch.no_grad():
            logits = policy(torch.tensor([[*text.prompt_ids, *text.completion_ids]])).logits[0].float()
        logits[:, sorted(text.banned)] = float("-inf")
        rows = logits[len(text.prompt_ids) - 1 : -1].log_softmax(-1)
        expected.append(float(rows.gather(1, torch.tensor(text.completion_ids)[:, None]).sum()))
    assert log_likelihoods(policy, texts) == pytest.approx(expected, abs=1e-4)


def test_sampled_replies_are_likely_to_who_said_them_and_hold_nothing_banned(
    policy: ReformerPolicy, tokenizer: Tokenizer
) -> None:
    """Finite under the bans; every reply belongs to its prompt, and the same seed gives the same replies."""
    prompts = gate_prompts(load_pack("shop"), 8)
    sampling = Sampling(temperature=1.0, top_p=1.0, max_new_tokens=6, seed=5)
    replies = sample_replies(policy, tokenizer, prompts, sampling)
    assert [reply.prompt for reply in replies] == prompts
    assert replies == sample_replies(policy, tokenizer, prompts, sampling)
    texts = [as_scored(reply, tokenizer) for reply in replies]
    assert all(not set(text.completion_ids) & text.banned for text in texts)
    assert all(-1000 < nats <= 0 for nats in log_likelihoods(policy, texts))


def test_perplexity_counts_the_likeliest_of_each_prompts_replies(policy: ReformerPolicy, tokenizer: Tokenizer) -> None:
    """For one prompt it is the lowest of its replies' perplexities."""
    prompt = gate_prompts(load_pack("shop"), 1)
    texts = authored_texts(prompt[0], tokenizer)
    assert len(texts) == 3
    losses = [-n / len(t.completion_ids) for n, t in zip(log_likelihoods(policy, texts), texts, strict=True)]
    expected = torch.tensor(losses).min().exp().item()
    assert authored_perplexity(policy, tokenizer, prompt) == pytest.approx(expected, rel=1e-4)


def test_a_share_and_a_paired_difference_come_with_their_bounds() -> None:
    """Wilson's interval of 8 in 10 is [0.490, 0.943]; three pairs that each gain one differ by exactly one."""
    figure = share([True] * 8 + [False] * 2)
    assert [figure.value, figure.low, figure.high] == pytest.approx([0.8, 0.490, 0.943], abs=1e-3)
    difference = paired_difference([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])
    assert (difference.value, difference.low, difference.high) == (1.0, 1.0, 1.0)
