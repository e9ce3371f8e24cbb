"""How the article rule is fitted: shares by hand, weights from evidence, and limits that a threshold must keep."""

from dataclasses import replace

import pytest

from model_store.knowledge.article_rule import QuotingWeights
from model_store.knowledge.search import Passage
from training.evaluation.authored.article_quoting import (
    Found,
    Judge,
    Read,
    choose_threshold,
    fit_out_of_fold,
    fit_weights,
)
from training.evaluation.authored.help_articles import Case
from training.evaluation.dialogues.asking_back import AskingBack, PlanReading

RULES = AskingBack.load()
KNIVES = Passage("Knives", "Knives", "Knives", "We sharpen them.", "en", fit=0.2)
EVEN = QuotingWeights.model_validate(
    {
        "made_of": "by hand",
        "bias": 3.0,
        "weights": {"fit": 0, "quoting": 1, "no_answer": 0, "other": 0},
        "quote_from": 0,
    }
)
"""Quotes what the network gives 5 %."""


def read(quoting: float, sure: float, *, wanted: str | None = None, intent: str | None = None) -> Read:
    """The model is this sure of gift cards, and finds quoting this probable; what is offered is about knives."""
    case = Case("?", "en", wanted, ("Knives",), KNIVES, intent)
    return Read(case, PlanReading("gift_card", (("gift_card", sure), ("help_article", quoting))), wanted)


def found(questions: list[Read], asks: list[Read], num_asks: int) -> Found:
    """Of one language; nothing is quoted without its article."""
    return Found(questions, [], asks, num_questions=len(questions), num_asks=num_asks)


def test_shares_are_of_all_questions_and_all_asks() -> None:
    """Two right quotes and a wrong one of four questions; one ask of ten, in place of its right plan."""
    likely, unlikely = read(0.3, 0.4, wanted="Knives"), read(0.001, 0.9, wanted="Knives")
    cases = found(
        [likely, likely, replace(likely, case=replace(likely.case, wanted="Keys")), unlikely],
        [read(0.3, 0.4, intent="gift_card"), read(0.001, 0.9, intent="gift_card")],
        10,
    )
    shares = cases.shares(Judge(RULES, EVEN, {}))
    assert (shares.right, shares.wrong, shares.without, shares.of_asks, shares.lost) == (0.5, 0.25, 0, 0.1, 0.1)
    assert not shares.is_allowed and "right 50.0%" in str(shares)


def test_a_model_that_is_sure_of_quoting_needs_no_rule() -> None:
    """It opens with it, and is let."""
    sure = Read(read(0, 0, wanted="Knives").case, PlanReading("help_article", (("help_article", 0.9),)))
    judge = Judge(RULES, EVEN.model_copy(update={"quote_from": 99}), {})
    assert judge.quotes(sure) and not judge.quotes(replace(sure, case=replace(sure.case, offered=None)))


def test_weights_follow_what_tells_right_from_wrong() -> None:
    """Where the network's own opinion does, it speaks for quoting; what is always alike counts nothing."""
    right = [read(share, 0.5, wanted="Knives") for share in (0.1, 0.2, 0.3, 0.4)] * 5
    wrong = [read(share, 0.5, intent="gift_card") for share in (0.001, 0.002, 0.01, 0.02)] * 5
    weights = fit_weights(RULES.article, right + wrong)
    assert weights.weights.quoting > 0.5 and weights.weights.fit == pytest.approx(0)
    odds = [weights.log_odds(RULES.article.evidence(each.plan, 0.2)) for each in (right[0], wrong[-1])]
    assert odds[0] > 0 > odds[1]


def test_an_articles_questions_are_judged_by_weights_that_have_not_seen_them() -> None:
    """Two articles: each is left out once, and asks are judged by all evidence."""
    questions = [read(0.3, 0.5, wanted="Knives"), replace(read(0.2, 0.5, wanted="Knives"), article="Keys")]
    judge = fit_out_of_fold(RULES, {"en": found(questions, [read(0.001, 0.9, intent="gift_card")] * 4, 4)})
    assert set(judge.by_article) == {"Knives", "Keys"}
    assert judge.by_article["Knives"] != judge.by_article["Keys"] != judge.weights


def test_the_threshold_quotes_what_it_can_without_bothering_who_asks_for_something_else() -> None:
    """Questions with quoting at 6 % are worth quoting until asks look the same."""
    questions = [read(0.06, 0.55, wanted="Knives")] * 4
    judge = Judge(RULES, EVEN, {})
    calm = found(questions, [read(0.015, 0.9, intent="gift_card")] * 10, 100)
    chosen = choose_threshold(judge, {"en": calm})
    assert chosen is not None and calm.shares(chosen).right == 1 and calm.shares(chosen).of_asks == 0
    crowded = found(questions, [read(0.06, 0.55, intent="other")] * 10, 100)
    strict = choose_threshold(judge, {"en": crowded})
    assert strict is not None and crowded.shares(strict).right == 0
    sure = Read(read(0, 0, intent="gift_card").case, PlanReading("help_article", (("help_article", 0.9),)))
    assert choose_threshold(judge, {"en": found(questions, [sure] * 10, 100)}) is None
