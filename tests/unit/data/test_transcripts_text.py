"""Bodies of messages as typed text, and the names that leave them."""

import time

import pytest

from model_store.contract.entities import EntityMasker, EntityVault
from training.data.importers.helpdesks.message_text import MAX_BODY_CHARS, written_text
from training.data.importers.helpdesks.people import Person, patterns_of

TYPED = "My parcel is late.\nCan you help?"


@pytest.mark.parametrize(
    "body",
    [
        '<div dir="ltr">My parcel is late.<br>Can you help?</div><br><div class="gmail_quote gmail_quote_container">'
        '<div class="gmail_attr">On Tue, Jan 2, 2024 Shop wrote:</div><blockquote>old</blockquote></div>',
        "<p>My parcel is late.</p><p>Can you help?</p><div id='appendonsend'></div><hr><div id='divRplyFwdMsg'>"
        "<b>From:</b> Shop</div><div>old</div>",
        "<style>p {color: red}</style><p>My parcel is late.</p>Can you help?<blockquote type=cite>old "
        "<blockquote>older</blockquote> old</blockquote><div class='gmail_signature'>Jo Doe<br>CEO</div>",
        "My parcel is late.\r\nCan you help?\r\n\r\nOn Tue, 2 Jan 2024, Shop <help@shop.example>\r\nwrote:\r\n\r\nold",
        "My parcel is late.\nCan you help?\n\nSent from my iPhone\n\n-----Original Message-----\nold",
        "My parcel is late.\nCan you help?\n\nFrom: Shop\nSent: Tuesday\nTo: Jo\nSubject: Re: parcel\n\nold",
        "My parcel is late.\nCan you help?\n\n在 2024年1月2日，客服 <help@shop.example> 写道：\n\nold",
        "My parcel is late.\nCan you help?\n\n发件人: 客服\n发送时间: 星期二\n收件人: 王\nold",
        "My parcel is late.\nCan you help?\n##- Please type your reply above this line -##\nold",
        "My parcel is late.\nCan you help?\n--\nJo Doe\nCEO",
        "> old\nMy parcel is late.\n> older\nCan you help?",
        "On Tue, 2 Jan 2024, Shop wrote:\n> old\nMy parcel is late.\nCan you help?",
        "On Tue, 2 Jan 2024, Shop wrote:<blockquote>old</blockquote><p>My parcel is late.</p><p>Can you help?</p>",
    ],
)
def test_quoted_mail_is_cut_and_the_rest_kept(body: str) -> None:
    """Gmail, Outlook, Apple Mail and plain text, in English and Chinese, answered above, below and between."""
    assert "\n".join(line for line in written_text(body).split("\n") if line) == TYPED


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("I < 3 parcels & 5 > 4", "I < 3 parcels & 5 > 4"),
        ("From: Berlin to Paris, how long?", "From: Berlin to Paris, how long?"),
        ("On Monday I wrote to you twice", "On Monday I wrote to you twice"),
        ("Tom &amp; Jerry&nbsp;Ltd", "Tom & Jerry\xa0Ltd"),
        ("<ul><li>one</li><li>two</li></ul>", "one\n\ntwo"),
        ("<p>broken <b>tags", "broken tags"),
        ("<blockquote>all of it</blockquote>", ""),
    ],
)
def test_what_only_looks_like_markup_or_history_stays(body: str, text: str) -> None:
    """Signs of plain text are no tags; a sentence that begins like a header is none."""
    assert written_text(body) == text


@pytest.mark.parametrize("unit", ["<a", "<div>", "<!--", "&amp", "On x\n", "> ", "<p class='" + "a " * 50 + "'>", "<"])
def test_hostile_bodies_take_bounded_time(unit: str) -> None:
    """Ten times the greatest length of a body, of the pieces that make parsers slow."""
    started = time.perf_counter()
    written_text(unit * (10 * MAX_BODY_CHARS // len(unit)))
    assert time.perf_counter() - started < 5


def mask(text: str, *people: Person) -> str:
    return EntityMasker(patterns_of(people)).mask(text, EntityVault())


@pytest.mark.parametrize(
    ("person", "text", "masked"),
    [
        (Person("Marta Kowalczyk"), "marta kowalczyk, Marta and KOWALCZYK", "<NAME>, <NAME_2> and <NAME_3>"),
        (
            Person("Will May"),
            "Will, will it come in May or may it not?",
            "<NAME>, will it come in <NAME_2> or may it not?",
        ),
        (Person("Customer Support"), "Customer support is good", "Customer support is good"),
        (Person("José Ñandú"), "josé!", "<NAME>!"),
        (Person("Ann"), "Annual planning, Ann.", "Annual planning, <NAME>."),
        (Person("欧阳小红"), "我是欧阳小红，叫我小红", "我是<NAME>，叫我<NAME_2>"),
        (Person("王小明"), "王小明和小明，王先生，大王", "<NAME>和<NAME_2>，<NAME_3>先生，大王"),
        (Person("Jane"), "我是Jane啊", "我是<NAME>啊"),
        (Person("x", phone="+44 20 7946 0958"), "it is 0044", "it is 0044"),
        (Person("", phone="55512345"), "ring 555-12 345 now", "ring <PHONE> now"),
        (Person("jo.x@mail.internal"), "Jo.X@mail.internal wrote", "<EMAIL> wrote"),
    ],
)
def test_names_of_an_export_leave_the_texts(person: Person, text: str, masked: str) -> None:
    """Whole, in parts, in any case; parts that are also words only as they are spelt; Han names without spaces."""
    assert mask(text, person) == masked


def test_a_lookalike_placeholder_in_a_message_is_no_placeholder() -> None:
    """Nobody can type one into the training data."""
    assert mask("I am <NAME> and Marta", Person("Marta Nowak")) == "I am ‹NAME› and <NAME>"
