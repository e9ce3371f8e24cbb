"""Words that the staff puts on conversations. They go with their conversation."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Creates the table and an index to find conversations by tag."""
    op.create_table(
        "conversation_tags",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("conversation_id", sa.Text, primary_key=True),
        sa.Column("tag", sa.Text, primary_key=True),
        sa.ForeignKeyConstraint(
            ("tenant", "conversation_id"),
            ("conversations.tenant", "conversations.id"),
            name="fk_conversation_tags_conversation",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_conversation_tags_tag", "conversation_tags", ["tenant", "tag"])


def downgrade() -> None:
    """Drops them."""
    op.drop_index("ix_conversation_tags_tag", "conversation_tags")
    op.drop_table("conversation_tags")
