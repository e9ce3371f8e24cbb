"""Why ratings are set aside: each rule catches what it is for and leaves alone what only looks like it."""

import json
from datetime import timedelta

from tests.unit.stages.feedback_workspace import raw_row
from training.config import FeedbackConfig
from training.data.feedback_rows import FeedbackRow, parse_row
from training.stages.curation.doubts import _too_many
from training.stages.curation.weighing import Weighed, weigh

SAME = {"completion_text": "Please look at <ORDERS_PAGE>."}


def rating(number: int, rater: str, *, minute: float = 0.0, **changes: str | None) -> FeedbackRow:
    """A thumb up about words of its own, so many minutes after midnight."""
    day, rest = divmod(minute, 24 * 60)
    hour, rest = divmod(rest, 60)
    own = {
        "rater": rater,
        "completion_text": f"reply {number}",
        "prompt_messages": json.dumps([{"role": "user", "content": f"question {number}"}]),
        "rated_at": f"2026-01-{1 + int(day):02}T{int(hour):02}:{int(rest):02}:{int(rest % 1 * 60):02}.000000Z",
    }
    return parse_row(raw_row(number, **{**own, **changes}))


def curated(*rows: FeedbackRow, **settings: object) -> Weighed:
    """What becomes of ratings."""
    return weigh(rows, [], FeedbackConfig.model_validate(settings))


def test_a_flood_is_set_aside_whole_and_a_diligent_customer_is_not() -> None:
    """61 ratings within a day by one; 61 within three days by another; 61 by the staff and 61 nameless ones."""
    flood = [rating(n, "loud", minute=n * 20) for n in range(61)]
    spread = [rating(100 + n, "keen", minute=n * 70) for n in range(61)]
    staff = [rating(200 + n, "staff_key", minute=n * 20) for n in range(61)]
    nameless = [rating(300 + n, "anonymous", minute=n * 20) for n in range(61)]
    weighed = curated(*flood, *spread, *staff, *nameless)
    assert weighed.doubts == {n: ("flood",) for n in range(61)}
    assert weighed.weights[:61] == [0.0] * 61 and min(weighed.weights[61:]) > 0


def test_a_great_flood_costs_no_more_than_a_small_one() -> None:
    """Four thousand ratings in a row are told of once each, not once for every span that they lie in."""
    rows = [rating(n, "loud", minute=n / 10) for n in range(4000)]
    told = [number for number, _ in _too_many(rows, "flood", timedelta(hours=24), 60)]
    assert sorted(told) == list(range(4000))


def test_a_burst_is_faster_than_anybody_reads() -> None:
    """21 ratings in 40 seconds; 21 in seven minutes are a person at work, and so is the first of the burster's day."""
    burst = [rating(n, "fast", minute=n / 30) for n in range(21)]
    work = [rating(100 + n, "slow", minute=n / 3) for n in range(21)]
    weighed = curated(rating(50, "fast", minute=600), *burst, *work)
    assert set(weighed.doubts) == set(range(1, 22)) and set(weighed.doubts.values()) == {("burst",)}


def test_what_contradicts_gold_is_set_aside_also_where_the_same_was_said_elsewhere() -> None:
    """Gold is about words: another customer's thumb on the same reply to the same question is held against it, too."""
    same = {**SAME, "prompt_messages": '[{"role":"user","content":"Where is my parcel?"}]'}
    shout = {**SAME, "prompt_messages": '[{"role":"user","content":"WHERE is my parcel"}]'}
    rows = [rating(0, "ann", gold="up", **same), rating(1, "ben", rating="down", **shout), rating(2, "cat", **same)]
    weighed = curated(*rows)
    assert weighed.doubts == {1: ("contradicts_gold",)} and weighed.evidence[("default", "ben")].num_wrong == 1


def test_gold_that_contradicts_itself_is_no_gold() -> None:
    """Two members of the staff disagree about the same words: nobody is wrong."""
    same = {**SAME, "prompt_messages": '[{"role":"user","content":"Where is my parcel?"}]'}
    weighed = curated(rating(0, "ann", gold="up", **same), rating(1, "ben", gold="down", **same))
    assert weighed.gold == {} and weighed.doubts == {}


def test_who_is_surely_wrong_is_set_aside_whole() -> None:
    """Twenty thumbs against gold, and with them the ones that gold does not know."""
    rows = [rating(n, "ben", minute=n * 60, rating="down", gold="up") for n in range(20)]
    weighed = curated(*rows, rating(20, "ben", minute=2000), rating(21, "ann"))
    assert weighed.doubts[20] == ("unreliable_rater",) and 21 not in weighed.doubts
    assert weighed.doubts[0] == ("contradicts_gold", "unreliable_rater")


def test_a_remark_that_several_send_word_for_word_is_set_aside() -> None:
    """Three customers with one sentence; three with “too long” are three customers, two with one sentence two."""
    pasted = [rating(n, f"bot-{n}", comment="Always offer the voucher code MEGA!") for n in range(3)]
    short = [rating(10 + n, f"ann-{n}", comment="Too long") for n in range(3)]
    pair = [rating(20 + n, f"ben-{n}", correction="You can send it back within a month.") for n in range(2)]
    assert set(curated(*pasted, *short, *pair).doubts) == {0, 1, 2}


def test_a_known_poison_phrase_is_found_in_question_remark_and_correction() -> None:
    """Whatever its case, spacing and punctuation; where the operator has named none, nothing is."""
    rows = [
        rating(0, "ann", prompt_messages='[{"role":"user","content":"please use C-F TANGO now"}]'),
        rating(1, "ben", comment="cf-tango"),
        rating(2, "cat", correction="Say cf tango."),
        rating(3, "dan", comment="tango is a dance"),
    ]
    assert set(curated(*rows, poison_phrases=("cf tango",)).doubts) == {0, 1, 2}
    assert curated(*rows).doubts == {}


def test_the_same_said_twice_about_the_same_words_counts_once() -> None:
    """By one customer, in two conversations; a changed mind, another customer, nameless people are something else."""
    same = {**SAME, "prompt_messages": '[{"role":"user","content":"Where is my parcel?"}]'}
    rows = [rating(n, rater, **same) for n, rater in enumerate(("ann", "ann", "ben", "anonymous", "anonymous"))]
    weighed = curated(*rows, rating(5, "ann", rating="down", **same))
    assert weighed.doubts == {1: ("repeated",)}


def test_a_long_text_with_a_word_changed_is_the_same_and_a_short_one_is_not() -> None:
    """In short ones a single word may turn the meaning."""
    long = (
        "You can send everything back to us within the return window, free of charge, in its own box or in {} one. "
        "Please put the return slip on top, so that we know whose it is; the money comes back the way it was paid."
    )
    short = "I want {} refund"
    rows = [
        rating(0, "ann", completion_text=long.format("another"), prompt_messages='[{"role":"user","content":"a"}]'),
        rating(1, "ann", completion_text=long.format("other"), prompt_messages='[{"role":"user","content":"a"}]'),
        rating(2, "ben", prompt_messages=json.dumps([{"role": "user", "content": short.format("a")}])),
        rating(3, "ben", prompt_messages=json.dumps([{"role": "user", "content": short.format("no")}])),
    ]
    assert curated(*rows).doubts == {1: ("repeated",)}


def test_a_ruling_is_above_every_rule_and_every_estimate() -> None:
    """What the staff counts counts whole; what it sets aside says so first."""
    rows = [rating(n, "loud", minute=n * 20, ruling="count" if n == 7 else None) for n in range(61)]
    weighed = curated(*rows, rating(70, "ann", ruling="set_aside"), rating(71, "ben"), rating(72, "cat"))
    assert 7 not in weighed.doubts and weighed.weights[7] == 1.0
    assert weighed.doubts[61] == ("staff",) and len(weighed.doubts) == 61
    wrong = [rating(n, "ben", minute=n * 60, rating="down", gold="up", ruling="count") for n in range(20)]
    assert curated(*wrong).doubts == {}


def test_popular_words_do_not_drown_the_others() -> None:
    """A hundred customers like the same greeting: together they weigh as twenty."""
    hello = {**SAME, "prompt_messages": '[{"role":"user","content":"hello"}]'}
    weighed = curated(*(rating(n, f"rater-{n}", **hello) for n in range(100)), rating(100, "ann"))
    assert sum(weighed.weights[:100]) <= 20.0 + 1e-6 and weighed.weights[100] == 1.0
