"""The sampler against numbers worked out by hand, and what holds for any logits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service.engine.errors import NonFiniteLogitsError
from service.engine.sampler import SampledToken, Sampler, SamplingState, candidates
from service.engine.types import SamplingParams

# Probabilities 1/2, 1/4, 1/8, 1/8.
HALVES = np.log(np.array([[4.0, 2.0, 1.0, 1.0]], np.float32))


def sample(logits: NDArray[np.float32], params: SamplingParams, prompt_ids: tuple[int, ...] = ()) -> SampledToken:
    """One token of one row."""
    return Sampler().sample(logits, [SamplingState(params, prompt_ids, logits.shape[1])])[0]


def distribution(logits: list[float], params: SamplingParams, prompt_ids: tuple[int, ...] = ()) -> dict[int, float]:
    """What may be drawn and how probable it is."""
    row = np.array(logits, np.float32)
    token_ids, probabilities = candidates(SamplingState(params, prompt_ids, len(row)).processed(row), params)
    return dict(zip(token_ids.tolist(), probabilities.tolist(), strict=True))


def test_temperature_zero_takes_the_most_probable_token() -> None:
    """Its own log-probability is the model's; having been chosen was certain."""
    token = sample(HALVES, SamplingParams(temperature=0))
    assert token.token_id == 0
    assert token.logprob == pytest.approx(math.log(1 / 2), abs=1e-6)
    assert token.sampling_logprob == 0


def test_temperature_is_applied_before_the_softmax() -> None:
    """At temperature 1/2 the ratios 4 : 2 : 1 : 1 become 16 : 4 : 1 : 1."""
    found = distribution(HALVES[0].tolist(), SamplingParams(temperature=0.5))
    assert found == pytest.approx({0: 16 / 22, 1: 4 / 22, 2: 1 / 22, 3: 1 / 22}, abs=1e-6)


def test_top_k_keeps_the_best_and_renormalises() -> None:
    """Two of four: 4 : 2."""
    assert distribution(HALVES[0].tolist(), SamplingParams(top_k=2)) == pytest.approx({0: 2 / 3, 1: 1 / 3}, abs=1e-6)


def test_top_k_keeps_what_ties_with_the_last() -> None:
    """The third and the fourth are equal, so three of four are four."""
    assert set(distribution(HALVES[0].tolist(), SamplingParams(top_k=3))) == {0, 1, 2, 3}


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, {0}), (0.6, {0, 1}), (0.8, {0, 1, 2}), (0.9, {0, 1, 2, 3})])
def test_top_p_keeps_the_fewest_tokens_that_reach_the_mass(top_p: float, kept: set[int]) -> None:
    """Cumulative masses are 1/2, 3/4, 7/8 and 1; of the two equal ones the lower id comes first."""
    assert set(distribution(HALVES[0].tolist(), SamplingParams(top_p=top_p))) == kept


def test_top_p_counts_mass_after_top_k() -> None:
    """Of two kept tokens the first has 2/3, which reaches 0.6 alone; of all four it has only 1/2."""
    assert set(distribution(HALVES[0].tolist(), SamplingParams(top_k=2, top_p=0.6))) == {0}


def test_the_repetition_penalty_divides_positive_and_multiplies_negative_logits() -> None:
    """Ids 0 and 2 are in the prompt: 3 becomes 1.5, -1 becomes -2."""
    state = SamplingState(SamplingParams(repetition_penalty=2.0), (0, 2, 2), 4)
    assert state.processed(np.array([3, 2, -1, -1], np.float32)).tolist() == [1.5, 2, -2, -1]


def test_the_repetition_penalty_counts_tokens_of_the_completion() -> None:
    """A greedy completion that would repeat its first token takes the next best instead."""
    logits = np.array([[2.0, 1.5, 0.0]], np.float32)
    state = SamplingState(SamplingParams(temperature=0, repetition_penalty=2.0), (), 3)
    assert [Sampler().sample(logits, [state])[0].token_id for _ in range(2)] == [0, 1]


def test_banned_tokens_are_never_chosen_and_the_model_logprob_ignores_the_ban() -> None:
    """With the best token banned the second is certain under the sampler, and a quarter under the model."""
    token = sample(HALVES, SamplingParams(top_k=1, banned_token_ids=frozenset({0})))
    assert token.token_id == 1
    assert token.logprob == pytest.approx(math.log(1 / 4), abs=1e-6)
    assert token.sampling_logprob == pytest.approx(0)


def test_top_logprobs_are_the_models_and_best_first() -> None:
    """Bans and temperature do not show in them; ties come in order of id."""
    params = SamplingParams(temperature=0.1, num_top_logprobs=3, banned_token_ids=frozenset({0}))
    found = sample(HALVES, params).top_logprobs
    assert [token_id for token_id, _ in found] == [0, 1, 2]
    assert [logprob for _, logprob in found] == pytest.approx([math.log(p) for p in (1 / 2, 1 / 4, 1 / 8)], abs=1e-6)


def test_draws_follow_the_distribution() -> None:
    """20,000 draws from 1/2, 1/4, 1/8, 1/8: each frequency within five standard errors."""
    state = SamplingState(SamplingParams(seed=1), (), 4)
    sampler = Sampler()
    drawn = [sampler.sample(HALVES, [state])[0].token_id for _ in range(20_000)]
    frequencies = np.bincount(drawn, minlength=4) / 20_000
    assert np.abs(frequencies - [1 / 2, 1 / 4, 1 / 8, 1 / 8]).max() < 5 * math.sqrt(0.25 / 20_000)


def test_a_tiny_temperature_is_greedy_without_overflow() -> None:
    """The smallest positive number does not turn into NaN."""
    assert distribution([1.0, 3.0, 2.0], SamplingParams(temperature=5e-324, top_p=0.5)) == {1: 1.0}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_an_error(value: float) -> None:
    """A broken network is reported, not sampled from."""
    logits = np.zeros((2, 5), np.float32)
    logits[1, 3] = value
    states = [SamplingState(SamplingParams(), (), 5) for _ in range(2)]
    with pytest.raises(NonFiniteLogitsError, match=r"1 row"):
        Sampler().sample(logits, states)


def test_no_rows_give_no_tokens() -> None:
    """A step that only reads a prompt samples nothing."""
    assert Sampler().sample(np.zeros((0, 5), np.float32), []) == []


LOGITS = arrays(np.float32, 40, elements=st.floats(-60, 60, width=32))
PARAMS = st.builds(
    SamplingParams,
    temperature=st.floats(0.01, 5),
    top_p=st.floats(0.01, 1),
    top_k=st.integers(0, 50),
    repetition_penalty=st.floats(0.5, 2),
    seed=st.integers(-(2**63), 2**63 - 1),
    banned_token_ids=st.frozensets(st.integers(0, 39), max_size=39),
)


@given(LOGITS, PARAMS)
def test_what_may_be_drawn_is_a_distribution_without_banned_tokens(
    logits: NDArray[np.float32], params: SamplingParams
) -> None:
    """Probabilities are positive and sum to 1; the best token that is not banned is always among them."""
    scores = SamplingState(params, (1, 2, 3), 40).processed(logits)
    token_ids, probabilities = candidates(scores, params)
    assert len(set(token_ids.tolist())) == len(token_ids)
    assert (probabilities > 0).all()
    assert probabilities.sum() == pytest.approx(1)
    assert not set(token_ids.tolist()) & params.banned_token_ids
    # Scores closer than rounding give the same probability, and then the lower id may stay for the better one.
    assert scores[token_ids].max() == pytest.approx(scores.max(), abs=1e-9)


@given(LOGITS, st.floats(0.05, 0.99), st.floats(0.1, 3))
def test_top_p_equals_the_definition_by_sorting_everything(
    logits: NDArray[np.float32], top_p: float, temperature: float
) -> None:
    """The shortcut that sorts only what can matter keeps the same mass and the same number of tokens."""
    weights = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    probabilities = weights / weights.sum()
    order = np.argsort(-probabilities, kind="stable")
    mass_before = np.cumsum(probabilities[order]) - probabilities[order]
    expected = order[mass_before < top_p]
    found, _ = candidates(logits.astype(np.float64), SamplingParams(temperature=temperature, top_p=top_p))
    assert found.tolist() == sorted(expected.tolist())


@given(LOGITS, PARAMS)
def test_the_sampling_logprob_is_that_of_the_drawn_token(logits: NDArray[np.float32], params: SamplingParams) -> None:
    """What training uses as the propensity is what the distribution says; the same seed draws the same token."""
    state = SamplingState(params, (), 40)
    token_ids, probabilities = candidates(state.processed(logits), params)
    token = Sampler().sample(logits[None], [state])[0]
    drawn = token_ids.tolist().index(token.token_id)
    assert token.sampling_logprob == pytest.approx(math.log(probabilities[drawn]))
    assert token.logprob <= 1e-6
    assert Sampler().sample(logits[None], [SamplingState(params, (), 40)])[0] == token


def test_an_opening_comes_first_banned_or_not_and_then_bans_count_again() -> None:
    """Of openings 2 and 3 the first token is one, renormalised; the second token is any but the banned 2 and 3."""
    params = SamplingParams(opening_token_ids=frozenset({2, 3}), banned_token_ids=frozenset({2, 3}))
    state = SamplingState(params, (), 4)
    first = Sampler().sample(HALVES, [state])[0]
    assert first.token_id in (2, 3) and first.sampling_logprob == pytest.approx(math.log(1 / 2))
    assert first.logprob == pytest.approx(math.log(1 / 8), abs=1e-6)
    assert Sampler().sample(HALVES, [state])[0].token_id in (0, 1)


def test_unlikely_openings_are_never_drawn() -> None:
    """Of openings at 1/2, 1/4 and 1/8 only those with two fifths of the best's chance stay; later ones are free."""
    params = SamplingParams(opening_token_ids=frozenset({0, 1, 2}), opening_min_p=0.4)
    assert distribution(HALVES[0].tolist(), params) == pytest.approx({0: 2 / 3, 1: 1 / 3}, abs=1e-6)
    state = SamplingState(params, (), 4)
    state.append(0)
    token_ids, _ = candidates(state.processed(HALVES[0]), params)
    assert token_ids.tolist() == [0, 1, 2, 3]


def test_the_first_token_tells_its_rivals_where_openings_are_given() -> None:
    """Under the model itself, best first; the next token tells only what was asked for."""
    params = SamplingParams(temperature=0, opening_token_ids=frozenset({1}), num_opening_logprobs=2)
    state = SamplingState(params, (), 4)
    first, second = (Sampler().sample(HALVES, [state])[0] for _ in range(2))
    assert [token_id for token_id, _ in first.top_logprobs] == [0, 1] and first.token_id == 1
    assert first.top_logprobs[0][1] == pytest.approx(math.log(1 / 2), abs=1e-6)
    assert second.top_logprobs == ()
