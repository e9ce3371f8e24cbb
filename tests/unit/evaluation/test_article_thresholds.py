"""How thresholds of the article rule are chosen: shares by hand, and limits that a choice must keep."""

from dataclasses import replace

import pytest

from model_store.knowledge.search import Passage
from training.evaluation.authored.article_thresholds import MAX_QUOTED, Evidence, Read, best_choices, is_quoted
from training.evaluation.authored.help_articles import Case
from training.evaluation.dialogues.asking_back import AskingBack, PlanReading

RULES = AskingBack.load()
KNIVES = Passage("Knives", "Knives", "Knives", "We sharpen them.", "en", fit=0.2)


def read(quoting: float, sure: float, *, wanted: str | None = None, intent: str | None = None) -> Read:
    """The model is this sure of gift cards, and finds quoting this probable; what is offered is about knives."""
    case = Case("?", "en", wanted, ("Knives",), KNIVES, intent)
    return Read(case, PlanReading("gift_card", (("gift_card", sure), ("help_article", quoting))))


def evidence(questions: list[Read], asks: list[Read], num_asks: int) -> Evidence:
    """Of one language; nothing is quoted without its article."""
    return Evidence(questions, [], asks, num_questions=len(questions), num_asks=num_asks)


def test_shares_are_of_all_questions_and_all_asks() -> None:
    """Two right quotes and a wrong one of four questions; one ask of ten, in place of its right plan."""
    likely, unlikely = read(0.3, 0.4, wanted="Knives"), read(0.001, 0.9, wanted="Knives")
    found = evidence(
        [likely, likely, replace(likely, case=replace(likely.case, wanted="Keys")), unlikely],
        [read(0.3, 0.4, intent="gift_card"), read(0.001, 0.9, intent="gift_card")],
        10,
    )
    shares = found.judge(RULES)
    assert (shares.right, shares.wrong, shares.without, shares.of_asks, shares.lost) == (0.5, 0.25, 0, 0.1, 0.1)


def test_a_model_that_is_sure_of_quoting_needs_no_rule() -> None:
    """It opens with it, and is let."""
    sure = Read(read(0, 0, wanted="Knives").case, PlanReading("help_article", (("help_article", 0.9),)))
    assert is_quoted(sure, RULES) and not is_quoted(replace(sure, case=replace(sure.case, offered=None)), RULES)


def test_the_choice_quotes_what_it_can_without_bothering_who_asks_for_something_else() -> None:
    """Questions with quoting at 6 % are worth quoting until asks look the same."""
    questions = [read(0.06, 0.55, wanted="Knives")] * 4
    calm = evidence(questions, [read(0.015, 0.9, intent="gift_card")] * 10, 100)
    rule, shares = best_choices({"en": calm}, RULES)[0]
    assert shares["en"].right == 1 and shares["en"].of_asks <= MAX_QUOTED and rule.min_probability <= 0.05
    crowded = evidence(questions, [read(0.06, 0.55, intent="other")] * 10, 100)
    assert best_choices({"en": crowded}, RULES)[0][1]["en"].right == pytest.approx(0)
