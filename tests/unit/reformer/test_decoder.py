"""Sampling: the same function as a full forward pass, one completion independent of the others."""

import math

import pytest
import torch

from model_store.contract.control_tokens import EOS_ID, NEVER_GENERATED_IDS
from tests.unit.reformer.some_ngrams import NGRAM_ROWS
from tests.unit.reformer.tiny_policy import VOCAB_SIZE, random_prompt, tiny_policy
from training.reformer.decoder import SamplingOptions, sample_completions
from training.rlhf.logprobs import completion_logprobs, pack_completions

NO_CONTROL_IDS = frozenset(range(256))


@pytest.mark.parametrize("ngram_rows", [0, NGRAM_ROWS])
def test_greedy_decoding_equals_the_argmax_of_a_full_forward_pass(ngram_rows: int) -> None:
    """Prompts of 5 to 130 tokens, completed over the chunk borders at 64 and 128, with n-gram tables and without."""
    policy = tiny_policy(ngram_rows=ngram_rows)
    prompts = [random_prompt(length, seed=length) for length in (60, 5, 130, 64, 100)]
    samples = sample_completions(
        policy, prompts, banned_ids=[NO_CONTROL_IDS] * 5, temperature=0.0, max_new_tokens=40, seed=1
    )
    for prompt, sample in zip(prompts, samples, strict=True):
        with torch.no_grad():
            logits = policy(torch.tensor([[*prompt, *sample.token_ids]])).logits[0]
        logits[:, :256] = -torch.inf
        assert tuple(logits[len(prompt) - 1 : -1].argmax(-1).tolist()) == sample.token_ids
        assert len(sample.token_ids) == 40 and not sample.ended


def test_recorded_logprobs_are_those_of_training() -> None:
    """What the sampler says about its draws is what a gradient step would compute, temperature and bans included."""
    policy = tiny_policy()
    prompts = [random_prompt(length, seed=length) for length in (50, 7, 70)]
    banned = [NEVER_GENERATED_IDS, NO_CONTROL_IDS, NEVER_GENERATED_IDS | {300}]
    samples = sample_completions(policy, prompts, banned_ids=banned, temperature=0.7, max_new_tokens=30, seed=5)
    batch = pack_completions(prompts, [sample.token_ids for sample in samples], banned, VOCAB_SIZE)
    with torch.no_grad():
        computed = completion_logprobs(policy, batch, 0.7)[batch.mask]
    recorded = torch.tensor([logprob for sample in samples for logprob in sample.logprobs])
    assert torch.allclose(computed, recorded, atol=1e-4)


def test_a_completion_does_not_depend_on_its_batch() -> None:
    """Batches of one and of eight, and neighbours that end early, give the same completions."""
    policy = tiny_policy()
    prompts = [random_prompt(3 + 11 * number, seed=number) for number in range(8)]
    banned = [NO_CONTROL_IDS - {EOS_ID}] * 8
    options: SamplingOptions = {"temperature": 1.3, "max_new_tokens": 48, "seed": 9}
    one_by_one: SamplingOptions = {**options, "batch_size": 1}
    together = sample_completions(policy, prompts, banned_ids=banned, **options)
    alone = sample_completions(policy, prompts, banned_ids=banned, **one_by_one)
    assert [sample.token_ids for sample in together] == [sample.token_ids for sample in alone]


def test_a_completion_ends_with_eos_and_says_so() -> None:
    """When every token but `<|eos|>` is banned, each completion is that token with log-probability 0."""
    (sample,) = sample_completions(
        tiny_policy(),
        [random_prompt(4, seed=1)],
        banned_ids=[frozenset(range(VOCAB_SIZE)) - {EOS_ID}],
        temperature=1.0,
        max_new_tokens=5,
        seed=1,
    )
    assert sample.token_ids == (EOS_ID,) and sample.ended and sample.logprobs == (0.0,)


def test_draws_follow_the_distribution_cut_by_top_p() -> None:
    """Over 3,000 draws the shares match the softmax, and with top-p only the nucleus is drawn."""
    policy = tiny_policy()
    prompt = random_prompt(6, seed=2)
    with torch.no_grad():
        logits = policy(torch.tensor([prompt])).logits[0, -1].masked_fill(torch.arange(VOCAB_SIZE) < 256, -torch.inf)
    probabilities = logits.softmax(-1)
    options: SamplingOptions = {"temperature": 1.0, "max_new_tokens": 1, "seed": 4, "batch_size": 3000}
    cut: SamplingOptions = {**options, "top_p": 0.5}
    prompts, banned = [prompt] * 3000, [NO_CONTROL_IDS] * 3000
    drawn = [s.token_ids[0] for s in sample_completions(policy, prompts, banned_ids=banned, **options)]
    likeliest = int(probabilities.argmax())
    share, expected = drawn.count(likeliest) / 3000, float(probabilities[likeliest])
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / 3000)
    nucleus = sample_completions(policy, prompts, banned_ids=banned, **cut)
    descending = probabilities.sort(descending=True)
    size = int((descending.values.cumsum(0) - descending.values < 0.5).sum())
    assert {s.token_ids[0] for s in nucleus} == set(descending.indices[:size].tolist())


def test_a_completion_stops_at_the_last_position() -> None:
    """A prompt of 188 of 192 positions has room for four tokens, and a fifth that nothing follows."""
    sample = sample_completions(
        tiny_policy(),
        [random_prompt(188, seed=1), random_prompt(3, seed=2)],
        banned_ids=[NO_CONTROL_IDS] * 2,
        temperature=1.0,
        max_new_tokens=30,
        seed=1,
    )
    assert [len(s.token_ids) for s in sample] == [4 + 1, 30]


def test_a_prompt_without_room_is_refused() -> None:
    """Empty prompts and prompts beyond the positions raise ValueError."""
    for prompt in ([], random_prompt(193, seed=1)):
        with pytest.raises(ValueError, match="1 to 192 tokens"):
            sample_completions(
                tiny_policy(), [prompt], banned_ids=[NO_CONTROL_IDS], temperature=1.0, max_new_tokens=2, seed=1
            )


def test_a_completion_opens_with_an_opening_and_training_computes_the_same_probability() -> None:
    """Openings come first although they are banned, and never again; a completion without one is scored by bans."""
    policy, openings = tiny_policy(), frozenset({130, 131, 140})
    prompts = [random_prompt(length, seed=length) for length in (50, 7, 70)]
    banned = [NEVER_GENERATED_IDS] * 3
    samples = sample_completions(
        policy, prompts, banned_ids=banned, opening_ids=[openings] * 3, temperature=0.7, max_new_tokens=20, seed=5
    )
    assert all(sample.token_ids[0] in openings for sample in samples)
    assert not any(openings.intersection(sample.token_ids[1:]) for sample in samples)
    completions = [sample.token_ids for sample in samples]
    batch = pack_completions(prompts, completions, banned, VOCAB_SIZE, opening_ids=[openings] * 3)
    with torch.no_grad():
        computed = completion_logprobs(policy, batch, 0.7)[batch.mask]
        unplanned = [completion[1:] for completion in completions]
        with_rule = pack_completions(prompts, unplanned, banned, VOCAB_SIZE, opening_ids=[openings] * 3)
        without = pack_completions(prompts, unplanned, banned, VOCAB_SIZE)
        pair = [completion_logprobs(policy, packed, 0.7) for packed in (with_rule, without)]
    recorded = torch.tensor([logprob for sample in samples for logprob in sample.logprobs])
    assert torch.allclose(computed, recorded, atol=1e-4)
    assert torch.equal(*pair)
