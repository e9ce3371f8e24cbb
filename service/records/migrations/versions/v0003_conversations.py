"""Conversations that are listed and erased, keys that make a retry harmless, and an index to find what is old."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Creates two tables and two indices."""
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("route", sa.Text, primary_key=True),
        sa.Column("key_digest", sa.Text, primary_key=True),
        sa.Column("request_digest", sa.Text, nullable=False),
        sa.Column("claim_id", sa.Text, nullable=False),
        sa.Column("claimed_at", sa.Text, nullable=False),
        sa.Column("answered_at", sa.Text),
        sa.Column("completion_id", sa.Text),
        sa.Column("answer", sa.Text, nullable=False),
    )
    op.create_index("ix_idempotency_keys_claimed_at", "idempotency_keys", ["claimed_at"])
    op.create_index("ix_idempotency_keys_completion", "idempotency_keys", ["completion_id"])
    op.create_table(
        "erasures",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("conversation_digest", sa.Text, primary_key=True),
        sa.Column("erased_at", sa.Text, nullable=False),
        sa.Column("first_rated_at", sa.Text),
        sa.Column("num_completions", sa.Integer, nullable=False),
        sa.Column("num_feedback", sa.Integer, nullable=False),
    )
    op.create_index("ix_conversations_created_at", "conversations", ["tenant", "created_at", "id"])
    op.create_index("ix_completions_created_at", "completions", ["created_at"])


def downgrade() -> None:
    """Drops them; tombstones are lost, so that what was erased could be brought back."""
    op.drop_index("ix_completions_created_at", "completions")
    op.drop_index("ix_conversations_created_at", "conversations")
    op.drop_table("erasures")
    op.drop_table("idempotency_keys")
