"""The pack's files of replies that suit only some customers."""

from dataclasses import replace
from typing import Any

import pytest

from training.data.domain_pack import load_pack
from training.data.fitting.answers import parse_answers
from training.data.fitting.fitting_replies import FittingReplies, FittingReply, parse_fitting
from training.pack_lint.fitting_rules import MIN_FIRST, MIN_LATER, fitting_problems, share_spoken_to


def test_an_entry_is_read_word_for_word() -> None:
    """What existing replies suppose, and further ones."""
    entry = {
        "assume": {"Did it freeze?": ["froze", "crash & !car"], "Good question!": []},
        "say": [
            {"when": ["can you see"], "replies": ["I cannot.", "No."]},
            {"when": [], "replies": ["Then wait."], "later": True},
        ],
    }
    fitting = parse_fitting(entry)
    assert fitting.assumed == {"Did it freeze?": ("froze", "crash & !car"), "Good question!": ()}
    assert fitting.said == (
        FittingReply("I cannot.", ("can you see",)),
        FittingReply("No.", ("can you see",)),
        FittingReply("Then wait.", (), is_later=True),
    )
    assert "Then wait." not in dict(fitting.conditions())


def test_what_customers_answer_is_read_as_conditions_on_both() -> None:
    """Any of what the bot said with any of what is answered to that; without that, whatever is answered."""
    groups = [
        {"bot": ["get through", "arrive & yet"], "when": ["no|", "nope", "yes| & !day"], "replies": ["Wait.", "Try."]},
        {"bot": ["which item"], "replies": ["Look it up."]},
    ]
    assert parse_answers(groups) == tuple(
        FittingReply(
            text,
            (
                "bot: get through & no| / nope",
                "bot: get through & yes| & !day",
                "bot: arrive & bot: yet & no| / nope",
                "bot: arrive & bot: yet & yes| & !day",
            ),
        )
        for text in ("Wait.", "Try.")
    ) + (FittingReply("Look it up.", ("bot: which item",)),)
    assert parse_fitting({}).with_further(parse_answers(groups)).said == parse_answers(groups)


@pytest.mark.parametrize(
    "group",
    [
        {"when": ["no"], "replies": ["x"]},
        {"bot": [], "when": ["no"], "replies": ["x"]},
        {"bot": "which", "replies": ["x"]},
        {"bot": ["which"], "when": ["no /"], "replies": ["x"]},
        {"bot": ["which"], "later": True, "replies": ["x"]},
    ],
)
def test_an_answer_that_an_author_mistyped_is_refused(group: dict[str, Any]) -> None:
    """A reply to what the bot never said would be said to anybody."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        parse_answers([group])


def test_what_no_reply_says_cannot_be_answered() -> None:
    """A slip of the author's, or a reply that was reworded since."""
    pack = load_pack("shop")
    intent = next(each for each in pack.intents if each.language == "en")
    question = intent.replies[0].split("?")[0].split(".")[0]
    said = parse_answers([{"bot": [question, "is it purple with dots"], "when": ["no"], "replies": ["Then wait."]}])
    answering = replace(intent, fitting=FittingReplies(said=said))
    problems = [each.what for each in fitting_problems(replace(pack, intents=(answering,), flows=()))]
    assert problems == ["no reply holds 'is it purple with dots', to be answered"]


@pytest.mark.parametrize(
    "entry",
    [
        {"asume": {}},
        {"assume": {"x": "froze"}},
        {"assume": {"x": ["a & "]}},
        {"say": [{"replies": ["x"]}]},
        {"say": [{"when": ["x"], "reply": "x"}]},
        {"say": ["x"]},
    ],
)
def test_what_an_author_mistyped_is_refused(entry: dict[str, Any]) -> None:
    """Not passed over: a condition that is not read would let a reply be said to everybody."""
    with pytest.raises((KeyError, TypeError, AttributeError, ValueError)):
        parse_fitting(entry)


def test_conditions_that_leave_too_little_for_everybody_are_found() -> None:
    """A reply without one is needed for whoever says something else."""
    pack = load_pack("shop")
    intent = next(each for each in pack.intents if each.later_replies)
    assumed = dict.fromkeys((*intent.replies[MIN_FIRST - 1 :], *intent.later_replies[MIN_LATER - 1 :]), ("x",))
    scarce = replace(intent, fitting=FittingReplies(assumed))
    problems = [each.what for each in fitting_problems(replace(pack, intents=(scarce,), flows=()))]
    assert len(problems) == 2 and all("suppose nothing" in what for what in problems)
    mended = (FittingReply("One more.", ()), FittingReply("And one.", (), is_later=True))
    enough = replace(intent, fitting=FittingReplies(assumed, mended))
    assert list(fitting_problems(replace(pack, intents=(enough,), flows=()))) == []


def test_how_many_asks_are_spoken_to_is_counted() -> None:
    """Those that hold the words of a reply of their own intent, in its language."""
    pack = load_pack("shop")
    intent = next(each for each in pack.intents if each.language == "en" and len(each.development_asks) > 1)
    asks = ("what does it cost", "where is it", "how much")
    said = (FittingReply("It costs <SHIPPING_FEE>.", ("cost", "how much")), FittingReply("Anything.", ()))
    asked = replace(intent, development_asks=asks, fitting=FittingReplies(said=said))
    other = replace(intent, name="other", development_asks=("what cost",), fitting=FittingReplies())
    assert share_spoken_to(replace(pack, intents=(asked,)), "en") == pytest.approx(2 / 3)
    assert share_spoken_to(replace(pack, intents=(asked, other)), "en") == pytest.approx(2 / 4)
    assert share_spoken_to(replace(pack, intents=(other,)), "en") == 0
