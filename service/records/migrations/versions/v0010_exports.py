"""Which exports were made, so that an erasure can name and reach them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "exports",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("made_at", sa.Text, nullable=False),
        sa.Column("table_name", sa.Text, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("path", sa.Text),
        sa.Column("host", sa.Text, nullable=False),
    )
    op.create_index("ix_exports_made_at", "exports", ["made_at"])


def downgrade() -> None:
    """Drops it; which exports were made is then forgotten."""
    op.drop_index("ix_exports_made_at", "exports")
    op.drop_table("exports")
