"""Small exports of help desks in their true layouts, for the tests of the importers and of the data report."""

from typing import Any


def zendesk_user(user_id: int, name: str, role: str, email: str) -> dict[str, Any]:
    """A user as the ticket export embeds it."""
    return {"id": user_id, "name": name, "email": email, "role": role, "phone": None, "signature": None}


MARTA = zendesk_user(901, "Marta Kowalczyk", "end-user", "marta@example.org")
SINA = zendesk_user(77, "Sina Petersen", "agent", "sina@shop.example")
ROBIN = zendesk_user(78, "Robin Okafor", "admin", "robin@shop.example")


def zendesk_comment(author_id: int, body: str, minute: int = 0, **fields: Any) -> dict[str, Any]:
    """A public comment as the ticket export embeds it; an HTML body where `body` holds tags."""
    return {
        "id": 5000 + minute,
        "type": "Comment",
        "author_id": author_id,
        "body": body,
        "html_body": body if "<" in body else f'<div class="zd-comment" dir="auto"><p dir="auto">{body}</p></div>',
        "plain_body": body,
        "public": True,
        "attachments": [],
        "audit_id": 9000 + minute,
        "via": {"channel": "email", "source": {"from": {}, "to": {}, "rel": None}},
        "created_at": f"2024-03-05T10:{minute:02d}:00Z",
        "metadata": {"system": {}, "custom": {}},
        **fields,
    }


def zendesk_ticket(comments: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """A ticket as a line of the JSON export."""
    return {
        "url": "https://shop.zendesk.com/api/v2/tickets/35436.json",
        "id": 35436,
        "via": {"channel": "email"},
        "subject": "Parcel",
        "status": "closed",
        "requester": MARTA,
        "submitter": MARTA,
        "assignee": SINA,
        "comments": comments,
        **fields,
    }


def intercom_part(author_type: str, body: str | None, at: int, **fields: Any) -> dict[str, Any]:
    """A part of a conversation of Intercom."""
    authors = {
        "user": {"type": "user", "id": "u1", "name": "Linh Tran", "email": "linh@example.org"},
        "lead": {"type": "lead", "id": "u2", "name": "", "email": ""},
        "admin": {"type": "admin", "id": "274", "name": "Oskar Lind", "email": "oskar@shop.example"},
        "bot": {"type": "bot", "id": "815309", "name": "Fin", "email": "operator+abc@intercom.io"},
    }
    return {
        "type": "conversation_part",
        "id": str(at),
        "part_type": "comment",
        "body": body,
        "created_at": 1663597000 + at,
        "updated_at": 1663597000 + at,
        "assigned_to": None,
        "author": authors[author_type],
        "attachments": [],
        "external_id": None,
        "redacted": False,
        **fields,
    }


def intercom_conversation(parts: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """A conversation of Intercom that its customer began."""
    return {
        "type": "conversation",
        "id": "1122334455",
        "created_at": 1663597000,
        "source": {
            "type": "conversation",
            "id": "3",
            "delivered_as": "customer_initiated",
            "subject": "",
            "body": "<p>Hi, can I still change my address?</p>",
            "author": {"type": "user", "id": "u1", "name": "Linh Tran", "email": "linh@example.org"},
            "attachments": [],
            "redacted": False,
        },
        "contacts": {"type": "contact.list", "contacts": [{"type": "contact", "id": "6762f0dd"}]},
        "open": False,
        "state": "closed",
        "conversation_parts": {
            "type": "conversation_part.list",
            "conversation_parts": parts,
            "total_count": len(parts),
        },
        **fields,
    }


def chatwoot_message(message_type: int, content: str | None, at: int, **fields: Any) -> dict[str, Any]:
    """A message as the API of Chatwoot lists it."""
    senders: dict[int, dict[str, Any] | None] = {
        0: {"id": 12, "name": "王小明", "email": None, "phone_number": "+8613800138000", "type": "contact"},
        1: {"id": 2, "name": "Priya Raman", "available_name": "Priya", "email": "priya@shop.example", "type": "user"},
    }
    return {
        "id": at,
        "content": content,
        "inbox_id": 1,
        "conversation_id": 44,
        "message_type": message_type,
        "content_type": "text",
        "status": "sent",
        "content_attributes": {},
        "created_at": 1700000000 + at,
        "private": False,
        "source_id": None,
        "sender": senders.get(message_type),
        **fields,
    }
