"""The authored ways of going on about a matter: taught ones and held-out ones."""

import random
import re
from collections.abc import Iterator
from difflib import SequenceMatcher

import pytest

from training.data.domain_pack import load_pack
from training.data.plan_teacher.going_on import (
    GIVING,
    Wordings,
    go_on,
    held_out_wordings,
    matters_of,
    taught_wordings,
)

_LIKE = 0.8
_LANGUAGES = ("en", "zh")


def bare(text: str) -> str:
    """Without case, spaces and marks; a detail is one sign."""
    return re.sub(r"[^\w#]+", "", text.lower().replace("{detail}", "#"))


def all_of(wordings: Wordings, language: str) -> Iterator[tuple[str, str]]:
    """Kinds and wordings."""
    return ((kind, text) for kind, texts in wordings[language].items() for text in texts)


@pytest.mark.parametrize("language", _LANGUAGES)
def test_no_wording_stands_twice_and_no_taught_one_is_like_a_held_out_one(language: str) -> None:
    """Else what is measured had been learned."""
    taught = [bare(text) for _, text in all_of(taught_wordings(), language)]
    held_out = [bare(text) for _, text in all_of(held_out_wordings(), language)]
    assert len(taught) >= 250 and len(held_out) >= len(taught) // 5
    assert len({*taught, *held_out}) == len(taught) + len(held_out)
    alike = [(one, other) for one in held_out for other in taught if SequenceMatcher(None, one, other).ratio() > _LIKE]
    assert alike == []


@pytest.mark.parametrize("language", _LANGUAGES)
def test_a_wording_holds_a_detail_where_it_gives_one_and_is_of_its_language(language: str) -> None:
    """And both files have the same kinds."""
    assert taught_wordings()[language].keys() == held_out_wordings()[language].keys()
    for wordings in (taught_wordings(), held_out_wordings()):
        for kind, text in all_of(wordings, language):
            assert text.count("{detail}") == (kind == GIVING), text
            assert language == "zh" or text.isascii(), text


@pytest.mark.parametrize("language", _LANGUAGES)
def test_no_wording_is_an_ask_of_something_that_customers_go_on_about(language: str) -> None:
    """It would name a matter of its own. A bare number is gibberish only where nobody came for anything."""
    pack = load_pack("shop")
    names = sorted({intent.name for intent in pack.intents} - {"bot_unhelpful", "gibberish", "human_agent"})
    asks = {
        bare(ask): matter.name
        for matter in matters_of(pack, names)
        if matter.language == language
        for ask in matter.asks
    }
    texts = [
        bare(text) for wordings in (taught_wordings(), held_out_wordings()) for _, text in all_of(wordings, language)
    ]
    assert {text: asks[text] for text in texts if text in asks} == {}


def test_a_customer_gives_a_detail_that_his_matter_takes() -> None:
    """Or an order number, where it takes none."""
    matters = {
        (each.name, each.language): each for each in matters_of(load_pack("shop"), ["track_package", "store_hours"])
    }
    generator = random.Random(1)
    for name in ("track_package", "store_hours"):
        matter = matters[name, "en"]
        going = [go_on(matter, taught_wordings(), generator, kind=GIVING) for _ in range(30)]
        details = {detail for each in going for detail in re.findall(r"<([A-Z_]+)>", each.text)}
        assert details <= ({*matter.replies_given} or {"ORDER_ID"}) and details
        assert {each.kind for each in going} == {GIVING}
