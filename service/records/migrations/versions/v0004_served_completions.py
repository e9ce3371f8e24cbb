"""The view `served_completions`, by which a candidate is judged: every finished completion, rated or not."""

from alembic import op

revision = "0004"
down_revision = "0003"

_SERVED_COMPLETIONS = """
CREATE VIEW served_completions AS
SELECT
    completions.id AS completion_id,
    completions.tenant AS tenant,
    completions.conversation_id AS conversation_id,
    completions.created_at AS created_at,
    completions.model_digest AS model_digest,
    completions.completion_text AS completion_text,
    completions.sampling AS sampling,
    completions.latency_ms AS latency_ms,
    feedback.rater AS rater,
    feedback.rating AS rating,
    feedback.updated_at AS rated_at
FROM completions
LEFT JOIN feedback ON feedback.completion_id = completions.id AND feedback.rating IS NOT NULL
WHERE completions.is_finished
"""


def upgrade() -> None:
    """Creates the view."""
    op.execute(_SERVED_COMPLETIONS)


def downgrade() -> None:
    """Drops the view."""
    op.execute("DROP VIEW served_completions")
