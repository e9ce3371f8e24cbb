"""Later messages as the intent model learns to hear them: drawn from conversations, and made."""

import re
from dataclasses import replace
from itertools import islice

import pytest

from model_store.intents.turns import SEPARATOR
from training.data.domain_pack import DomainPack, load_pack
from training.data.plan_teacher import later_messages
from training.data.plan_teacher.going_on import taught_wordings
from training.data.plan_teacher.later_messages import draw_later_messages, draw_turns_of_talk


@pytest.fixture(scope="module")
def pack() -> DomainPack:
    """The shop's."""
    return load_pack("shop")


def intents_of(pack: DomainPack) -> set[str]:
    return {intent.name for intent in pack.intents}


def made_ones(pack: DomainPack, monkeypatch: pytest.MonkeyPatch, number: int) -> list[tuple[list[str], str, str]]:
    monkeypatch.setattr(later_messages, "_GOING_ON_SHARE", 1.0)
    drawn = islice(draw_later_messages(pack, sorted(intents_of(pack)), 1), number)
    return [(text.split(SEPARATOR), language, intent) for text, language, intent in drawn]


def test_the_same_seed_draws_the_same_messages(pack: DomainPack) -> None:
    """So that a run that is taken up again reads what it would have read."""
    intents = sorted(intents_of(pack))
    first, second = (list(islice(draw_later_messages(pack, intents, 7), 40)) for _ in range(2))
    assert first == second
    assert first != list(islice(draw_later_messages(pack, intents, 8), 40))


def test_every_message_has_the_turn_before_it_and_an_intent_that_is_known(pack: DomainPack) -> None:
    """Drawn or made, of both languages."""
    messages = list(islice(draw_later_messages(pack, ["track_package", "invoice"], 3), 60))
    assert {intent for _, _, intent in messages} == {"track_package", "invoice"}
    assert {language for _, language, _ in messages} == {"en", "zh"}
    assert all(len(text.split(SEPARATOR)) == 3 for text, _, _ in messages)


def test_a_customer_who_goes_on_stays_with_what_he_came_for(pack: DomainPack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the bot has answered; the detail is one that his topic takes, or an order number where it takes none."""
    topics = {(intent.language, intent.name): replace(intent, follow_ups=()) for intent in pack.intents}
    details = 0
    fitting_any = replace(pack, intents=tuple(topics.values()))
    for (message, _, _), language, name in made_ones(fitting_any, monkeypatch, 200):
        given = [detail for detail in ("ORDER_ID", "TRACKING_ID", "EMAIL", "AMOUNT") if f"<{detail}>" in message]
        assert set(given) <= (set(topics[language, name].replies_given) or {"ORDER_ID"})
        details += bool(given)
    assert 60 < details < 140


def test_a_customer_who_comes_to_another_matter_asks_for_that(
    pack: DomainPack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The intent is that of the message, not of the exchange before it."""
    monkeypatch.setattr(later_messages, "_GOING_ON_SHARE", 0.0)
    monkeypatch.setattr(later_messages, "_CHANGING_SHARE", 1.0)
    monkeypatch.setattr(later_messages, "add_typing_noise", lambda text, language, generator: text)
    intent_of = {(intent.language, ask): intent.name for intent in pack.intents for ask in intent.asks}
    drawn = islice(draw_later_messages(pack, sorted(intents_of(pack)), 2), 100)
    known = [
        (intent_of[language, message], name, intent_of.get((language, earlier)))
        for (message, _, earlier), language, name in ((text.split(SEPARATOR), *rest) for text, *rest in drawn)
        if (language, message) in intent_of
    ]
    assert len(known) > 50
    assert all(asked == name != before for asked, name, before in known)


def test_a_pack_without_anything_to_go_on_about_has_drawn_messages_only(
    pack: DomainPack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where every message should be made; nor has it anything to go on about."""
    silent = (replace(intent, replies_given={}, later_replies=(), follow_ups=()) for intent in pack.intents)
    bare = replace(pack, intents=tuple(silent))
    assert list(draw_turns_of_talk(bare, sorted(intents_of(pack)), 1)) == []
    assert len(made_ones(bare, monkeypatch, 10)) == 10


def test_half_of_a_talks_messages_go_on_and_the_others_ask_something_else(pack: DomainPack) -> None:
    """In both languages, with the turn before; the same seed draws the same."""
    names = sorted(intents_of(pack))
    talk, again = (list(islice(draw_turns_of_talk(pack, names, 5), 300)) for _ in range(2))
    assert talk == again
    assert all(len(message.text.split(SEPARATOR)) == 3 for message in talk)
    assert 120 < sum(message.goes_on for message in talk) < 180
    taught = {bare(text) for kinds in taught_wordings().values() for texts in kinds.values() for text in texts}
    taught |= {bare(text) for intent in pack.intents for text in intent.follow_ups}
    assert all((bare(message.wording) in taught) == message.goes_on for message in talk)


def test_what_only_one_matter_s_customers_say_next_is_about_that_matter(
    pack: DomainPack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About half of what goes on; what is held out is never drawn."""
    monkeypatch.setattr(later_messages, "add_typing_noise", lambda text, language, generator: text)
    of_any = {bare(text) for kinds in taught_wordings().values() for texts in kinds.values() for text in texts}
    texts = ((intent.language, text) for intent in pack.intents for text in intent.follow_ups)
    own = {(language, text) for language, text in texts if bare(text) not in of_any}
    drawn = made_ones(pack, monkeypatch, 300)
    said = [(language, message, name) for (message, _, _), language, name in drawn if (language, message) in own]
    assert 90 < len(said) < 210
    assert all(message in pack.intent(name, language).follow_ups for language, message, name in said)
    held_out = {text for intent in pack.intents for text in intent.held_out_follow_ups}
    assert held_out and not held_out & {message for (message, _, _), _, _ in drawn}


def bare(text: str) -> str:
    """A wording without the detail that it gives."""
    return re.sub(r"<[A-Z_]+>|\{detail\}", "#", text)
