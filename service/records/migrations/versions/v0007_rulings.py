"""What the staff calls the truth about replies, what it decided about ratings, and through what a rating came.

The view `training_examples` says all three; `conversation_turns` shows what people did who rated nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_OLD_COLUMNS = """
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
    feedback.updated_at AS rated_at"""
_RATED = """
FROM feedback
JOIN completions ON completions.id = feedback.completion_id"""
_STANDING = """
WHERE feedback.rating IS NOT NULL AND completions.is_finished
"""
_OLD_EXAMPLES = f"CREATE VIEW training_examples AS SELECT {_OLD_COLUMNS} {_RATED} {_STANDING}"
_EXAMPLES = f"""
CREATE VIEW training_examples AS
SELECT {_OLD_COLUMNS},
    completions.tenant AS tenant,
    feedback.origin AS origin,
    gold_ratings.rating AS gold,
    COALESCE(own.verdict, whole.verdict) AS ruling
{_RATED}
LEFT JOIN gold_ratings ON gold_ratings.completion_id = completions.id
LEFT JOIN rating_rulings AS own ON own.tenant = completions.tenant AND own.rater = feedback.rater
    AND own.completion_id = completions.id
LEFT JOIN rating_rulings AS whole ON whole.tenant = completions.tenant AND whole.rater = feedback.rater
    AND whole.completion_id = ''
{_STANDING}
"""
_TURNS = """
CREATE VIEW conversation_turns AS
SELECT
    id AS completion_id, tenant, conversation_id, created_at, language, prompt_messages, completion_text,
    completion_token_ids, sampling, finish_reason, rater
FROM completions
WHERE is_finished
"""


def upgrade() -> None:
    """Creates the tables and the column, and the views over them."""
    op.execute("DROP VIEW training_examples")
    op.add_column("feedback", sa.Column("origin", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "gold_ratings",
        sa.Column(
            "completion_id",
            sa.Text,
            sa.ForeignKey("completions.id", name="fk_gold_ratings_completion", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("rating", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("decided_at", sa.Text, nullable=False),
        sa.CheckConstraint("rating IN ('up', 'down')", name="ck_gold_ratings_rating"),
    )
    op.create_index("ix_gold_ratings_decided_at", "gold_ratings", ["tenant", "decided_at", "completion_id"])
    op.create_table(
        "rating_rulings",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("rater", sa.Text, primary_key=True),
        sa.Column("completion_id", sa.Text, primary_key=True),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("decided_at", sa.Text, nullable=False),
        sa.CheckConstraint("verdict IN ('count', 'set_aside')", name="ck_rating_rulings_verdict"),
    )
    op.create_index("ix_rating_rulings_completion", "rating_rulings", ["completion_id"])
    op.execute(_EXAMPLES)
    op.execute(_TURNS)


def downgrade() -> None:
    """Drops them, and with them what the staff decided."""
    op.execute("DROP VIEW conversation_turns")
    op.execute("DROP VIEW training_examples")
    op.drop_table("rating_rulings")
    op.drop_table("gold_ratings")
    op.drop_column("feedback", "origin")
    op.execute(_OLD_EXAMPLES)
