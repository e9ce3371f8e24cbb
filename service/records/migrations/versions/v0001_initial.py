"""Conversations, completions, feedback, and the view `training_examples` that training reads.

Spelled out rather than imported from `tables`: what a released revision does must not change when the tables do.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TRAINING_EXAMPLES = """
CREATE VIEW training_examples AS
SELECT
    completions.id AS completion_id,
    completions.conversation_id AS conversation_id,
    completions.created_at AS created_at,
    completions.model_digest AS model_digest,
    completions.language AS language,
    completions.prompt_messages AS prompt_messages,
    completions.completion_text AS completion_text,
    completions.completion_token_ids AS completion_token_ids,
    completions.token_logprobs AS token_logprobs,
    completions.sampling AS sampling,
    completions.finish_reason AS finish_reason,
    feedback.rater AS rater,
    feedback.rating AS rating,
    feedback.reasons AS reasons,
    feedback.comment AS comment,
    feedback.correction AS correction,
    feedback.updated_at AS rated_at
FROM feedback
JOIN completions ON completions.id = feedback.completion_id
WHERE feedback.rating IS NOT NULL AND completions.is_finished
"""


def upgrade() -> None:
    """Creates everything."""
    _create_conversations()
    _create_completions()
    _create_feedback()
    op.execute(_TRAINING_EXAMPLES)


def downgrade() -> None:
    """Drops everything, with all that was recorded."""
    op.execute("DROP VIEW training_examples")
    op.drop_table("feedback")
    op.drop_table("completions")
    op.drop_table("conversations")


def _create_conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("created_at", sa.Text, nullable=False),
    )


def _create_completions() -> None:
    op.create_table(
        "completions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("conversation_id", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("model_digest", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("prompt_messages", sa.Text, nullable=False),
        sa.Column("completion_text", sa.Text, nullable=False),
        sa.Column("completion_token_ids", sa.Text, nullable=False),
        sa.Column("token_logprobs", sa.Text, nullable=False),
        sa.Column("sampling", sa.Text, nullable=False),
        sa.Column("finish_reason", sa.Text, nullable=False),
        sa.Column("is_finished", sa.Boolean, nullable=False),
        sa.Column("latency_ms", sa.Float, nullable=False),
        sa.Column("num_prompt_tokens", sa.Integer, nullable=False),
        sa.Column("num_completion_tokens", sa.Integer, nullable=False),
        sa.Column("rater", sa.Text, nullable=False),
        sa.CheckConstraint(
            "finish_reason IN ('stop', 'length', 'cancelled', 'handover', 'error')",
            name="ck_completions_finish_reason",
        ),
        sa.ForeignKeyConstraint(
            ("tenant", "conversation_id"),
            ("conversations.tenant", "conversations.id"),
            name="fk_completions_conversation",
        ),
    )
    op.create_index("ix_completions_conversation", "completions", ["tenant", "conversation_id", "created_at"])


def _create_feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column(
            "completion_id", sa.Text, sa.ForeignKey("completions.id", name="fk_feedback_completion"), primary_key=True
        ),
        sa.Column("rater", sa.Text, primary_key=True),
        sa.Column("rating", sa.Text),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("comment", sa.Text),
        sa.Column("correction", sa.Text),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Text, nullable=False),
        sa.Column("withdrawn_at", sa.Text),
        sa.CheckConstraint("rating IN ('up', 'down')", name="ck_feedback_rating"),
        sa.CheckConstraint("(rating IS NULL) = (withdrawn_at IS NOT NULL)", name="ck_feedback_withdrawn"),
    )
    op.create_index("ix_feedback_updated_at", "feedback", ["updated_at"])
