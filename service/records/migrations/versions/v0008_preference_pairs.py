"""Two versions' replies to one prompt and which of them a member of the staff prefers. They go with their prompt."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_PREFERENCE_EXAMPLES = """
CREATE VIEW preference_examples AS
SELECT
    preference_pairs.id AS pair_id,
    completions.id AS completion_id,
    completions.conversation_id AS conversation_id,
    completions.created_at AS created_at,
    completions.language AS language,
    completions.prompt_messages AS prompt_messages,
    CASE choice WHEN 'first' THEN first_digest ELSE second_digest END AS chosen_digest,
    CASE choice WHEN 'first' THEN first_text ELSE second_text END AS chosen_text,
    CASE choice WHEN 'first' THEN first_token_ids ELSE second_token_ids END AS chosen_token_ids,
    CASE choice WHEN 'first' THEN second_digest ELSE first_digest END AS rejected_digest,
    CASE choice WHEN 'first' THEN second_text ELSE first_text END AS rejected_text,
    CASE choice WHEN 'first' THEN second_token_ids ELSE first_token_ids END AS rejected_token_ids,
    preference_pairs.rater AS rater,
    preference_pairs.chosen_at AS chosen_at
FROM preference_pairs
JOIN completions ON completions.id = preference_pairs.completion_id
WHERE choice IN ('first', 'second')
"""


def upgrade() -> None:
    """Creates the table, its indexes and the view that training reads."""
    op.create_table(
        "preference_pairs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column(
            "completion_id",
            sa.Text,
            sa.ForeignKey("completions.id", name="fk_preference_pairs_completion", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("rater", sa.Text, nullable=False),
        sa.Column("first_digest", sa.Text, nullable=False),
        sa.Column("first_text", sa.Text, nullable=False),
        sa.Column("first_token_ids", sa.Text, nullable=False),
        sa.Column("second_digest", sa.Text, nullable=False),
        sa.Column("second_text", sa.Text, nullable=False),
        sa.Column("second_token_ids", sa.Text, nullable=False),
        sa.Column("offered_at", sa.Text, nullable=False),
        sa.Column("choice", sa.Text),
        sa.Column("chosen_at", sa.Text),
        sa.CheckConstraint("choice IN ('first', 'second', 'tie', 'skip')", name="ck_preference_pairs_choice"),
        sa.CheckConstraint("(choice IS NULL) = (chosen_at IS NULL)", name="ck_preference_pairs_chosen_at"),
    )
    op.create_index("ix_preference_pairs_rater", "preference_pairs", ["tenant", "rater", "chosen_at"])
    op.create_index("ix_preference_pairs_completion", "preference_pairs", ["completion_id"])
    op.execute(_PREFERENCE_EXAMPLES)


def downgrade() -> None:
    """Drops them; what was preferred is forgotten."""
    op.execute("DROP VIEW preference_examples")
    op.drop_index("ix_preference_pairs_completion", "preference_pairs")
    op.drop_index("ix_preference_pairs_rater", "preference_pairs")
    op.drop_table("preference_pairs")
