"""Hand-overs to a person that are to be told to the shop's desk. They go with their completion."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Creates the table and an index to find what is due."""
    op.create_table(
        "handovers",
        sa.Column(
            "completion_id",
            sa.Text,
            sa.ForeignKey("completions.id", name="fk_handovers_completion", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("num_attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", sa.Text),
        sa.Column("claim_id", sa.Text),
        sa.Column("last_problem", sa.Text),
        sa.Column("settled_at", sa.Text),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'dead')", name="ck_handovers_state"),
        sa.CheckConstraint("(state = 'pending') = (next_attempt_at IS NOT NULL)", name="ck_handovers_next_attempt"),
    )
    op.create_index("ix_handovers_state", "handovers", ["state", "next_attempt_at"])


def downgrade() -> None:
    """Drops them; what was not delivered is forgotten."""
    op.drop_index("ix_handovers_state", "handovers")
    op.drop_table("handovers")
