"""The opinion of another model: what it does to the choice of an opening, and what it leaves alone."""

import numpy as np
import pytest

from model_store.sampling import Opinion
from service.engine.sampler import Sampler, SamplingState
from service.engine.types import SamplingParams

LOGITS = np.log(np.array([[0.1, 0.5, 0.2, 0.2]], np.float32))
OPINION = Opinion((1, 2), (float(np.log(0.1)), float(np.log(0.9))), "f" * 64)


def sample(opinion: Opinion | None, **params: object) -> list[tuple[int, float]]:
    """The most probable tokens of the first delta with their probabilities, the chosen one first."""
    settings = {"temperature": 0.0, "opening_token_ids": frozenset({1, 2, 3}), "num_opening_logprobs": 4, **params}
    state = SamplingState(SamplingParams(opening_opinion=opinion, **settings), (), 4)  # type: ignore[arg-type]
    (token,) = Sampler().sample(LOGITS, [state])
    return [(token.token_id, np.exp(token.logprob)), *((number, np.exp(nats)) for number, nats in token.top_logprobs)]


def test_an_opinion_is_multiplied_with_what_the_network_thinks() -> None:
    """0.5 x 0.1 against 0.2 x 0.9: the second wins, and both share what they had together, 0.7."""
    assert sample(None)[0][0] == 1
    chosen, *_ = sample(OPINION)
    assert chosen == (2, pytest.approx(0.7 * 0.18 / 0.23, rel=1e-5))


def test_openings_that_it_knows_nothing_of_keep_their_probability() -> None:
    """Token 3 and what is no opening at all are as likely as before."""
    found = dict(sample(OPINION)[1:])
    assert found[3] == pytest.approx(0.2, rel=1e-5) and found[0] == pytest.approx(0.1, rel=1e-5)


def test_an_opinion_is_about_the_opening_alone() -> None:
    """The second token is drawn by the network, and so is the first one where nothing has to come first."""
    state = SamplingState(
        SamplingParams(temperature=0.0, opening_token_ids=frozenset({1, 2, 3}), opening_opinion=OPINION), (), 4
    )
    chosen = [Sampler().sample(LOGITS, [state])[0].token_id for _ in range(2)]
    assert chosen == [2, 1]
    assert sample(OPINION, opening_token_ids=frozenset())[0][0] == 1


def test_the_logged_probability_is_the_one_that_the_opening_was_drawn_with() -> None:
    """Off-policy estimates divide by it."""
    params = SamplingParams(temperature=1.0, opening_token_ids=frozenset({1, 2}), opening_opinion=OPINION)
    counts = np.zeros(4)
    logged: dict[int, float] = {}
    for seed in range(2000):
        state = SamplingState(SamplingParams(**{**_fields(params), "seed": seed}), (), 4)
        (token,) = Sampler().sample(LOGITS, [state])
        counts[token.token_id] += 1
        logged[token.token_id] = np.exp(token.sampling_logprob)
    assert logged[2] == pytest.approx(0.18 / 0.23, rel=1e-5)
    assert counts[2] / counts.sum() == pytest.approx(logged[2], abs=0.04)


def _fields(params: SamplingParams) -> dict[str, object]:
    return {name: getattr(params, name) for name in params.__slots__}
