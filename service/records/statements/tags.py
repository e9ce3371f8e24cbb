"""Tags: the staff's own words for conversations. Who put them there is in the audit."""

from collections.abc import Iterable

from sqlalchemy import Connection, delete, select

from service.records.database import insert_into
from service.records.errors import ConversationNotFoundError, TooManyTagsError
from service.records.tables import conversation_tags, conversations

MAX_TAGS = 20
"""Of one conversation."""


def tag(connection: Connection, tenant: str, conversation_id: str, name: str, *, is_on: bool) -> tuple[str, ...]:
    """See `RecordStore.tag_conversation`."""
    # Held until the transaction ends: of two that add a tag at the same time, one sees the other's.
    mine = conversations.c.tenant == tenant, conversations.c.id == conversation_id
    if connection.execute(select(conversations.c.id).where(*mine).with_for_update()).first() is None:
        raise ConversationNotFoundError(conversation_id=conversation_id)
    columns = conversation_tags.c
    if not is_on:
        is_it = columns.tenant == tenant, columns.conversation_id == conversation_id, columns.tag == name
        connection.execute(delete(conversation_tags).where(*is_it))
    elif len({name, *_of(connection, tenant, conversation_id)}) > MAX_TAGS:
        raise TooManyTagsError(max_tags=MAX_TAGS)
    else:
        values = {"tenant": tenant, "conversation_id": conversation_id, "tag": name}
        connection.execute(insert_into(connection, conversation_tags).values(values).on_conflict_do_nothing())
    return _of(connection, tenant, conversation_id)


def by_conversation(connection: Connection, tenant: str, conversation_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The tags of these conversations, in the order of letters; none: no entry."""
    columns = conversation_tags.c
    mine = columns.tenant == tenant, columns.conversation_id.in_(set(conversation_ids))
    tags: dict[str, list[str]] = {}
    for row in connection.execute(select(columns.conversation_id, columns.tag).where(*mine)):
        tags.setdefault(row.conversation_id, []).append(row.tag)
    return {name: tuple(sorted(found)) for name, found in tags.items()}


def _of(connection: Connection, tenant: str, conversation_id: str) -> tuple[str, ...]:
    return by_conversation(connection, tenant, [conversation_id]).get(conversation_id, ())
