"""The listener: whose words it hears, and which plans it speaks about."""

from types import SimpleNamespace

import numpy as np
import pytest

from model_store.contract.chat_template import render
from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from model_store.intents.intent_model import Heard, IntentModel
from model_store.intents.listener import Listener
from model_store.intents.turns import closing_sentence
from model_store.store import DEFAULT_BUNDLE


class Ear:
    """An intent model that remembers what it heard and is always of one mind."""

    def __init__(self, *intents: str, hears_turns: bool = False, embeds: bool = False) -> None:
        self.intents = intents
        self.hears_turns = hears_turns
        self.embeds = embeds
        self.digest = "e" * 64
        self.heard: list[str] = []
        self.before: list[tuple[str, ...]] = []

    def hear(self, text: str, before: tuple[str, ...] = ()) -> Heard:
        """The first intent four times as likely as all others together; an embedding that counts the words."""
        self.heard.append(text)
        self.before.append(before)
        rest = 0.2 / (len(self.intents) - 1)
        embedding = np.array([len(f"{text} {' '.join(before)}".split())], np.float32) if self.embeds else None
        return Heard(np.array([0.8, *[rest] * (len(self.intents) - 1)], np.float32), embedding)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The vocabulary that ships."""
    return Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")


def listener_of(
    tokenizer: object, *intents: str, weight: float = 1.0, hears_turns: bool = False, embeds: bool = False
) -> tuple[Listener, Ear]:
    ear = Ear(*intents, hears_turns=hears_turns, embeds=embeds)
    return Listener(ear, tokenizer, weight), ear  # type: ignore[arg-type]


def shop_intents(tokenizer: Tokenizer) -> list[str]:
    return sorted({plan.partition("/")[0] for plan in tokenizer.plans} - {"help_article"})


def test_it_hears_what_the_customer_said_last(tokenizer: Tokenizer) -> None:
    """In lower case, as the network reads it, with placeholders; beside it the turn before, and no other."""
    listener, ear = listener_of(tokenizer, *shop_intents(tokenizer))
    turns = [
        Message(Role.USER, "Hello"),
        Message(Role.ASSISTANT, "Hello!"),
        Message(Role.USER, "It never came, HELP"),
        Message(Role.ASSISTANT, "I am sorry. Which order is it?"),
        Message(Role.USER, "Where is my <ORDER_ID>?"),
    ]
    for end in (1, 3, 5):
        listener.opinion_of(render(turns[:end], tokenizer, for_completion=True).token_ids)
    assert ear.heard == ["hello", "it never came, help", "where is my <ORDER_ID>?"]
    assert ear.before == [(), ("Hello!", "hello"), ("Which order is it?", "it never came, help")]


def test_a_model_that_heeds_the_turn_before_is_asked_for_an_order_number_too(tokenizer: Tokenizer) -> None:
    """What it is about was said before, and this model hears it."""
    listener, _ = listener_of(tokenizer, *shop_intents(tokenizer), hears_turns=True)
    turns = [Message(Role.USER, "lost"), Message(Role.ASSISTANT, "Order?"), Message(Role.USER, "<ORDER_ID>")]
    assert listener.opinion_of(render(turns, tokenizer, for_completion=True).token_ids) is not None


@pytest.mark.parametrize(
    ("message", "sureness", "says"),
    [
        ("<ORDER_ID>", 0.5, "track_package"),
        ("and now?", 0.5, "track_package"),
        ("i did all that and nothing came of it", 0.5, "track_package"),
        ("i'd like to send two of them back", 0.8, "invoice"),
    ],
)
def test_a_few_words_go_on_about_what_the_customer_said_before(
    tokenizer: Tokenizer, message: str, sureness: float, says: str
) -> None:
    """An unsure opinion is settled by what came before; of a whole sentence a sure one stands as it is."""
    intents = shop_intents(tokenizer)
    listener, ear = listener_of(tokenizer, *intents, hears_turns=True)

    def hear(text: str, before: tuple[str, ...] = ()) -> Heard:
        """As sure of an invoice as said where it knows the turn before, and sure of the first message."""
        likely = {"invoice": sureness, "track_package": 0.1} if before else {"track_package": 0.9}
        return Heard(np.array([likely.get(intent, 0.001) for intent in intents], np.float32), None)

    ear.hear = hear  # type: ignore[method-assign]
    turns = [Message(Role.USER, "where is it"), Message(Role.ASSISTANT, "Well?"), Message(Role.USER, message)]
    opinion = listener.opinion_of(render(turns, tokenizer, for_completion=True).token_ids)
    assert opinion is not None
    likeliest = opinion.token_ids[int(np.argmax(opinion.logprobs))]
    assert {plan.partition("/")[0] for plan, token_id in tokenizer.plans.items() if token_id == likeliest} == {says}


def test_a_correction_is_heard_without_what_it_denies(tokenizer: Tokenizer) -> None:
    """And is not about what the customer was taken for, however few words it has."""
    intents = shop_intents(tokenizer)
    listener, ear = listener_of(tokenizer, *intents, hears_turns=True)
    likely = {"a gift card": "gift_card", "i have one": "voucher_problem"}

    def hear(text: str, before: tuple[str, ...] = ()) -> Heard:
        """Rather sure; that it goes on, very."""
        found = np.array([0.6 if intent == likely[text] else 0.001 for intent in intents], np.float32)
        return Heard(found, None, going_on=0.98)

    ear.hear = hear  # type: ignore[method-assign]
    first = [Message(Role.USER, "i have one"), Message(Role.ASSISTANT, "A voucher?")]
    turns = [*first, Message(Role.USER, "not a voucher, a gift card")]
    opinion = listener.opinion_of(render(turns, tokenizer, for_completion=True).token_ids)
    assert opinion is not None
    likeliest = opinion.token_ids[int(np.argmax(opinion.logprobs))]
    heard = {plan.partition("/")[0] for plan, token_id in tokenizer.plans.items() if token_id == likeliest}
    assert heard == {"gift_card"}


def test_a_detail_that_is_corrected_keeps_its_matter(tokenizer: Tokenizer) -> None:
    """Two words alone may sound like anything."""
    intents = shop_intents(tokenizer)
    listener, ear = listener_of(tokenizer, *intents, hears_turns=True)

    def hear(text: str, before: tuple[str, ...] = ()) -> Heard:
        """Sure of a return where it knows the turn before, and of gibberish alone."""
        likely = {"return_item": 0.75} if before else {"gibberish": 0.9, "return_item": 0.01}
        return Heard(np.array([likely.get(intent, 0.001) for intent in intents], np.float32), None, going_on=0.5)

    ear.hear = hear  # type: ignore[method-assign]
    first = [Message(Role.USER, "i want to send one back"), Message(Role.ASSISTANT, "The shirt?")]
    turns = [*first, Message(Role.USER, "not the shirt, the shoes")]
    opinion = listener.opinion_of(render(turns, tokenizer, for_completion=True).token_ids)
    assert opinion is not None
    likeliest = opinion.token_ids[int(np.argmax(opinion.logprobs))]
    heard = {plan.partition("/")[0] for plan, token_id in tokenizer.plans.items() if token_id == likeliest}
    assert heard == {"return_item"}


@pytest.mark.parametrize(
    ("going_on", "says"), [((0.98, 0.98), "track_package"), ((0.5, 0.98), "warranty"), ((0.98, 0.5), "invoice")]
)
def test_a_message_that_goes_on_is_about_what_was_said_before(
    tokenizer: Tokenizer, going_on: tuple[float, float], says: str
) -> None:
    """However sure of something else; the one before may go on as well. A coin's toss is no reason to believe it."""
    intents = shop_intents(tokenizer)
    listener, ear = listener_of(tokenizer, *intents, hears_turns=True)
    shares = {"how long will it all take": going_on[0], "and when is that to be": going_on[1]}
    likely = {
        "where is it": "track_package",
        "how long will it all take": "warranty",
        "and when is that to be": "invoice",
    }

    def hear(text: str, before: tuple[str, ...] = ()) -> Heard:
        """Sure of every message by itself."""
        found = np.array([0.9 if intent == likely[text] else 0.001 for intent in intents], np.float32)
        return Heard(found, None, going_on=shares.get(text))

    ear.hear = hear  # type: ignore[method-assign]
    turns = [
        Message(Role.USER, "where is it"),
        Message(Role.ASSISTANT, "Well?"),
        Message(Role.USER, "how long will it all take"),
        Message(Role.ASSISTANT, "A while."),
        Message(Role.USER, "and when is that to be"),
    ]
    opinion = listener.opinion_of(render(turns, tokenizer, for_completion=True).token_ids)
    assert opinion is not None
    likeliest = opinion.token_ids[int(np.argmax(opinion.logprobs))]
    assert {plan.partition("/")[0] for plan, token_id in tokenizer.plans.items() if token_id == likeliest} == {says}


@pytest.mark.parametrize("hears_turns", [True, False])
def test_a_message_is_embedded_by_itself(tokenizer: Tokenizer, hears_turns: bool) -> None:
    """A first message takes one pass; a later one another where the turn before would move it."""
    listener, ear = listener_of(tokenizer, *shop_intents(tokenizer), hears_turns=hears_turns, embeds=True)
    turns = [Message(Role.USER, "it broke"), Message(Role.ASSISTANT, "Oh?"), Message(Role.USER, "do you mend it")]
    first, later = (listener.hear(render(turns[:end], tokenizer, for_completion=True).token_ids) for end in (1, 3))
    assert first.opinion is not None and later.opinion is not None
    assert first.embedding is not None and later.embedding is not None
    assert (first.embedding[0], later.embedding[0] if hears_turns else 4) == (2, 4)
    by_itself, before_it = "do you mend it", "it broke"
    assert ear.heard[2:] == ([by_itself, before_it] if hears_turns else [])


@pytest.mark.parametrize(
    ("reply", "closing"),
    [
        ("Sorry. Is it <ORDER_ID>?", "Is it <ORDER_ID>?"),
        ("请稍等。还有别的吗？", "还有别的吗？"),
        ("no end", "no end"),
        ("…", "…"),
        ("", ""),
        ("Really?!", "Really?!"),
    ],
)
def test_of_a_reply_its_closing_sentence_counts(reply: str, closing: str) -> None:
    """Most often it is the question that the customer answers."""
    assert closing_sentence(reply) == closing


@pytest.mark.parametrize(
    ("message", "is_heard"),
    [
        ("it's <ORDER_ID>", False),
        ("单号<TRACKING_ID>", False),
        ("yes", False),
        ("no email came", True),
        ("还没收到", True),
    ],
)
def test_a_later_message_of_hardly_a_word_is_the_networks_business(
    tokenizer: Tokenizer, message: str, is_heard: bool
) -> None:
    """It is about what was said before; as a first message it is all there is."""
    listener, _ = listener_of(tokenizer, *shop_intents(tokenizer))
    turns = [Message(Role.USER, "where is my order"), Message(Role.ASSISTANT, "?"), Message(Role.USER, message)]
    assert (listener.opinion_of(render(turns, tokenizer, for_completion=True).token_ids) is not None) is is_heard
    assert listener.opinion_of(render(turns[2:], tokenizer, for_completion=True).token_ids) is not None


def test_all_plans_of_an_intent_share_its_opinion_and_others_have_none(tokenizer: Tokenizer) -> None:
    """Whether to ask for the order number first is the network's business, and so is quoting an article."""
    intents = shop_intents(tokenizer)
    listener, _ = listener_of(tokenizer, *intents)
    opinion = listener.opinion_of(render([Message(Role.USER, "hi")], tokenizer, for_completion=True).token_ids)
    assert opinion is not None
    by_id = dict(zip(opinion.token_ids, opinion.logprobs, strict=True))
    first = {by_id[token_id] for plan, token_id in tokenizer.plans.items() if plan.partition("/")[0] == intents[0]}
    assert len(first) == 1 and first.pop() == pytest.approx(np.log(0.8), abs=1e-3)
    assert tokenizer.plans["help_article"] not in by_id


def test_weight_scales_the_opinion(tokenizer: Tokenizer) -> None:
    """Half the weight, half the nats."""
    prompt = render([Message(Role.USER, "hi")], tokenizer, for_completion=True).token_ids
    whole, half = (
        listener_of(tokenizer, *shop_intents(tokenizer), weight=weight)[0].opinion_of(prompt) for weight in (1.0, 0.5)
    )
    assert whole is not None and half is not None
    assert half.logprobs == pytest.approx([value / 2 for value in whole.logprobs])


def test_the_plans_of_another_business_are_left_alone(tokenizer: Tokenizer) -> None:
    """A greeting is a greeting everywhere; one name in common is not yet the same business."""
    bank = SimpleNamespace(plans={"greeting": 40, "block_card": 41, "card_limit": 42, "new_pin": 43})
    listener, ear = listener_of(bank, *shop_intents(tokenizer))
    assert listener.opinion_of((0, 1, 2)) is None and ear.heard == []


def test_the_model_that_ships_speaks_about_the_plans_that_ship(tokenizer: Tokenizer) -> None:
    """All but the plan that quotes an article."""
    model = IntentModel.load()
    topics = {plan.partition("/")[0] for plan in tokenizer.plans}
    assert topics - set(model.intents) <= {"help_article"}
