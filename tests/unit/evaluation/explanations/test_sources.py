"""What is read of the service's own database: any finished completion, rated or not, and every standing rating."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from model_store.contract.conversation import Message, Role
from service.records.sql_store import SqlRecordStore
from service.records.store import CompletionRecord, FeedbackRecord
from training.errors import DataNotFoundError
from training.evaluation.explanations.explanation import rated_replies
from training.evaluation.explanations.sources import read_stored


def completion(number: int, **fields: Any) -> CompletionRecord:
    """A record of the service."""
    values: dict[str, Any] = {
        "id": f"cmpl-{number}",
        "conversation_id": f"conv-{number}",
        "created_at": datetime(2026, 1, 1, 12, number, tzinfo=UTC),
        "model_digest": "ab" * 32,
        "language": "en",
        "prompt_messages": (Message(Role.USER, "Where is my parcel <ORDER_ID>?"),),
        "completion_text": "See <TRACKING_PAGE>.",
        "completion_token_ids": (300, 2),
        "token_logprobs": (-0.5, -0.1),
        "sampling": {"plan": "track_package"},
        "finish_reason": "stop",
        "latency_ms": 10.0,
        "num_prompt_tokens": 9,
        "num_completion_tokens": 2,
    }
    return CompletionRecord(**{**values, **fields})


def test_an_unrated_completion_is_found_with_the_ratings_of_others(tmp_path: Path) -> None:
    """Masked as it was stored; a half completion is as unknown as none."""
    url = f"sqlite:///{tmp_path}/rejoinder.db"
    store = SqlRecordStore.open(url)
    try:
        store.record_completion(completion(1))
        store.record_completion(completion(2))
        store.record_completion(completion(3, finish_reason="cancelled"))
        given = {"completion_id": "cmpl-2", "rater": "rater_1", "rating": "down", "reasons": ("too_long",)}
        store.record_feedback(FeedbackRecord(**given))  # type: ignore[arg-type]
    finally:
        store.close()
    stored, rows = read_stored("cmpl-1", url)
    assert (stored.text, stored.token_ids) == ("See <TRACKING_PAGE>.", (300, 2))
    assert [message.content for message in stored.messages] == ["Where is my parcel <ORDER_ID>?"]
    (rated,) = rated_replies(rows)
    assert (rated.completion_id, rated.rating, rated.reasons) == ("cmpl-2", "down", ("too_long",))
    for unknown in ("cmpl-3", "cmpl-9"):
        with pytest.raises(DataNotFoundError, match=unknown):
            read_stored(unknown, url)
