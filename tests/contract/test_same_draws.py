"""Training draws as the service does: two samplers, one distribution."""

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from model_store.contract.control_tokens import BOS_ID, USER_ID
from model_store.phrases import PhraseBook, keep_to
from model_store.reply_fit import ReplyFit
from model_store.sampling import DEFAULT_TEMPERATURE, DEFAULT_TOP_P, OPENING_MIN_P, Opinion
from service.engine.sampler import SamplingState, candidates
from service.engine.types import SamplingParams
from training.evaluation.held_out import Sampling
from training.reformer.decoder import (
    BANNED_LOGIT,
    banned_mask,
    drawing_distribution,
    heard_openings,
    left_open,
    not_opening_mask,
    opening_distribution,
)
from training.reformer.model import ReformerPolicy

VOCAB_SIZE = 400
OPENINGS = frozenset(range(128, 228))
BANNED = frozenset(range(256))


def served(logits: torch.Tensor, params: SamplingParams, number: int) -> np.ndarray:
    """The service's distribution of a completion's first token (`number` 0) or of a later one, [V]."""
    state = SamplingState(params, (), VOCAB_SIZE)
    if number:
        state.append(130)
    token_ids, probabilities = candidates(state.processed(logits.numpy()), params)
    return np.bincount(token_ids, probabilities, VOCAB_SIZE)


@pytest.mark.parametrize("spread", [0.5, 2.0, 6.0])
@pytest.mark.parametrize("number", [0, 1])
def test_training_draws_from_the_services_distribution(spread: float, number: int) -> None:
    """Flat and peaked logits, the plan and a word: every probability is the same to six digits."""
    logits = spread * torch.randn(VOCAB_SIZE, generator=torch.Generator().manual_seed(number))
    params = SamplingParams(
        temperature=DEFAULT_TEMPERATURE,
        top_p=DEFAULT_TOP_P,
        banned_token_ids=BANNED,
        opening_token_ids=OPENINGS,
        opening_min_p=OPENING_MIN_P,
    )
    banned = banned_mask([BANNED], VOCAB_SIZE)
    masked = logits[None].masked_fill(banned if number else not_opening_mask([OPENINGS], banned), BANNED_LOGIT)
    options = {"temperature": DEFAULT_TEMPERATURE, "top_p": DEFAULT_TOP_P}
    ours = drawing_distribution(masked, **options)
    if number == 0:
        ours = opening_distribution(masked, **options, min_p=OPENING_MIN_P)
    assert np.allclose(ours[0].numpy(), served(logits, params, number), atol=1e-6)


def test_both_keep_to_the_authors_phrases() -> None:
    """Behind each token of a reply, training's logits after the book are the service's."""
    book = PhraseBook([(130, 300, 301, 302, 2), (130, 300, 305, 2), (131, 299, 301, 2)], VOCAB_SIZE)
    params = SamplingParams(banned_token_ids=frozenset({131}), opening_token_ids=OPENINGS, keeps_to_phrases=True)
    state = SamplingState(params, (), VOCAB_SIZE, book)
    place = book.open(params.banned_token_ids)
    for number, token_id in enumerate((130, 300, 399, 301)):
        state.append(token_id)
        place.append(token_id)
        logits = torch.randn(VOCAB_SIZE, generator=torch.Generator().manual_seed(number))
        masked = logits[None].masked_fill(banned_mask([frozenset({131})], VOCAB_SIZE), BANNED_LOGIT)
        ours = torch.from_numpy(keep_to(place.continuations, masked[0].numpy())).softmax(-1).numpy()
        theirs = np.bincount(*candidates(state.processed(logits.numpy()), params), VOCAB_SIZE)
        assert np.allclose(ours, theirs, atol=1e-6)
        assert np.count_nonzero(theirs) == (1, 2, VOCAB_SIZE - 1, 2)[number]


def test_both_leave_out_plans_that_the_phrases_close() -> None:
    """Who asks for what a reply was written for is asked for no detail, by the service or in training."""
    told = ReplyFit({0: ("cost",)}, np.zeros(2, np.bool_), lambda token_ids: "what does it cost")
    book = PhraseBook([(128, 300, 2), (129, 301, 2)], VOCAB_SIZE, (), told, {129: 128})
    prompt = [BOS_ID, USER_ID, 303]
    params = SamplingParams(opening_token_ids=frozenset({128, 129}), keeps_to_phrases=True, temperature=1.0, top_p=1.0)
    state = SamplingState(params, prompt, VOCAB_SIZE, book)
    theirs = np.isfinite(state.processed(np.zeros(VOCAB_SIZE, np.float32)))
    left = left_open(book.open((), prompt), params.opening_token_ids)
    ours = ~not_opening_mask([left], banned_mask([frozenset()], VOCAB_SIZE))[0].numpy()
    assert np.flatnonzero(theirs).tolist() == np.flatnonzero(ours).tolist() == [128]


class _SameOpinion:
    """A listener that thinks one thing whatever is said."""

    def opinion_of(self, prompt_ids: Sequence[int]) -> Opinion:
        """The first two openings, the second nine times as likely."""
        return Opinion((128, 129), (math.log(0.1), math.log(0.9)), "f" * 64)


def test_an_opinion_weighs_the_same_in_both() -> None:
    """The opening's distribution with the intent model's say, to six digits."""
    logits = torch.randn(VOCAB_SIZE, generator=torch.Generator().manual_seed(2))
    listener = _SameOpinion()
    params = SamplingParams(opening_token_ids=OPENINGS, opening_opinion=listener.opinion_of(()))
    state = SamplingState(params, (), VOCAB_SIZE)
    theirs = candidates(state.processed(state.heard(logits.numpy())), params)
    heard = heard_openings(cast(ReformerPolicy, SimpleNamespace(listener=listener)), [()], logits[None])
    masked = heard.masked_fill(not_opening_mask([OPENINGS], banned_mask([BANNED], VOCAB_SIZE)), BANNED_LOGIT)
    ours = opening_distribution(masked, temperature=1.0, top_p=1.0, min_p=0.0)
    assert np.allclose(ours[0].numpy(), np.bincount(*theirs, VOCAB_SIZE), atol=1e-6)
    assert not torch.allclose(heard, logits[None])


def test_policies_are_measured_as_they_are_served() -> None:
    """Who does not say how replies are drawn gets the service's way."""
    sampling = Sampling()
    drawn = (sampling.temperature, sampling.top_p, sampling.opening_min_p)
    assert drawn == (DEFAULT_TEMPERATURE, DEFAULT_TOP_P, OPENING_MIN_P)
