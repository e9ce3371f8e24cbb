"""Exports of help desks: what the customer was shown, by people, masked before the first write."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.data.helpdesk_samples import (
    MARTA,
    ROBIN,
    SINA,
    chatwoot_message,
    intercom_conversation,
    intercom_part,
    zendesk_comment,
    zendesk_ticket,
)
from tests.unit.data.importer_samples import problem_of, read, turns, write
from training.data.importers.helpdesks.conversations import MAX_MESSAGES
from training.data.importers.helpdesks.message_text import MAX_MESSAGE_CHARS
from training.data.importers.registry import import_file


def lines(*records: object) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def texts(row: dict[str, Any]) -> list[str]:
    return [turn["text"] for turn in row["turns"]]


def test_zendesk_keeps_public_comments_of_people_in_order(tmp_path: Path) -> None:
    """Internal notes, triggers, the system, generated comments and calls go; names of both sides are masked."""
    ticket = zendesk_ticket(
        [
            zendesk_comment(77, "Hello Marta, it left today. Sina", 5),
            zendesk_comment(901, "Where is order 4711-22? Marta Kowalczyk, marta@example.org", 1),
            zendesk_comment(77, "VIP, be quick", 2, public=False),
            zendesk_comment(77, "Your request was received", 3, via={"channel": "rule", "source": {"rel": "trigger"}}),
            zendesk_comment(-1, "Merged", 4),
            zendesk_comment(77, "Call from +1", 6, type="VoiceComment"),
            zendesk_comment(901, "I am away", 7, metadata={"system": {}, "flags": [4]}),
            zendesk_comment(901, "Thanks, SINA!", 8),
        ]
    )
    (row,) = read("zendesk", write(tmp_path / "tickets.json", lines(ticket)))
    assert row["turns"] == turns(
        "Where is order <ORDER_ID>? <NAME>, <EMAIL>", "Hello <NAME_2>, it left today. <NAME_3>", "Thanks, <NAME_3>!"
    )
    assert (row["id"], row["source"], row["lang"], row["split_by"]) == ("zendesk-35436", "zendesk", "en", "sha1")


@pytest.mark.parametrize(
    "content",
    [
        lines(zendesk_ticket([zendesk_comment(901, "Hi"), zendesk_comment(78, "Yes?", 1)])),
        json.dumps([zendesk_ticket([zendesk_comment(901, "Hi"), zendesk_comment(78, "Yes?", 1)])], indent=1),
        json.dumps(
            {
                "tickets": [zendesk_ticket([zendesk_comment(901, "Hi"), zendesk_comment(78, "Yes?", 1)])],
                "users": [ROBIN],
            },
            indent=1,
        ),
        json.dumps(
            {
                "ticket": {"id": 35436, "requester_id": 901, "assignee_id": 77},
                "comments": [zendesk_comment(901, "Hi"), zendesk_comment(78, "Yes?", 1)],
                "users": [MARTA, SINA, ROBIN],
            }
        ),
    ],
    ids=["lines", "list", "page", "ticket beside comments"],
)
def test_zendesk_reads_every_layout_and_knows_roles_from_users(tmp_path: Path, content: str) -> None:
    """An agent who is not the assignee answers only where the users beside the tickets say so."""
    write(tmp_path / "export" / "tickets.json", content)
    if '"users"' not in content:
        write(tmp_path / "export" / "users.json", lines(MARTA, SINA, ROBIN))
    (row,) = read("zendesk", tmp_path / "export")
    assert row["turns"] == turns("Hi", "Yes?")


def test_zendesk_leaves_out_authors_of_whom_nothing_is_known(tmp_path: Path) -> None:
    """A colleague in copy could be a customer: without a role the comment is no reply."""
    comments = [zendesk_comment(901, "Hi"), zendesk_comment(4, "cc", 1), zendesk_comment(77, "Hello", 2)]
    (row,) = read("zendesk", write(tmp_path / "t.json", lines(zendesk_ticket(comments))))
    assert row["turns"] == turns("Hi", "Hello")


def test_rows_of_one_customer_share_a_digest_and_a_split(tmp_path: Path) -> None:
    """The help desk's own id of the customer is not written."""
    chat = [zendesk_comment(901, "Hi"), zendesk_comment(77, "Hello", 1)]
    strangers = [zendesk_comment(900, "Hi"), zendesk_comment(77, "Hello", 1)]
    other = zendesk_ticket(strangers, id=99, requester={**MARTA, "id": 900})
    path = write(tmp_path / "t.json", lines(*(zendesk_ticket(chat, id=number) for number in range(40)), other))
    *rows, last = read("zendesk", path)
    assert len(rows) == 40
    assert len({(row["labels"]["customer"], row["split"]) for row in rows}) == 1
    assert last["labels"]["customer"] != rows[0]["labels"]["customer"]
    assert "901" not in {row["labels"]["customer"] for row in rows}


def test_intercom_keeps_what_people_wrote_to_each_other(tmp_path: Path) -> None:
    """Notes, events without a body, bots, AI answers, ratings and redacted parts go; HTML becomes lines."""
    parts = [
        intercom_part("bot", "<p>We typically reply in a few hours.</p>", 1),
        intercom_part("admin", None, 2, part_type="assignment"),
        intercom_part("admin", "<p>is she a vip?</p>", 3, part_type="note"),
        intercom_part("admin", "<p>AI says no</p>", 4, author={"type": "admin", "id": "9", "is_ai_answer": True}),
        intercom_part("admin", '<p>Hi Linh,<br>yes &amp; <a href="https://x.example/1">here</a>.</p><p>Oskar</p>', 6),
        intercom_part("user", "<p>linh@example.org is my mail</p>", 5),
        intercom_part("user", "<p>removed</p>", 7, redacted=True),
        intercom_part("admin", "<p>Good bye</p>", 8, part_type="close"),
        intercom_part("user", "<p>great service</p>", 9, part_type="conversation_rating_remark_added"),
    ]
    (row,) = read("intercom", write(tmp_path / "c.json", json.dumps(intercom_conversation(parts), indent=2)))
    assert row["turns"] == turns(
        "Hi, can I still change my address? <EMAIL> is my mail",
        "Hi <NAME>,\nyes & here.\n\n<NAME_2> Good bye",
    )
    assert row["id"] == "intercom-1122334455" and row["labels"]["customer"]


def test_intercom_reads_pages_and_the_older_name_of_the_source(tmp_path: Path) -> None:
    """A campaign is nobody's reply; a conversation from Twitter is skipped and counted."""
    old = intercom_conversation([intercom_part("admin", "Hello", 1)], id="1")
    old["conversation_message"] = old.pop("source")
    campaign = intercom_conversation([intercom_part("admin", "Hello", 1)], id="2")
    campaign["source"]["delivered_as"] = "campaigns_initiated"
    tweet = intercom_conversation([intercom_part("admin", "Hello", 1)], id="3")
    tweet["source"]["type"] = "twitter"
    page = {"type": "conversation.list", "conversations": [old, campaign, tweet]}
    report = import_file("intercom", write(tmp_path / "c.json", page), tmp_path / "out.jsonl")
    (row,) = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (row["id"], report.num_rows, sum(report.skipped.values())) == ("intercom-1", 1, 2)


def test_chatwoot_keeps_incoming_and_outgoing_text_of_people(tmp_path: Path) -> None:
    """Pages overlap and come in any order; notes, activities, templates, bots, rules and deleted messages go."""
    bot = {"id": 1, "name": "Helper", "type": "agent_bot"}
    first = [
        chatwoot_message(0, "我叫王小明，订单什么时候到？电话 138 0013 8000", 1),
        chatwoot_message(3, "Give us your mail", 2),
        chatwoot_message(1, "他是大客户", 3, private=True),
        chatwoot_message(1, "I am a bot", 4, sender=bot),
        chatwoot_message(1, "We are closed", 5, content_attributes={"automation_rule_id": 3}, sender=None),
        chatwoot_message(1, "王先生您好，今天发货。Priya", 6),
    ]
    second = [
        chatwoot_message(1, "王先生您好，今天发货。Priya", 6),
        chatwoot_message(2, "Priya resolved the conversation", 7),
        chatwoot_message(1, "This message was deleted", 8, content_attributes={"deleted": True}),
        chatwoot_message(1, "not sent", 9, status="failed"),
        chatwoot_message(1, "Rate us", 10, content_type="input_csat"),
        chatwoot_message(0, "谢谢小明", 11),
    ]
    write(tmp_path / "pages" / "2.json", {"meta": {"contact_id": 12}, "payload": second})
    write(tmp_path / "pages" / "1.json", {"meta": {"contact_id": 12}, "payload": first})
    (row,) = read("chatwoot", tmp_path / "pages")
    assert row["turns"] == turns(
        "我叫<NAME>，订单什么时候到？电话 <PHONE>", "<NAME_2>先生您好，今天发货。<NAME_3>", "谢谢<NAME_4>"
    )
    assert (row["id"], row["lang"]) == ("chatwoot-44", "zh")


def test_chatwoot_reads_its_table_as_csv(tmp_path: Path) -> None:
    """As PostgreSQL copies it: numbers for kinds, t and f, times without a zone, JSON in a column."""
    content = (
        "id,content,conversation_id,message_type,created_at,private,status,content_type,content_attributes,sender_type\n"
        '3,"Hello, yes",7,1,2024-01-05 10:02:00.1,f,0,0,{},User\n'
        '2,"Do you ship, too?",7,0,2024-01-05 10:01:00.1,f,0,0,{},Contact\n'
        "4,psst,7,1,2024-01-05 10:03:00.1,t,0,0,{},User\n"
        '5,gone,7,1,2024-01-05 10:04:00.1,f,0,0,"{""deleted"": true}",User\n'
        "6,beep,7,1,2024-01-05 10:05:00.1,f,0,0,{},AgentBot\n"
    )
    (row,) = read("chatwoot", write(tmp_path / "messages.csv", content))
    assert row["turns"] == turns("Do you ship, too?", "Hello, yes")


HELLO = [zendesk_comment(901, "Hi"), zendesk_comment(77, "Hello", 1)]


@pytest.mark.parametrize(
    ("name", "file_name", "content", "said"),
    [
        (
            "zendesk",
            "t.json",
            lines(zendesk_ticket(HELLO), {"id": 1}),
            "line 2: there is no 'comments'; the JSON export",
        ),
        ("zendesk", "t.json", lines(zendesk_ticket(HELLO)) + '{"id": \n', "line 2: this is no valid JSON"),
        (
            "zendesk",
            "t.json",
            lines(zendesk_ticket([zendesk_comment(901, "Hi", public=1)])),
            "line 1, comments 1: 'public'",
        ),
        (
            "zendesk",
            "t.json",
            lines(zendesk_ticket([zendesk_comment(901, "Hi", created_at="now")])),
            "'created_at' is no",
        ),
        ("zendesk", "t.json", json.dumps([5]), "item 1: this must be an object, it is 5"),
        ("intercom", "c.json", lines({"type": "conversation", "id": "1"}), "line 1: there is no 'conversation_parts'"),
        ("chatwoot", "m.json", lines({"payload": [chatwoot_message(7, "x", 1)]}), "payload 1: 'message_type' is '7'"),
        ("chatwoot", "m.csv", "conversation_id,content\n1,hi\n", "lacks message_type"),
        ("chatwoot", "m.jsonl", lines({"id": 1, "message_type": 0}), "line 1: there is no 'conversation_id'"),
    ],
)
def test_bad_exports_are_refused_by_place_with_advice(
    tmp_path: Path, name: str, file_name: str, content: str, said: str
) -> None:
    """The message names the file, the record in it, what is wrong and what the format reads."""
    assert said in problem_of(name, write(tmp_path / file_name, content))


def test_nothing_unmasked_reaches_the_disk(tmp_path: Path) -> None:
    """The output of an import holds no name, address or number of the export; a failed one leaves no file."""
    ticket = zendesk_ticket(
        [
            zendesk_comment(901, "This is kowalczyk, call 0171 2345678 or write marta@example.org", 1),
            zendesk_comment(77, "Dear MARTA KOWALCZYK, I did. Petersen", 2),
        ]
    )
    path = write(tmp_path / "t.json", lines(ticket))
    import_file("zendesk", path, tmp_path / "out" / "t.jsonl")
    (written,) = [file.read_text(encoding="utf-8") for file in (tmp_path / "out").iterdir()]
    for secret in ("kowalczyk", "marta", "petersen", "sina", "2345678", "example.org", "901"):
        assert secret not in written.casefold()


def test_a_conversation_is_bounded_in_messages_and_characters(tmp_path: Path) -> None:
    """A ticket of thousands of endless comments becomes a row of a known size."""
    comments = [
        zendesk_comment((901, 77)[number % 2], "word " * (20_000, 5)[number > 1], created_at=1_700_000_000 + number)
        for number in range(MAX_MESSAGES + 20)
    ]
    (row,) = read("zendesk", write(tmp_path / "t.json", lines(zendesk_ticket(comments))))
    assert len(row["turns"]) == MAX_MESSAGES
    assert MAX_MESSAGE_CHARS - 5 <= max(map(len, texts(row))) <= MAX_MESSAGE_CHARS
