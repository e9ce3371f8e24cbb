"""The sentiment of the message that a completion answers; none for what was recorded before."""

from alembic import op

revision = "0011"
down_revision = "0010"

# SQLite takes a column's own check along with the column, and no other way of adding or dropping one.
_SENTIMENT = """
ALTER TABLE completions ADD COLUMN sentiment TEXT
CONSTRAINT ck_completions_sentiment CHECK (sentiment IN ('negative', 'neutral', 'positive'))
"""


def upgrade() -> None:
    """Adds the column."""
    op.execute(_SENTIMENT)


def downgrade() -> None:
    """Drops it; sentiments are then forgotten."""
    op.drop_column("completions", "sentiment")
