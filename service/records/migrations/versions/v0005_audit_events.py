"""Who of the staff did what, and an index by which one tenant's recent completions are counted."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Creates the table and the index."""
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("occurred_at", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
    )
    op.create_index("ix_audit_events_occurred_at", "audit_events", ["tenant", "occurred_at", "id"])
    op.create_index("ix_completions_tenant_created_at", "completions", ["tenant", "created_at"])


def downgrade() -> None:
    """Drops them; who did what is then forgotten."""
    op.drop_index("ix_completions_tenant_created_at", "completions")
    op.drop_table("audit_events")
