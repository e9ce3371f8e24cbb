"""Replies that suit only some customers: by their language, and by words that their last message holds."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from model_store.contract.control_tokens import ASSISTANT_ID, BOS_ID, EOS_ID, PLACEHOLDER_IDS, USER_ID
from model_store.contract.conversation import Message, Role
from model_store.phrases import PhraseBook
from model_store.replies import CONDITIONS_NAME, MAX_TOKENS, load_conditions, save_replies
from model_store.reply_fit import ReplyFit, parse_alternative

TEXTS = {10: "Which one?", 11: "It costs nothing.", 12: "Shoes run small.", 13: "哪一件？", 14: "Never again."}
REPLIES = [(100, number, EOS_ID) for number in TEXTS]
CONDITIONS = {1: ("cost", "how much & !voucher"), 2: ("shoe", "boot|"), 4: ()}
IS_CHINESE = np.array([False, False, False, True, False])
SAID = {20: "How much is it?", 21: "what does it COST me", 22: "do you know", 23: "这双鞋多少钱", 24: "A bootleg?"}


def decode(token_ids: Sequence[int]) -> str:
    """One token a text."""
    return " ".join((TEXTS | SAID).get(int(token_id), "") for token_id in token_ids).strip()


def fit(conditions: dict[int, tuple[str, ...]] = CONDITIONS) -> ReplyFit:
    return ReplyFit(conditions, IS_CHINESE, decode)


def said(*texts: str) -> tuple[set[int], set[int]]:
    """Numbers of the replies that fit, and of those that speak to the last text."""
    fitting = fit().of_said(texts)
    return set(np.flatnonzero(fitting.fits).tolist()), set(np.flatnonzero(fitting.speaks).tolist())


@pytest.mark.parametrize(
    ("text", "speaking"),
    [
        ("what does it COST me?", {1}),
        ("How much is it", {1}),
        ("how much is it with the voucher", set()),
        ("it's a shoebox", {2}),
        ("a boot", {2}),
        ("a bootleg", set()),
        ("accost him", set()),
        ("I can't say", set()),
    ],
)
def test_a_reply_speaks_to_a_message_that_holds_its_words(text: str, speaking: set[int]) -> None:
    """At the beginning of a word, or as a whole one; all terms of one alternative and none that it must not hold."""
    assert said(text) == ({0} | speaking, speaking)


ASKED = Message(Role.ASSISTANT, "Does it get through?")


def talk(last: str, bot: Message = ASKED, before: str = "no code arrives") -> list[Message]:
    """A customer who said something, what he was told, and what he says to that."""
    return [Message(Role.USER, before), bot, Message(Role.USER, last)]


def spoken_to(conditions: dict[int, tuple[str, ...]], messages: Sequence[Message]) -> set[int]:
    """Numbers of the replies that were written for what is said last."""
    return set(np.flatnonzero(fit(conditions).of_messages(messages).speaks).tolist())


def test_a_reply_may_be_written_for_what_is_answered_to_the_bot() -> None:
    """To what it said last: words that the customer uses, or that it used before, are no question of the bot's."""
    conditions = {1: ("bot: does it get through / arrive yet & no| / nope & !idea",), 2: ("bot: get through",)}
    assert spoken_to(conditions, talk("nope")) == {1, 2}
    assert spoken_to(conditions, talk("Did it arrive yet? no")) == {2}
    assert spoken_to(conditions, talk("no idea")) == {2}
    assert spoken_to(conditions, talk("no", Message(Role.ASSISTANT, "Shall I?"))) == set()
    assert spoken_to(conditions, [*talk("yes"), Message(Role.ASSISTANT, "Fine."), Message(Role.USER, "no")]) == set()
    assert spoken_to(conditions, [Message(Role.USER, "does it get through? no")]) == set()


def test_a_reply_may_be_written_for_what_was_said_before() -> None:
    """Earlier, by the customer, and not in the same message."""
    conditions = {1: ("before: no code & how long",)}
    assert spoken_to(conditions, talk("how long does it take")) == {1}
    assert spoken_to(conditions, talk("how long until no code", before="hello")) == set()


def test_a_word_within_a_longer_message_is_no_answer() -> None:
    """The "no" of another question is not what the bot asked for; a dozen letters are an answer in any message."""
    conditions = {1: ("bot: get through & no| / nothing arrives",)}
    assert spoken_to(conditions, talk("no, sorry")) == {1}
    assert spoken_to(conditions, talk("no, how do I return the shoes")) == set()
    assert spoken_to(conditions, talk("nothing arrives on either of the phones that I have here")) == {1}


def test_words_that_a_customer_takes_back_are_none_of_his() -> None:
    """After a reply, which took him for what he denies; a first message says what it says."""
    conditions = {1: ("voucher",), 2: ("gift card",)}
    assert spoken_to(conditions, talk("not a voucher, a gift card")) == {2}
    assert spoken_to(conditions, [Message(Role.USER, "not a voucher, a gift card")]) == {1, 2}


def test_what_was_written_for_this_place_in_a_conversation_goes_first() -> None:
    """Six letters for what stands elsewhere: more than a word of the same length, less than most of a message."""
    told = fit({0: ("no|",), 1: ("bot: get through & no|",), 2: ("bot: get through",)}).of_messages(talk("no"))
    assert told.told.tolist() == [2, 8, 6, 0, 0]


def test_a_rendered_conversation_tells_what_the_bot_said() -> None:
    """The last of its replies before the customer's message; the one that is being made is none."""
    conditions = {1: ("bot: which one & !never",), 2: ("bot: shoes run & boot",), 4: ("bot: nothing",)}
    known = fit(conditions)
    heard = [BOS_ID, USER_ID, 22, ASSISTANT_ID, 11, EOS_ID, USER_ID, 21, ASSISTANT_ID, 10, EOS_ID, USER_ID, 20]
    for prompt in (heard, [*heard, ASSISTANT_ID], [*heard, ASSISTANT_ID, 12]):
        assert known.of(prompt).speaks.tolist() == [False, True, False, False, False]


def test_chinese_words_are_found_anywhere_and_apostrophes_do_not_matter() -> None:
    """There are no gaps between words, Latin ones within included; people leave apostrophes out."""
    chinese = ReplyFit({3: ("多少 钱", "app", "isn't & 好用")}, IS_CHINESE, decode)
    for text in ("这个多少钱呀", "用App可以吗", "它isnt很好用"):
        assert chinese.of_said([text]).speaks[3], text
    assert not chinese.of_said(["这个多少？钱"]).speaks[0]
    assert not chinese.of_said(["什么时候到"]).fits[[0, 1, 2, 3]].any()


def test_a_reply_that_only_some_must_not_hear_speaks_to_nobody() -> None:
    """It would drive out all those that fit anything."""
    conditions = ReplyFit({0: ("!mail & !name",), 1: ("cost",)}, IS_CHINESE, decode)
    change, told = conditions.of_said(["change it"]), conditions.of_said(["change my e-mail and name"])
    assert change.fits[0] and not change.speaks[0]
    assert not told.fits[0]


def test_the_last_message_counts_and_the_language_is_the_customers() -> None:
    """An order number has no language: the one before it tells."""
    assert said("what does it cost", "and then") == ({0}, set())
    assert said("哪里", "<ORDER_ID>") == ({3}, set())
    assert said() == ({0}, set())


def test_a_rendered_conversation_is_read_as_its_texts() -> None:
    """Turn by turn, with the bot's own left out."""
    prompt = [BOS_ID, USER_ID, 21, ASSISTANT_ID, 11, EOS_ID, USER_ID, 22, ASSISTANT_ID]
    for token_ids in (prompt, prompt[:-1]):
        assert np.array_equal(fit().of(token_ids).fits, fit().of_said([SAID[21], SAID[22]]).fits)
    assert fit().of(prompt[:3]).speaks.tolist() == [False, True, False, False, False]


def next_replies(*turns: int) -> set[int]:
    """Which texts can be said next to a customer who said the last of these; the others in turns with the bot."""
    prompt = [BOS_ID]
    for number, token_id in enumerate(turns):
        prompt += [ASSISTANT_ID, token_id, EOS_ID] if number % 2 else [USER_ID, token_id]
    place = PhraseBook(REPLIES, 128, (), fit()).open((), [*prompt, ASSISTANT_ID])
    place.append(100)
    return set(place.continuations.tolist())


def test_who_asks_for_something_hears_what_was_written_for_that() -> None:
    """And nothing that supposes what was not said; what is retired never comes."""
    assert next_replies(20) == {11}
    assert next_replies(22) == {10}
    assert next_replies(24) == {10}


@pytest.mark.parametrize(
    ("narrow", "broad", "expected"),
    [("how much & it", "how", {10}), ("how much", "much & it", {10, 11}), ("much", "lost", {10})],
)
def test_what_was_written_for_most_of_a_message_goes_before_what_was_for_little(
    narrow: str, broad: str, expected: set[int]
) -> None:
    """While it is unsaid, and unless both were written for nearly as much."""
    book = PhraseBook(REPLIES[:2], 128, (), ReplyFit({0: (narrow, "is"), 1: (broad,)}, IS_CHINESE[:2], decode))
    place = book.open((), [BOS_ID, USER_ID, 20, ASSISTANT_ID])
    place.append(100)
    assert set(place.continuations.tolist()) == expected
    again = book.open((), [BOS_ID, USER_ID, 20, ASSISTANT_ID, 10, EOS_ID, USER_ID, 20, ASSISTANT_ID])
    again.append(100)
    assert set(again.continuations.tolist()) == ({10} if broad == "lost" else {11})


def test_a_han_character_tells_as_much_as_two_letters() -> None:
    """And several alternatives count as the one that tells most."""
    chinese = ReplyFit({3: ("多少 钱", "鞋")}, IS_CHINESE, decode)
    assert chinese.of_said(["这双鞋多少钱"]).told.tolist() == [0, 0, 0, 6, 0]
    assert fit().of_said(["How much does it cost"]).told.tolist() == [0, 7, 0, 0, 0]


def test_what_was_said_is_not_said_again_where_something_else_fits() -> None:
    """Where all that fits has been said, rather that once more than what is beside the point."""
    assert next_replies(20, 11, 21) == {10}
    assert next_replies(22, 10, 22) == {10}


def test_a_plan_without_a_reply_that_fits_says_another() -> None:
    """What is retired only where there is nothing else."""
    for conditions, expected in (
        ({0: ("zebra",), 1: ("yak",), 2: ()}, {10, 11}),
        ({0: (), 1: (), 2: ()}, {10, 11, 12}),
    ):
        three = ReplyFit(conditions, IS_CHINESE[:3], decode)
        book = PhraseBook(REPLIES[:3], 128, (), three)
        place = book.open((), [BOS_ID, USER_ID, 22, ASSISTANT_ID])
        place.append(100)
        assert set(place.continuations.tolist()) == expected
    assert next_replies(23) == {13}


def test_a_reply_that_names_a_detail_speaks_to_who_just_gave_it() -> None:
    """It goes before those that would ask for it, unless it supposes something else."""
    order_id = PLACEHOLDER_IDS["<ORDER_ID>"]
    replies = [(100, 10, EOS_ID), (100, order_id, EOS_ID), (100, 11, order_id, EOS_ID)]
    book = PhraseBook(replies, 1024, (), ReplyFit({2: ("cost",)}, IS_CHINESE[:3], decode))
    for said, expected in ((22, {10, order_id}), (order_id, {order_id})):
        place = book.open((), [BOS_ID, USER_ID, said, ASSISTANT_ID])
        place.append(100)
        assert set(place.continuations.tolist()) == expected


def test_nobody_is_asked_for_a_detail_where_a_reply_answers_at_once() -> None:
    """Unless asking, too, was written for what he says; who must be asked, by a shop's rule, is asked in its words."""
    replies = [(100, 10, EOS_ID), (100, 11, EOS_ID), (101, 12, EOS_ID)]
    openings = np.array([99, 100, 101])
    for conditions, said, left in (
        ({1: ("cost",)}, 21, [99, 100]),
        ({1: ("cost",)}, 22, [99, 100, 101]),
        ({1: ("cost",), 2: ("what",)}, 21, [99, 100, 101]),
    ):
        book = PhraseBook(replies, 128, (), ReplyFit(conditions, IS_CHINESE[:3], decode), {101: 100})
        place = book.open((), [BOS_ID, USER_ID, said, ASSISTANT_ID])
        assert place.open_ones(openings).tolist() == left
        assert place.open_ones(openings[2:]).tolist() == [101]
        place.append(101)
        assert place.continuations.tolist() == [12]


def test_a_reply_for_some_customers_never_leaves_the_book() -> None:
    """No network has learned it, so it would be sure of something else."""
    place = PhraseBook(REPLIES, 128, (), fit()).open((), [BOS_ID, USER_ID, 20, ASSISTANT_ID])
    place.append(100)
    scores = np.full(128, -100.0)
    scores[10] = 100.0
    assert int(place.keep(scores).argmax()) == 11


@pytest.mark.parametrize("text", ["", "a & ", "!", " | ", "?"])
def test_a_condition_with_an_empty_term_is_refused(text: str) -> None:
    """It would hold for every message."""
    with pytest.raises(ValueError, match="empty"):
        parse_alternative(text)


def test_conditions_are_kept_beside_their_replies(tmp_path: Path) -> None:
    """By the numbers that the replies have in the file."""
    save_replies(tmp_path, [REPLIES[0], (7,) * MAX_TOKENS, *REPLIES[1:]], (), {2: ("cost",), 1: ("lost",), 3: ()})
    assert load_conditions(tmp_path, 5) == {1: ("cost",), 2: ()}
    assert load_conditions(tmp_path / "nothing", 5) == {}


@pytest.mark.parametrize("content", [{"5": ["x"]}, {"-1": []}, {"a": []}, [1], {"0": "x"}])
def test_a_file_that_is_none_of_conditions_is_refused(tmp_path: Path, content: object) -> None:
    """By name; a bundle's files are not to be trusted."""
    (tmp_path / CONDITIONS_NAME).write_bytes(gzip.compress(json.dumps(content).encode()))
    with pytest.raises(ValueError, match=CONDITIONS_NAME):
        load_conditions(tmp_path, 5)


def test_a_file_that_grows_beyond_all_bounds_is_refused(tmp_path: Path) -> None:
    """Some kilobytes can hold a gigabyte; what is no compressed file is refused as well."""
    path = tmp_path / CONDITIONS_NAME
    for content in (gzip.compress(b'{"0": ["x"]}' + b" " * 7_000_000), b"{}", gzip.compress(b"{}")[:-6], b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=CONDITIONS_NAME):
            load_conditions(tmp_path, 5)
