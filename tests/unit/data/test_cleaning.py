"""Cleaning: what is left of real dialogues before a model reads them."""

import gzip
import json
from pathlib import Path

import pytest

from model_store.contract.conversation import Message, Role
from model_store.contract.entities import EntityMasker
from training.data.cleaning.claims import (
    CLAIMS_FILE,
    ENTITY,
    FIGURE,
    claims_in_words,
    load_claim_patterns,
    unsaid_values,
)
from training.data.cleaning.exchanges import MAX_REPLY_CHARS, MAX_SAME_REPLY, RepetitionFilter, clean_conversation
from training.data.cleaning.missed_answers import misses_the_question
from training.data.cleaning.wording import reply_sentences
from training.data.corpora import load_corpus


def stretches(*turns: str, is_shop: bool = True) -> list[list[str]]:
    """What is left of turns, the customer's first."""
    roles = ("user", "agent")
    given = [{"role": roles[number % 2], "text": text} for number, text in enumerate(turns)]
    cleaned = clean_conversation(given, EntityMasker(), is_shop=is_shop)
    return [[message.content for message in messages] for messages in cleaned]


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("I have initiated a full refund.", "action"),
        ("We've already forwarded it.", "action"),
        ("I am checking the order details now.", "action"),
        ("Please allow me a moment.", "action"),
        ("我已经为您取消了。", "action"),
        ("I will escalate this to our senior team.", "promise"),
        ("Our team will contact you.", "promise"),
        ("You will receive a confirmation.", "promise"),
        ("We can offer you a voucher.", "promise"),
        ("Shall I book it?", "promise"),
        ("稍后会联系您。", "promise"),
        ("Your parcel has been delivered.", "status"),
        ("It is currently out of stock.", "status"),
        ("There is no room available.", "record"),
        ("They recall handing it over.", "record"),
        ("We understand and will ensure that it fits.", "promise"),
        ("I can see that it left the warehouse.", "record"),
        ("According to our records it left.", "record"),
        ("It takes two weeks.", "time"),
        ("The estimated delivery date remains the same.", "status"),
        ("Expect it by tomorrow.", "time"),
        ("May I have your PIN?", "secret"),
        ("Please share your password.", "secret"),
    ],
)
def test_claims_are_known_by_their_kind(sentence: str, kind: str) -> None:
    """A sentence that claims what a bot without hands or records cannot know is found, whatever else it is."""
    assert kind in claims_in_words(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "I understand your frustration.",
        "I'm sorry to hear that.",
        "Could you please provide your order number?",
        "You can track your order in your account.",
        "If your order has been shipped, it can no longer be changed.",
        "I'd be happy to help you with that.",
        "Is there anything else I can do for you?",
        "Let me know if you need anything else.",
        "Please contact our support team, who are happy to help.",
        "Allow me to explain.",
        "To reset your password, open the account page.",
        "请问还有什么可以帮您？",
    ],
)
def test_what_a_bot_can_say_is_no_claim(sentence: str) -> None:
    """Sympathy, questions, directions and conditions stay."""
    assert claims_in_words(sentence) == ()


def test_every_kind_of_claim_has_patterns() -> None:
    """The file holds the kinds that the tests above know, and one for code and one for directions to actors."""
    kinds = {pattern.kind for pattern in load_claim_patterns(CLAIMS_FILE)}
    assert kinds == {"action", "promise", "status", "record", "time", "secret", "stage", "code"}


def test_values_are_the_customers_or_made_up() -> None:
    """A placeholder or a number is backed where the customer has said it, and nowhere else."""
    assert unsaid_values("Is it order <ORDER_ID> for 2 people?", "<ORDER_ID>, we are 2") == ()
    assert unsaid_values("Is it order <ORDER_ID_2>?", "<ORDER_ID>") == (ENTITY,)
    assert unsaid_values("It has a 4.5 rating; call <SUPPORT_PHONE>.", "4, 5") == (FIGURE,)


@pytest.mark.parametrize(
    ("raw", "sentences"),
    [
        ("1. Log in to {{Website URL}}.\n2. Open **Orders**.", ["Log in to <WEBSITE>.", "Open Orders."]),
        ("Thank you for contacting Amazon India.", ["Thank you for contacting <BRAND>."]),
        ("See {{My Account}} or {{Profile}}.", ["See <ACCOUNT_PAGE>."]),
        ("Order {{Order ID Anonymized}} it is.", ["Order <ORDER_ID> it is."]),
        ("See {{12/x}}. See {{%%}}. Bye.", ["See 12/x.", "Bye."]),
        ("Mail help@shop.example or call (123) 456-7890.", ["Mail <SUPPORT_EMAIL> or call <SUPPORT_PHONE>."]),
        ("A refund takes 5-7 business days.", ["A refund takes <REFUND_TIME>."]),
        ("We are available 24/7.", ["We are available <SUPPORT_HOURS>."]),
        ("Ask Mr. Smith for it. Thanks", ["Ask Mr. Smith for it.", "Thanks"]),
        ("Certainly, sir. Sir/Madam, I understand. Thanks, Ms. Verma!", ["Certainly.", "I understand.", "Thanks!"]),
        ("好的。再见！", ["好的。", "再见！"]),
    ],
)
def test_replies_become_sentences_with_placeholders(raw: str, sentences: list[str]) -> None:
    """Templates, brands, contacts and lengths of time become the shop's facts, lists become sentences."""
    assert reply_sentences(raw) == sentences


def test_contacts_of_other_trades_are_not_the_shops() -> None:
    """A restaurant's address is dropped with its sentence, not turned into the shop's."""
    turns = ("How can I reach them?", "Write to eat@bistro.example. Anything else?")
    assert stretches(*turns, is_shop=False) == [[turns[0], "Anything else?"]]
    assert stretches(*turns) == [[turns[0], "Write to <SUPPORT_EMAIL>. Anything else?"]]


def test_a_conversation_is_masked_and_joined() -> None:
    """One speaker's consecutive turns become one message, and an entity keeps its placeholder."""
    turns = [
        {"role": "user", "text": "Order 77001234 is late."},
        {"role": "user", "text": "Hello?"},
        {"role": "agent", "text": "Is it order 77001234? I have sent order 88001234."},
        {"role": "user", "text": "Yes, not 99001234."},
        {"role": "agent", "text": "Thank you, so not 99001234."},
    ]
    (messages,) = clean_conversation(turns, EntityMasker())
    assert messages == (
        Message(Role.USER, "Order <ORDER_ID> is late. Hello?"),
        Message(Role.ASSISTANT, "Is it order <ORDER_ID>?"),
        Message(Role.USER, "Yes, not <ORDER_ID_2>."),
        Message(Role.ASSISTANT, "Thank you, so not <ORDER_ID_2>."),
    )


def test_a_reply_of_claims_alone_ends_a_stretch() -> None:
    """What follows begins another, which knows nothing of the first; assent to what was dropped goes with it."""
    turns = ("Order 77001234 is late.", "I'm sorry.", "Refund me!", "Certainly, sir. I have refunded you.", "Thanks.")
    first = ["Order <ORDER_ID> is late.", "I'm sorry."]
    assert stretches(*turns, "You're welcome.") == [first, ["Thanks.", "You're welcome."]]
    assert stretches(*turns, "Thanks for order 77001234.") == [first]
    assert stretches("Refund me!", "I have refunded you.") == []


def test_long_replies_are_cut_at_a_sentence() -> None:
    """A reply is never longer than a chat's, and never ends within a sentence."""
    (messages,) = stretches("Hello", "This sentence has a few words in it. " * 40)
    assert MAX_REPLY_CHARS / 2 < len(messages[1]) <= MAX_REPLY_CHARS + 20
    assert messages[1].endswith("in it.")
    assert stretches("Hello", "word " * 190 + ".") == []


@pytest.mark.parametrize(
    ("request_text", "reply", "is_missed"),
    [
        ("help me unsubscribe from the newsletter", "To subscribe to our newsletter, enter your address.", True),
        ("help me subscribe to the newsletter", "To subscribe to our newsletter, enter your address.", False),
        ("an error setting my address up", "You can set up or change your shipping address in your account.", True),
        ("where do I set my address up", "You can set up or change your shipping address in your account.", False),
        ("do you ship to Dublin", "We offer several delivery options, including standard.", True),
        ("which delivery options are there", "We offer several delivery options, including standard.", False),
    ],
)
def test_canned_answers_that_miss_the_question_are_known(request_text: str, reply: str, is_missed: bool) -> None:
    """The same answer is right for one question and wrong for another."""
    assert misses_the_question(request_text, reply) is is_missed
    assert stretches(request_text, reply) == ([] if is_missed else [[request_text, reply]])


def test_repetitions_are_left_out() -> None:
    """Equal conversations count once, and a canned answer to different questions a few times."""
    repetitions = RepetitionFilter()

    def exchange(*texts: str) -> tuple[Message, ...]:
        return tuple(Message((Role.USER, Role.ASSISTANT)[number % 2], text) for number, text in enumerate(texts))

    assert repetitions.is_new(exchange("Hello!", "Hi.")) and not repetitions.is_new(exchange("hello", "Hi"))
    num_new = sum(repetitions.is_new(exchange(f"question {number}", "See here.")) for number in range(100))
    assert num_new == MAX_SAME_REPLY
    assert repetitions.is_new(exchange("question 200", "See here.", "Thanks", "See here."))


def test_a_corpus_is_read_clean(tmp_path: Path) -> None:
    """Rows become stretches without repetitions, and the licence counts what is left."""
    row = {"turns": [{"role": "user", "text": "hi"}, {"role": "agent", "text": "Hello. I have cancelled it."}]}
    with gzip.open(tmp_path / "cucom_ecommerce.jsonl.gz", "wt") as stream:
        stream.write(f"{json.dumps(row)}\n" * 3)
    corpus = load_corpus(tmp_path, "cucom_ecommerce", 10)
    assert corpus.conversations == ((Message(Role.USER, "hi"), Message(Role.ASSISTANT, "Hello.")),)
    assert corpus.licence.licence == "Apache-2.0" and corpus.licence.num_rows == 1
