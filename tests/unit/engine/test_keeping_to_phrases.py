"""Replies that keep to authors' phrases, and what is said and logged then."""

import numpy as np
import pytest

from model_store.phrases import PhraseBook
from service.engine.sampler import Sampler, SamplingState
from service.engine.types import SamplingParams

VOCAB_SIZE = 8
BOOK = PhraseBook([(7, 3, 4, 2), (7, 3, 5, 2)], VOCAB_SIZE)
LOGITS = np.log(np.array([[0.02, 0.02, 0.02, 0.1, 0.2, 0.05, 0.5, 0.09]], np.float32))


def say(length: int, book: PhraseBook | None = BOOK, **params: object) -> list[tuple[int, float]]:
    """Tokens behind the opening with the probability of being drawn, by a network that always thinks the same."""
    settings = {"opening_token_ids": frozenset({7}), "keeps_to_phrases": True, **params}
    state = SamplingState(SamplingParams(**settings), (), VOCAB_SIZE, book)  # type: ignore[arg-type]
    tokens = [Sampler().sample(LOGITS, [state])[0] for _ in range(length + 1)]
    return [(token.token_id, float(np.exp(token.sampling_logprob))) for token in tokens[1:]]


def test_a_greedy_reply_is_the_likeliest_of_the_authors_words() -> None:
    """The network's favourite, 6, is in no reply."""
    assert [token_id for token_id, _ in say(3, temperature=0.0)] == [3, 4, 2]
    assert [token_id for token_id, _ in say(3, temperature=0.0, keeps_to_phrases=False)] == [6, 6, 6]
    assert [token_id for token_id, _ in say(3, None, temperature=0.0)] == [6, 6, 6]


@pytest.mark.parametrize("seed", range(4))
def test_the_logged_probability_is_that_among_the_authors_words(seed: int) -> None:
    """Off-policy estimates divide by it: 0.2 against 0.05 behind the one word that both replies begin with."""
    (_, first), (token_id, second), _ = say(3, seed=seed)
    assert first == pytest.approx(1)
    assert second == pytest.approx({4: 0.8, 5: 0.2}[token_id], rel=1e-5)


def test_a_reply_with_a_banned_word_is_never_begun() -> None:
    """Whose second word must not be said is left out from its first word on."""
    book = PhraseBook([(7, 3, 4, 2), (7, 5, 0, 2)], VOCAB_SIZE)
    assert [token_id for token_id, _ in say(3, book, temperature=0.0, banned_token_ids=frozenset({4}))] == [5, 0, 2]
