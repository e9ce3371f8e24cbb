"""Right use of placeholders and numbers, on literals and on everything that was authored."""

import pytest

from training.data.domain_pack import load_pack
from training.evaluation.wording.placeholder_use import misuses, placeholder_figures, placeholder_table
from training.evaluation.wording.said import Said


def said(text: str, *named: str, language: str = "en") -> Said:
    """A reply in a conversation that has named these placeholders."""
    return Said(language, text, frozenset(named))


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Open <PASSWORD_PAGE> and see.", ()),
        ("Order <ORDER_ID> is at <ORDERS_PAGE>.", ()),
        ("Order <ORDER_ID_2> is at <ORDERS_PAGE>.", ("not_given",)),
        ("Write to <EMAIL>.", ("not_given",)),
        ("Open <LOGIN_PAGE>.", ("unknown",)),
        ("Open <PASSWORD_PAGE.", ("unknown",)),
        ("Open PASSWORD_PAGE.", ("unknown",)),
        ("Dear {name}, hello.", ("unknown",)),
        ("Dear [CUSTOMER_NAME], hello.", ("unknown",)),
        ("Dear <REDACTED>, hello.", ("unknown",)),
        ("It takes 3 days.", ("own_number",)),
        ("It takes three working days.", ("own_number",)),
        ("It costs twenty euros.", ("own_number",)),
        ("大约需要三到五个工作日。", ("own_number",)),
        ("You have two options.", ()),
        ("One of us will help, first or second.", ()),
        ("您可以选一个，再试一次。", ()),
        ("Order ORDER_ID costs 3.", ("unknown", "own_number")),
    ],
)
def test_what_is_wrong_is_named(text: str, kinds: tuple[str, ...]) -> None:
    """Where <ORDER_ID> was given and nothing else."""
    assert misuses(said(text, "<ORDER_ID>")) == kinds


def test_authored_replies_use_placeholders_rightly() -> None:
    """With everything given that they name, none has anything wrong; articles quote themselves."""
    entities = frozenset(f"<{name}>" for name in ("ORDER_ID", "TRACKING_ID", "EMAIL", "AMOUNT", "NAME", "DATE"))
    replies = [reply for intent in load_pack("shop").intents for reply in intent.replies]
    assert [reply for reply in replies if misuses(Said("en", reply, entities))] == []


def test_figures_count_replies_and_kinds() -> None:
    """A share for each language, with what was wrong."""
    replies = [said("Fine."), said("It takes 3 days."), said("Write to <EMAIL>."), said("好的。", language="zh")]
    figures = placeholder_figures(replies)
    assert figures["en"].right.value == pytest.approx(1 / 3) and figures["zh"].right.value == 1
    assert figures["en"].num_misuses == {"unknown": 0, "not_given": 1, "own_number": 1}
    assert [example.kinds for example in figures["en"].examples] == [("own_number",), ("not_given",)]
    assert placeholder_table(figures).splitlines()[0].endswith("of 3 replies, not given 1, own number 1")
