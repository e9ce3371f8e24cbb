"""Pairs in SQL: one row each, written when it is offered and once more when the choice is made."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, delete, insert, null, or_, select, update

from model_store.contract.conversation import Message
from model_store.contract.feedback import Choice
from service.records.errors import CompletionNotFoundError, PairChosenError, PairNotFoundError
from service.records.pairs.pair import PairCounts, PairedReply, PairPrompt, PreferencePair, count_wins
from service.records.tables import completions, preference_pairs

MAX_COUNTED = 50_000
"""Of the choices between two versions, the oldest so many are counted."""
_SIDES = ("first", "second")


def offer(connection: Connection, pair: PreferencePair) -> None:
    """See `PairStore.offer`."""
    is_there = completions.c.id == pair.completion_id, completions.c.tenant == pair.tenant
    # PostgreSQL: an erasure waits, and takes the pair with it.
    prompt = select(completions.c.id).where(*is_there).with_for_update(read=True, key_share=True)
    if connection.execute(prompt).first() is None:
        raise CompletionNotFoundError(completion_id=pair.completion_id)
    connection.execute(delete(preference_pairs).where(*_open(pair.tenant, pair.rater)))
    connection.execute(insert(preference_pairs).values(_values(pair)))


def choose(connection: Connection, tenant: str, rater: str, pair_id: str, choice: Choice) -> PreferencePair:
    """See `PairStore.choose`."""
    columns = preference_pairs.c
    mine = columns.id == pair_id, columns.tenant == tenant, columns.rater == rater
    row = connection.execute(select(preference_pairs).where(*mine).with_for_update()).first()
    if row is None:
        raise PairNotFoundError()
    if row.choice == choice:  # a retry
        return _pair(row)
    if row.choice is not None:
        raise PairChosenError()
    made = {"choice": choice, "chosen_at": datetime.now(UTC)}
    return _pair(connection.execute(update(preference_pairs).where(*mine).values(made).returning(*columns)).one())


def check_offered(connection: Connection, tenant: str, rater: str, pair_id: str) -> None:
    """Raises PairNotFoundError where this rater was not offered this pair."""
    columns = preference_pairs.c
    mine = columns.id == pair_id, columns.tenant == tenant, columns.rater == rater
    if connection.execute(select(columns.id).where(*mine)).first() is None:
        raise PairNotFoundError()


def find_open(connection: Connection, tenant: str, rater: str, digests: tuple[str, str]) -> PreferencePair | None:
    """The pair of these versions that the rater was offered and has not chosen from."""
    query = select(preference_pairs).where(*_open(tenant, rater), _is_between(digests))
    row = connection.execute(query).first()
    return None if row is None else _pair(row)


def prompts(
    connection: Connection, tenant: str, rater: str, digests: tuple[str, str], *, limit: int
) -> list[PairPrompt]:
    """The newest prompts of finished completions of which the rater has not seen both versions' replies."""
    columns, pairs = completions.c, preference_pairs.c
    seen = select(pairs.id).where(pairs.completion_id == columns.id, pairs.rater == rater, _is_between(digests))
    query = (
        select(columns.id, columns.language, columns.prompt_messages)
        .where(columns.tenant == tenant, columns.is_finished, ~seen.exists())
        .order_by(columns.created_at.desc(), columns.id.desc())
        .limit(limit)
    )
    return [PairPrompt(row.id, row.language, _messages(row.prompt_messages)) for row in connection.execute(query)]


def prompt_of(connection: Connection, tenant: str, completion_id: str) -> PairPrompt:
    """The prompt of a completion. Raises CompletionNotFoundError, also for another tenant's."""
    columns = completions.c
    query = select(columns.id, columns.language, columns.prompt_messages)
    row = connection.execute(query.where(columns.id == completion_id, columns.tenant == tenant)).first()
    if row is None:
        raise CompletionNotFoundError(completion_id=completion_id)
    return PairPrompt(row.id, row.language, _messages(row.prompt_messages))


def count(connection: Connection, tenant: str, digests: tuple[str, str]) -> PairCounts:
    """How often each version was preferred to the other."""
    columns = preference_pairs.c
    winner = case(
        (columns.choice == "first", columns.first_digest),
        (columns.choice == "second", columns.second_digest),
        else_=null(),
    )
    query = select(columns.completion_id, winner).where(
        columns.tenant == tenant, columns.choice.in_((*_SIDES, "tie")), _is_between(digests)
    )
    rows = connection.execute(query.order_by(columns.chosen_at, columns.id).limit(MAX_COUNTED)).all()
    return count_wins([(row[0], row[1]) for row in rows], digests[1])


def chosen(
    connection: Connection, tenant: str, *, after: tuple[datetime, str] | None, limit: int
) -> list[tuple[PreferencePair, PairPrompt]]:
    """Pairs of which a choice was made, ties too, in the order of the choices, with their prompts."""
    columns = preference_pairs.c
    query: Select[Any] = (
        select(preference_pairs, completions.c.language, completions.c.prompt_messages)
        .join(completions, completions.c.id == columns.completion_id)
        .where(columns.tenant == tenant, columns.choice.in_((*_SIDES, "tie")))
    )
    if after is not None:
        time, pair_id = after
        is_same_time = and_(columns.chosen_at == time, columns.id > pair_id)
        query = query.where(or_(columns.chosen_at > time, is_same_time))
    rows = connection.execute(query.order_by(columns.chosen_at, columns.id).limit(limit))
    return [(_pair(row), PairPrompt(row.completion_id, row.language, _messages(row.prompt_messages))) for row in rows]


def _open(tenant: str, rater: str) -> tuple[ColumnElement[bool], ...]:
    columns = preference_pairs.c
    return columns.tenant == tenant, columns.rater == rater, columns.choice.is_(None)


def _is_between(digests: tuple[str, str]) -> ColumnElement[bool]:
    """Whether a pair is of these two versions, on whichever sides."""
    columns = preference_pairs.c
    return or_(
        *(
            and_(columns.first_digest == first, columns.second_digest == second)
            for first, second in (digests, digests[::-1])
        )
    )


def _values(pair: PreferencePair) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: getattr(pair, name)
        for name in ("id", "tenant", "completion_id", "rater", "offered_at", "choice", "chosen_at")
    }
    for side in _SIDES:
        reply: PairedReply = getattr(pair, side)
        values |= {
            f"{side}_digest": reply.model_digest,
            f"{side}_text": reply.text,
            f"{side}_token_ids": list(reply.token_ids),
        }
    return values


def _pair(row: Row[Any]) -> PreferencePair:
    values = row._mapping
    first, second = (
        PairedReply(values[f"{side}_digest"], values[f"{side}_text"], tuple(values[f"{side}_token_ids"]))
        for side in _SIDES
    )
    return PreferencePair(
        id=row.id,
        tenant=row.tenant,
        completion_id=row.completion_id,
        rater=row.rater,
        first=first,
        second=second,
        offered_at=row.offered_at,
        choice=row.choice,
        chosen_at=row.chosen_at,
    )


def _messages(stored: Sequence[dict[str, str]]) -> tuple[Message, ...]:
    return tuple(Message.from_dict(message) for message in stored)
