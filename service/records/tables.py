"""The tables as SQLAlchemy Core sees them. `migrations` creates them; a test holds the two equal.

Times and JSON are text columns on every database: the view `training_examples` then needs one SQL text, and a row reads
the same, byte for byte, on SQLite and PostgreSQL. The fixed width makes text order the order of time.
"""

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)

from model_store.contract.feedback import (
    CONVERSATION_TURNS_COLUMNS,
    CONVERSATION_TURNS_VIEW,
    PREFERENCE_EXAMPLES_COLUMNS,
    PREFERENCE_EXAMPLES_VIEW,
    TRAINING_EXAMPLES_COLUMNS,
    TRAINING_EXAMPLES_VIEW,
)


class UtcTimestamp(TypeDecorator[datetime]):
    """A moment as ISO 8601 text in UTC with microseconds: `2026-01-31T08:15:00.000000Z`. Takes aware datetimes only."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """The text to store."""
        return None if value is None else format_timestamp(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        """The stored moment, in UTC."""
        return None if value is None else datetime.fromisoformat(value)


class JsonText(TypeDecorator[Any]):
    """A JSON value as compact text, characters beyond ASCII unescaped."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        """The text to store. Raises ValueError for NaN and infinities."""
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """The stored value; arrays come back as lists."""
        return None if value is None else json.loads(value)


def format_timestamp(moment: datetime) -> str:
    """An aware datetime as the store and its view write it."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


metadata = MetaData()

conversations = Table(
    "conversations",
    metadata,
    # The tenant is part of the key: an id that two tenants happen to choose names two conversations.
    Column("tenant", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("created_at", UtcTimestamp, nullable=False),
    Index("ix_conversations_created_at", "tenant", "created_at", "id"),
)

completions = Table(
    "completions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("conversation_id", Text, nullable=False),
    Column("created_at", UtcTimestamp, nullable=False),
    Column("model_digest", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("prompt_messages", JsonText, nullable=False),
    Column("completion_text", Text, nullable=False),
    Column("completion_token_ids", JsonText, nullable=False),
    Column("token_logprobs", JsonText, nullable=False),
    Column("sampling", JsonText, nullable=False),
    Column("finish_reason", Text, nullable=False),
    Column("is_finished", Boolean, nullable=False),
    Column("latency_ms", Float, nullable=False),
    Column("num_prompt_tokens", Integer, nullable=False),
    Column("num_completion_tokens", Integer, nullable=False),
    Column("rater", Text, nullable=False),
    Column("sentiment", Text),  # of the customer's message; none: no model told, or another choice has it
    CheckConstraint("sentiment IN ('negative', 'neutral', 'positive')", name="ck_completions_sentiment"),
    CheckConstraint(
        "finish_reason IN ('stop', 'length', 'cancelled', 'handover', 'error')", name="ck_completions_finish_reason"
    ),
    ForeignKeyConstraint(
        ("tenant", "conversation_id"), ("conversations.tenant", "conversations.id"), name="fk_completions_conversation"
    ),
    Index("ix_completions_conversation", "tenant", "conversation_id", "created_at"),
    Index("ix_completions_created_at", "created_at"),
    Index("ix_completions_tenant_created_at", "tenant", "created_at"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("completion_id", Text, ForeignKey("completions.id", name="fk_feedback_completion"), primary_key=True),
    Column("rater", Text, primary_key=True),
    Column("rating", Text),
    Column("reasons", JsonText, nullable=False),
    Column("comment", Text),
    Column("correction", Text),
    Column("created_at", UtcTimestamp, nullable=False),
    Column("updated_at", UtcTimestamp, nullable=False),
    Column("withdrawn_at", UtcTimestamp),
    Column("origin", Text, nullable=False, server_default=""),  # the web page or the API key that it came through
    CheckConstraint("rating IN ('up', 'down')", name="ck_feedback_rating"),
    CheckConstraint("(rating IS NULL) = (withdrawn_at IS NOT NULL)", name="ck_feedback_withdrawn"),
    Index("ix_feedback_updated_at", "updated_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),  # SHA-256 of the key, in hex; the key itself is kept nowhere
    Column("scopes", JsonText, nullable=False),
    Column("origins", JsonText, nullable=False),  # web pages' origins that it may issue widget tokens for
    Column("created_at", UtcTimestamp, nullable=False),
    Column("revoked_at", UtcTimestamp),
    Index("ix_api_keys_digest", "digest", unique=True),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("route", Text, primary_key=True),
    Column("key_digest", Text, primary_key=True),
    Column("request_digest", Text, nullable=False),
    Column("claim_id", Text, nullable=False),
    Column("claimed_at", UtcTimestamp, nullable=False),
    Column("answered_at", UtcTimestamp),
    Column("completion_id", Text),  # what an answer is about; it goes when its completion does
    Column("answer", JsonText, nullable=False),
    Index("ix_idempotency_keys_claimed_at", "claimed_at"),
    Index("ix_idempotency_keys_completion", "completion_id"),
)

erasures = Table(
    "erasures",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("conversation_digest", Text, primary_key=True),  # SHA-256 of the id, in hex: clients choose ids
    Column("erased_at", UtcTimestamp, nullable=False),
    Column("first_rated_at", UtcTimestamp),
    Column("num_completions", Integer, nullable=False),
    Column("num_feedback", Integer, nullable=False),
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("occurred_at", UtcTimestamp, nullable=False),
    Column("actor", Text, nullable=False),  # the API key's id
    Column("action", Text, nullable=False),  # what was done: `models.promote`
    Column("subject", Text, nullable=False),  # what it was done to: a version's digest, a completion's id
    Column("details", JsonText, nullable=False),
    Index("ix_audit_events_occurred_at", "tenant", "occurred_at", "id"),
)

conversation_tags = Table(
    "conversation_tags",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("conversation_id", Text, primary_key=True),
    Column("tag", Text, primary_key=True),
    ForeignKeyConstraint(
        ("tenant", "conversation_id"),
        ("conversations.tenant", "conversations.id"),
        name="fk_conversation_tags_conversation",
        ondelete="CASCADE",
    ),
    Index("ix_conversation_tags_tag", "tenant", "tag"),
)

handovers = Table(
    "handovers",
    metadata,
    Column(
        "completion_id",
        Text,
        # What is deleted is not told to anybody any more.
        ForeignKey("completions.id", name="fk_handovers_completion", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("created_at", UtcTimestamp, nullable=False),
    Column("state", Text, nullable=False),
    Column("num_attempts", Integer, nullable=False),
    Column("next_attempt_at", UtcTimestamp),  # while it is claimed: when the claim ends
    Column("claim_id", Text),
    Column("last_problem", Text),  # a status or the kind of an error, never what was answered
    Column("settled_at", UtcTimestamp),
    CheckConstraint("state IN ('pending', 'delivered', 'dead')", name="ck_handovers_state"),
    CheckConstraint("(state = 'pending') = (next_attempt_at IS NOT NULL)", name="ck_handovers_next_attempt"),
    Index("ix_handovers_state", "state", "next_attempt_at"),
)

gold_ratings = Table(
    "gold_ratings",
    metadata,
    Column(
        "completion_id",
        Text,
        ForeignKey("completions.id", name="fk_gold_ratings_completion", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("tenant", Text, nullable=False),
    Column("rating", Text, nullable=False),
    Column("actor", Text, nullable=False),  # the API key's id
    Column("decided_at", UtcTimestamp, nullable=False),
    CheckConstraint("rating IN ('up', 'down')", name="ck_gold_ratings_rating"),
    Index("ix_gold_ratings_decided_at", "tenant", "decided_at", "completion_id"),
)

rating_rulings = Table(
    "rating_rulings",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("rater", Text, primary_key=True),
    Column("completion_id", Text, primary_key=True),  # "": all ratings of this rater
    Column("verdict", Text, nullable=False),
    Column("actor", Text, nullable=False),  # the API key's id
    Column("decided_at", UtcTimestamp, nullable=False),
    CheckConstraint("verdict IN ('count', 'set_aside')", name="ck_rating_rulings_verdict"),
    Index("ix_rating_rulings_completion", "completion_id"),
)

preference_pairs = Table(
    "preference_pairs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column(
        "completion_id",  # whose prompt both versions have answered
        Text,
        ForeignKey("completions.id", name="fk_preference_pairs_completion", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("rater", Text, nullable=False),
    # "first" and "second" as they are shown: which version stands on which side is drawn for each pair.
    Column("first_digest", Text, nullable=False),
    Column("first_text", Text, nullable=False),
    Column("first_token_ids", JsonText, nullable=False),
    Column("second_digest", Text, nullable=False),
    Column("second_text", Text, nullable=False),
    Column("second_token_ids", JsonText, nullable=False),
    Column("offered_at", UtcTimestamp, nullable=False),
    Column("choice", Text),
    Column("chosen_at", UtcTimestamp),
    CheckConstraint("choice IN ('first', 'second', 'tie', 'skip')", name="ck_preference_pairs_choice"),
    CheckConstraint("(choice IS NULL) = (chosen_at IS NULL)", name="ck_preference_pairs_chosen_at"),
    Index("ix_preference_pairs_rater", "tenant", "rater", "chosen_at"),
    Index("ix_preference_pairs_completion", "completion_id"),
)

exports = Table(
    "exports",
    metadata,
    Column("id", Text, primary_key=True),
    Column("made_at", UtcTimestamp, nullable=False),
    Column("table_name", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("path", Text),  # none: it went to stdout
    Column("host", Text, nullable=False),
    Index("ix_exports_made_at", "made_at"),
)

training_examples = Table(
    TRAINING_EXAMPLES_VIEW,
    MetaData(),  # apart from the tables: it is a view, which nothing may try to create as a table
    *(Column(name, Text) for name in TRAINING_EXAMPLES_COLUMNS),
)

conversation_turns = Table(
    CONVERSATION_TURNS_VIEW,
    MetaData(),
    *(Column(name, Text) for name in CONVERSATION_TURNS_COLUMNS),
)

preference_examples = Table(
    PREFERENCE_EXAMPLES_VIEW,
    MetaData(),
    *(Column(name, Text) for name in PREFERENCE_EXAMPLES_COLUMNS),
)
