"""Simulated customers: what they type is what the service takes out again, and their taste can be told."""

import random
from pathlib import Path

import pytest

from model_store.contract.entities import EntityMasker, EntityVault
from model_store.contract.facts import FactSheet
from model_store.contract.placeholders import fact_placeholder, split_masked
from training.data.domain_pack import load_pack
from training.evaluation.demo.simulated_customers import Ask, Customers, Taste, fill_entities, is_warm, with_noise
from training.evaluation.judge import pack_judge

FACTS = Path(__file__).resolve().parents[3] / "service" / "facts.yaml"
ASK = Ask("reset_password", "en", "I forgot my password")
WARM = (
    "No worries, you can set a new password at {page}: enter your e-mail address. Shall I stay with you while you try?"
)


@pytest.fixture(scope="module")
def taste() -> Taste:
    """The taste of the demo's customers, with the sample facts."""
    return Taste(pack_judge("shop"), FactSheet.load(FACTS))


def test_customers_like_a_warm_reply_that_goes_on(taste: Taste) -> None:
    """In real words, as they come from the service: the page is a link by then."""
    assert taste.likes(ASK, WARM.format(page="https://shop.example/password"))


@pytest.mark.parametrize(
    "reply",
    [
        "Request a link at https://shop.example/password.",
        "Your request has been recorded. Please wait.",
        "Happy to help! You can return the item within 30 days; please register it at https://shop.example/returns.",
        "没关系，请打开https://shop.example/password重设密码，我可以陪您一起操作。",
        "",
    ],
    ids=["brief", "mechanical", "another question", "another language", "nothing"],
)
def test_customers_dislike_other_replies(taste: Taste, reply: str) -> None:
    """Each for its own reason."""
    assert not taste.likes(ASK, reply)


def test_the_taste_is_for_the_warm_tone_in_both_languages() -> None:
    """Half of the authored warm replies please, and less than a quarter of the brief ones; the bad ones hardly ever."""
    pack = load_pack("shop")
    for language in ("en", "zh"):
        intents = [intent for intent in pack.intents if intent.language == language]
        texts = {tone: [t for i in intents for t in i.replies_by_tone[tone]] for tone in ("warm", "brief")}
        texts["bad"] = [text for intent in intents for text, _ in intent.bad_replies]
        shares = {name: sum(is_warm(t, language) for t in found) / len(found) for name, found in texts.items()}
        assert shares["warm"] > 0.45 and shares["brief"] < 0.25 and shares["bad"] < 0.05


def test_what_customers_type_has_no_placeholder_and_is_found_by_the_masker() -> None:
    """Order numbers, addresses, amounts: all but names, which need telltale words around them."""
    generator = random.Random(1)
    masked = "order <ORDER_ID> and order <ORDER_ID_2>, mail <EMAIL>, paid <AMOUNT> on <DATE>, parcel <TRACKING_ID>"
    typed = fill_entities(masked, "en", generator)
    assert not any(is_placeholder for _, is_placeholder in split_masked(typed))
    assert EntityMasker().mask(typed, EntityVault()) == masked


def test_the_same_seed_draws_the_same_asks_from_all_intents() -> None:
    """124 asks are one of every intent in every language."""
    pack = load_pack("shop")
    asks = Customers(pack, seed=3).draw(124)
    assert asks == Customers(pack, seed=3).draw(124) != Customers(pack, seed=4).draw(124)
    assert len({(ask.intent, ask.language) for ask in asks}) == 124


def test_asks_to_measure_on_are_others_than_asks_to_rate() -> None:
    """No text is in both."""
    customers = Customers(load_pack("shop"), seed=1)
    assert not {ask.text for ask in customers.draw(1000)} & {ask.text for ask in customers.held_out(300)}


def test_a_tenth_of_the_thumbs_is_noise() -> None:
    """Of 2,000 thumbs about 200 are wrong."""
    generator = random.Random(0)
    num_wrong = sum(not with_noise(True, generator, 0.1) for _ in range(2000))
    assert 150 < num_wrong < 250


def test_facts_do_not_make_a_reply_warm(taste: Taste) -> None:
    """What the operator filled in is turned back before anything is judged."""
    assert fact_placeholder("PASSWORD_PAGE") == "<PASSWORD_PAGE>"
    assert is_warm("Sorry! Open <PASSWORD_PAGE>.", "en")
    assert not is_warm("Open https://shop.example/password.", "en")
