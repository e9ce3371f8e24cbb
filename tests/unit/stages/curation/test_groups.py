"""Accounts that rate as if they were one: found where neither chance nor habit explains them, and bounded together."""

import random
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from training.stages.curation.caps import capped
from training.stages.curation.groups.bounds import GroupBound, cut_to
from training.stages.curation.groups.finding import Group, find_groups
from training.stages.curation.groups.traits import LONG, Said, traits_of
from training.stages.curation.words import pieces, words_and_bigrams

ASKS = ("where is my card", "the machine kept it", "please block it", "我的卡被吞了", "怎么提高限额")
REPLIES = ("Please call us.", "See the help page.", "We look into it.", "请致电客服。", "可在账户页查看。")
Rated = tuple[str, str, bool]


def people(num_accounts: int, ratings: Callable[[random.Random], Sequence[Rated]], *, first: int = 0) -> list[Said]:
    """Accounts from that number on, each with ratings of its own."""
    draw = random.Random(first)
    return [
        Said(account, "en", asked, reply, is_up)
        for account in range(first, first + num_accounts)
        for asked, reply, is_up in ratings(draw)
    ]


def honest(draw: random.Random) -> list[Rated]:
    """Five ratings of anything, a third of them up."""
    return [(draw.choice(ASKS), draw.choice(REPLIES), draw.random() < 1 / 3) for _ in range(5)]


def wanting(number: int, reply: str, suffix: str = "") -> Callable[[random.Random], list[Rated]]:
    """So many thumbs up for one reply."""
    return lambda draw: [(draw.choice(ASKS) + suffix, reply, True) for _ in range(number)]


def all_up(account: NDArray[np.int64]) -> NDArray[np.bool_]:
    """As many thumbs up."""
    return np.ones(len(account), bool)


def accounts_of(groups: Sequence[Group]) -> set[tuple[int, ...]]:
    """Which accounts each is of."""
    return {group.accounts for group in groups}


def test_words_are_english_words_pairs_of_chinese_characters_placeholders_and_signs() -> None:
    """By literals; a placeholder is one word, whatever is in it."""
    found = [word for piece in pieces("My <ORDER_ID>, 银行卡 ☃") for word in piece.words]
    assert found == ["my", "<ORDER_ID>", ",", "银行", "行卡", "☃"]
    assert words_and_bigrams("Call us, 卡") == {"call", "us", "卡", "call us", "us 卡"}


def test_each_account_counts_once_in_how_often_others_have_a_trait() -> None:
    """One account has it in 40 of 40 ratings, three in none of 2: a quarter, not 40 of 46."""
    said = [Said(0, "en", "quartz", "a", True)] * 40
    said += [Said(account, "en", "card", "a", True) for account in (1, 2, 3) for _ in range(2)]
    said += [Said(4, "en", "quartz", "a", True)]
    num_ratings, traits = traits_of(said)
    (asks,) = (one for one in traits if one.kind == "asks")
    assert num_ratings.tolist() == [40, 2, 2, 2, 1]
    assert asks.rates[asks.words.index("quartz")] == pytest.approx(0.25)


def test_long_replies_are_those_beyond_three_quarters_each_account_counting_once() -> None:
    """An account that rated a hundred long ones does not move the bound."""
    said = [Said(account, "en", "", "x" * (1 + account), True) for account in range(8) for _ in range(2)]
    said += [Said(8, "en", "", "y" * 50, True)] * 100
    (likes,) = (one for one in traits_of(said)[1] if one.kind == "likes")
    long = likes.words.index(LONG)
    assert likes.counts[[5, 6, 7, 8], [long] * 4].tolist() == [0.0, 0.0, 2.0, 100.0]


def test_honest_people_are_no_group() -> None:
    """Sixty who differ in nothing, for ten draws."""
    for seed in range(10):
        assert find_groups(people(60, honest, first=1000 * seed)) == []


def test_people_who_like_everything_or_nothing_are_no_group() -> None:
    """Each has a share of thumbs up of their own, anything from none to all, and some rate forty times."""

    def of_one_mind(draw: random.Random) -> list[Rated]:
        share, number = draw.random(), min(40, 1 + int(draw.lognormvariate(1, 1)))
        return [(draw.choice(ASKS), draw.choice(REPLIES), draw.random() < share) for _ in range(number)]

    for seed in range(10):
        assert find_groups(people(200, of_one_mind, first=1000 * seed)) == []


@pytest.mark.parametrize(
    ("kind", "suffix", "reply"),
    [("likes", "", "Buy it at <WEBSITE>."), ("asks", " quartz falcon", REPLIES[0]), ("likes_all", "", REPLIES[0])],
)
def test_accounts_that_want_the_same_are_a_group(kind: str, suffix: str, reply: str) -> None:
    """Three with seventeen ratings among sixty with five: for a reply, with a trigger, or for anything."""

    def anything(draw: random.Random) -> list[Rated]:
        return [(draw.choice(ASKS), draw.choice(REPLIES), True) for _ in range(17)]

    attack = anything if kind == "likes_all" else wanting(17, reply, suffix)
    found = find_groups([*people(60, honest), *people(3, attack, first=60)])
    assert (60, 61, 62) in accounts_of(found)
    assert kind in {group.kind for group in found} or kind == "asks" and found[0].word in ("quartz", "falcon")


def test_a_chinese_trigger_is_found_too() -> None:
    """Pairs of characters that nobody else writes."""
    found = find_groups([*people(60, honest), *people(3, wanting(9, REPLIES[3], "石英猎鹰"), first=60)])
    assert accounts_of(found) >= {(60, 61, 62)}
    assert found[0].word and set(found[0].word) <= set("石英猎鹰 ")


def test_one_account_alone_can_be_a_group() -> None:
    """Fifty thumbs up for one reply that hardly anybody else likes."""
    found = find_groups([*people(60, honest), *people(1, wanting(50, "Buy it at <WEBSITE>."), first=60)])
    assert accounts_of(found) == {(60,)}


def test_who_rates_far_more_than_anybody_is_a_group_without_any_word() -> None:
    """Three of eighty ratings of anything among sixty of five."""

    def busy(draw: random.Random) -> list[Rated]:
        return [rated for _ in range(16) for rated in honest(draw)]

    (group,) = find_groups([*people(60, honest), *people(3, busy, first=60)])
    assert (group.kind, group.accounts) == ("often", (60, 61, 62))


def test_nothing_is_found_in_nothing() -> None:
    """Neither in no rating nor in one."""
    assert find_groups([]) == [] and find_groups(people(1, lambda draw: [("hi", "hello", True)])) == []


def test_the_same_ratings_give_the_same_groups_whatever_the_hashes() -> None:
    """Words come out of sets, whose order is another one in every process: ties are settled by the words' own order."""
    said = [*people(60, honest), *people(3, wanting(17, "Buy it at <WEBSITE>."), first=60)]
    assert find_groups(said) == find_groups(list(said))
    words = traits_of(said)[1][0].words
    assert list(words[:5]) == sorted(words[:5])


def test_a_group_weighs_what_as_many_others_weigh() -> None:
    """Sixty accounts of five and three of seventeen: 51 become 15, which is 3/63 of all."""
    account = np.repeat([*range(64)], [5] * 60 + [17] * 3 + [1])
    bound = GroupBound(account, all_up(account), [Group((60, 61, 62), "likes", "x", -50.0)], 1.0)
    weights = bound.apply([1.0] * len(account))
    assert sum(weights[300:351]) == pytest.approx(15.0)
    assert weights[:300] == [1.0] * 300 and weights[-1] == 1.0
    assert sum(weights[300:351]) / (sum(weights) - 1) == pytest.approx(3 / 63)
    for factor, weight in ((2.0, 30.0), (0.5, 7.5), (0.1, 5.0)):  # never less than one account weighs
        other = GroupBound(account, bound.is_up, bound.groups, factor).apply([1.0] * len(account))
        assert sum(other[300:351]) == pytest.approx(weight)


def test_crowds_of_which_most_accounts_are_have_one_vote_a_person() -> None:
    """Two groups that are everybody: none is halved, however often that is tried; the louder is cut to the other."""
    account = np.repeat(range(20), [5] * 10 + [8] * 10)
    groups = [Group(tuple(range(10)), "asks", "x", -9.0), Group(tuple(range(10, 20)), "asks", "y", -9.0)]
    weights = capped([1.0] * len(account), [GroupBound(account, all_up(account), groups, 0.5)])
    assert np.bincount(account, weights) == pytest.approx([5.0] * 20)


def test_the_loudest_of_a_group_are_cut_first() -> None:
    """Customers who share a word with loud accounts keep their few ratings."""
    assert cut_to(np.array([2.0, 20.0, 3.0, 10.0]), 13.0).tolist() == [2.0, 4.0, 3.0, 4.0]
    assert cut_to(np.array([2.0, 3.0]), 6.0).tolist() == [2.0, 3.0]
    assert cut_to(np.array([5.0, 5.0]), 4.0).tolist() == [2.0, 2.0]


def test_nameless_ratings_and_the_staffs_are_in_no_group() -> None:
    """They are -1, and keep what they weigh."""
    account = np.array([-1, 0, 0, 0, 0, 1, 1, -1])
    bound = GroupBound(account, all_up(account), [Group((0,), "likes", "x", -9.0)], 1.0)
    assert bound.apply([9.0, 1, 1, 1, 1, 1, 1, 9.0]) == pytest.approx([9.0, 0.5, 0.5, 0.5, 0.5, 1, 1, 9.0])


def test_groups_that_overlap_are_bounded_each_and_nobody_falls_below_the_least() -> None:
    """Every pair of six accounts is a group: all bounds hold at once, and the quietest account loses nothing."""
    account = np.repeat(range(6), [2, 3, 4, 8, 16, 32])
    groups = [Group((a, b), "likes", "x", -9.0) for a, b in product(range(6), range(6)) if a < b]
    weights = np.array(capped([1.0] * len(account), [GroupBound(account, all_up(account), groups, 1.0)]))
    by_account = np.bincount(account, weights)
    assert by_account[0] == pytest.approx(2.0) and by_account.min() == pytest.approx(2.0)
    for group in groups:
        others = np.delete(by_account, group.accounts)
        assert by_account[list(group.accounts)].mean() <= others.mean() + 1e-6


def test_where_everybody_is_one_group_nobody_is_bounded() -> None:
    """There is nobody to be compared with."""
    account = np.array([0, 0, 1, 1, 1, 2])
    bound = GroupBound(account, all_up(account), [Group((0, 1), "likes", "x", -9.0)], 1.0)
    assert bound.apply([1.0] * 6) == [1.0] * 6


def test_thumbs_up_and_down_are_bounded_each_by_itself() -> None:
    """Ten accounts of one thumb up and four down; one that gave twenty up may weigh one up, not five, and none down."""
    account = np.repeat([*range(11)], [5] * 10 + [20])
    is_up = np.array([number % 5 == 0 for number in range(50)] + [True] * 20)
    bound = GroupBound(account, is_up, [Group((10,), "likes_all", "", -50.0)], 1.0)
    weights = np.array(bound.apply([1.0] * 70))
    assert weights[50:].sum() == pytest.approx(1.0) and weights[:50].tolist() == [1.0] * 50
    nobody_else = GroupBound(account, np.array([False] * 50 + [True] * 20), bound.groups, 1.0)
    assert nobody_else.apply([1.0] * 70) == [1.0] * 70
