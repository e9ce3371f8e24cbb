"""The book of authored replies: how authors went on, and when a wording is kept to them."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model_store.contract.control_tokens import ASSISTANT_ID, BOS_ID, PLACEHOLDER_IDS, USER_ID
from model_store.phrases import MIN_SHARE, PhraseBook, keep_to
from model_store.replies import AFTER_ANY, AFTER_ITS_PLAN

VOCAB_SIZE = 12
EOS = 2
REPLIES = ((10, 4, 5, 6, EOS), (10, 4, 7, 6, EOS), (11, 8, 5, 9, EOS))


def continuations(book: PhraseBook, said: Sequence[int], banned: frozenset[int] = frozenset()) -> list[int]:
    """After these tokens."""
    place = book.open(banned)
    for token_id in said:
        place.append(token_id)
    return [int(token_id) for token_id in place.continuations]


def test_a_reply_goes_on_as_authors_went_on_behind_its_plan() -> None:
    """The same words behind another plan are another reply."""
    book = PhraseBook(REPLIES, VOCAB_SIZE)
    assert continuations(book, ()) == [10, 11]
    assert continuations(book, (10,)) == [4]
    assert continuations(book, (10, 4)) == [5, 7]
    assert continuations(book, (10, 4, 5)) == [6]
    assert continuations(book, (11, 8, 5)) == [9]
    assert continuations(book, (10, 4, 5, 6)) == [EOS]


def test_who_leaves_the_book_comes_back_where_the_longest_end_stands() -> None:
    """Behind a word that no author put there, the same word elsewhere counts, with the words before it that fit."""
    book = PhraseBook(REPLIES, VOCAB_SIZE)
    assert continuations(book, (10, 8)) == [5]
    assert continuations(book, (10, 8, 5)) == [9]
    assert continuations(book, (10, 9, 5)) == [6, 9]
    assert continuations(book, (10, 3)) == []
    assert continuations(book, (10, 3, 4)) == [5, 7]


def test_a_reply_that_could_not_be_said_to_its_end_is_not_begun() -> None:
    """Replies with a banned token are not in the book for this customer; plans, always banned, open them anyway."""
    book = PhraseBook(REPLIES, VOCAB_SIZE)
    assert continuations(book, (10, 4), frozenset({7, 10, 11})) == [5]
    assert continuations(book, (11,), frozenset({9})) == []
    assert continuations(book, (), frozenset({6, 9})) == []
    assert continuations(PhraseBook((), VOCAB_SIZE), (10,)) == []


@given(st.lists(st.integers(3, 11), max_size=8), st.frozensets(st.integers(3, 9), max_size=2))
def test_continuations_are_those_of_the_longest_end_in_any_reply(said: list[int], banned: frozenset[int]) -> None:
    """Against a search of all replies by hand; what still follows a reply from its beginning counts as the longest."""
    sayable = [reply for reply in REPLIES if banned.isdisjoint(reply[1:])]
    expected: set[int] = {reply[0] for reply in sayable}
    for length in range(len(said), 0, -1) if said else ():
        end = tuple(said[-length:])
        expected = {
            reply[start + length]
            for reply in sayable
            for start in range(len(reply) - length)
            if reply[start : start + length] == end
        }
        if expected:
            break
    assert continuations(PhraseBook(REPLIES, VOCAB_SIZE), said, banned) == sorted(expected)


def test_an_unsure_model_is_kept_to_the_authors_words_and_a_sure_one_is_not() -> None:
    """As long as they have a share of the probability worth naming; what is left keeps its proportions."""
    scores = np.log(np.array([0.6, 0.2, 0.15, 0.05]))
    kept = keep_to(np.array([1, 3]), scores)
    assert np.isneginf(kept[[0, 2]]).all() and np.array_equal(kept[[1, 3]], scores[[1, 3]])
    sure = np.log(np.array([1 - MIN_SHARE / 2, MIN_SHARE / 4, MIN_SHARE / 4, 1e-12]))
    assert keep_to(np.array([1, 3]), sure) is sure
    assert keep_to(np.array([], np.int64), scores) is scores


ORDER_ID = PLACEHOLDER_IDS["<ORDER_ID>"]
PARCEL, PERSON, THANKS = 100, 101, 102
"""Plans."""
FIRST, OTHER_FIRST, GIVEN, IN_TALK = (PARCEL, 110, EOS), (PARCEL, 111, EOS), (PARCEL, ORDER_ID, EOS), (PARCEL, 112, EOS)
LATER, OTHER_LATER = (PARCEL, 113, EOS), (PARCEL, 114, EOS)
ASKED_WHY, HANDED_OVER, WELCOME = (PERSON, 115, EOS), (PERSON, 116, EOS), (THANKS, 117, EOS)
TALK = (FIRST, OTHER_FIRST, GIVEN, IN_TALK, LATER, OTHER_LATER, ASKED_WHY, HANDED_OVER, WELCOME)
ORDER = ((3, 1), (4, AFTER_ITS_PLAN), (5, AFTER_ITS_PLAN), (7, AFTER_ANY))


def next_replies(*said: tuple[int, ...], last: tuple[int, ...] = (120,)) -> set[tuple[int, ...]]:
    """What can be said to `last`, the customer's, after the bot has `said` these; clients send them without plans."""
    prompt = [BOS_ID]
    for reply in said:
        prompt += [USER_ID, 120, ASSISTANT_ID, *reply[1:]]
    prompt += [USER_ID, *last, ASSISTANT_ID]
    book = PhraseBook(TALK, 128, ORDER)
    found = set()
    for reply in TALK:
        place, is_open = book.open((), prompt), True
        for token_id in reply:
            is_open = is_open and token_id in place.continuations
            place.append(token_id)
        found |= {reply} if is_open else set()
    return found


def test_a_first_answer_is_none_that_follows_another() -> None:
    """Neither what comes later in an author's conversation nor what is for customers who come back."""
    assert next_replies() == {FIRST, OTHER_FIRST, GIVEN, ASKED_WHY, WELCOME}


def test_who_comes_back_to_a_matter_hears_what_was_written_for_that() -> None:
    """Not the first answers again, and what an author wrote next only after the words that it was written for."""
    assert next_replies(FIRST) == {LATER, OTHER_LATER, HANDED_OVER, WELCOME}
    assert next_replies(OTHER_FIRST) == {IN_TALK, LATER, OTHER_LATER, HANDED_OVER, WELCOME}
    assert next_replies(OTHER_FIRST, WELCOME) == {LATER, OTHER_LATER, HANDED_OVER} | {WELCOME}


def test_nothing_is_said_twice_while_there_is_something_else_to_say() -> None:
    """When later ones run out, first ones that were not said; then rather once more than not at all."""
    assert next_replies(FIRST, LATER) == {OTHER_LATER, HANDED_OVER, WELCOME}
    assert next_replies(FIRST, LATER, OTHER_LATER) == {OTHER_FIRST, GIVEN, HANDED_OVER, WELCOME}
    all_said = next_replies(FIRST, LATER, OTHER_LATER, OTHER_FIRST, GIVEN, WELCOME)
    assert all_said == {FIRST, OTHER_FIRST, GIVEN, HANDED_OVER, WELCOME}


def test_a_detail_that_was_just_given_is_taken_up() -> None:
    """Only where the last message holds it."""
    assert GIVEN in next_replies(FIRST, last=(ORDER_ID,))
    assert GIVEN not in next_replies(FIRST)


def test_a_later_reply_never_leaves_the_book() -> None:
    """A network sure of other words says an author's all the same; for a first reply its certainty counts."""
    scores = np.zeros(128)
    scores[120] = 100.0
    book = PhraseBook(TALK, 128, ORDER)
    first, later = (
        book.open(()),
        book.open((), (BOS_ID, USER_ID, 120, ASSISTANT_ID, *FIRST[1:], USER_ID, 120, ASSISTANT_ID)),
    )
    for place in (first, later):
        place.append(PARCEL)
    assert int(first.keep(scores).argmax()) == 120
    assert int(later.keep(scores).argmax()) in {113, 114}
