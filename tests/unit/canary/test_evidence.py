"""Which rows count: one thumb a conversation, few of one rater, nothing from before the canary or without a model."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from model_store.shares import Count
from model_store.store import AliasState, Release
from training.canary.evidence import Row, gather, read_rated
from training.errors import InvalidFeedbackDataError

STABLE, CANDIDATE = "a" * 64, "b" * 64
RELEASE = Release(AliasState(STABLE, 1), AliasState(CANDIDATE, 1), datetime(2026, 2, 1, tzinfo=UTC))


def row(number: int, rating: str | None = "up", **changes: object) -> Row:
    """A completion of the candidate in a conversation of its own, rated by nobody in particular."""
    return {
        "completion_id": f"c{number:03}",
        "tenant": "default",
        "conversation_id": f"talk-{number}",
        "created_at": "2026-02-02T08:00:00.000000Z",
        "model_digest": CANDIDATE,
        "completion_text": "Your orders are listed on the orders page.",
        "sampling": json.dumps({"plan": "answer", "seed": 1}),
        "latency_ms": 100.0 + number,
        "rater": "anonymous" if rating else None,
        "rating": rating,
        "rated_at": f"2026-02-02T09:00:{number:02}.000000Z" if rating else None,
        **changes,
    }


def test_both_versions_are_counted_apart() -> None:
    """Thumbs, completions with and without one, and the median time."""
    rows = [row(1), row(2, "down"), row(3, None), row(4, model_digest=STABLE), row(5, model_digest="c" * 64)]
    stable, candidate = gather(rows, RELEASE, max_ratings_per_rater=3)
    assert (stable.digest, stable.thumbs, stable.num_completions) == (STABLE, Count(1, 1), 1)
    assert (candidate.thumbs, candidate.num_completions, candidate.latency_ms) == (Count(1, 2), 3, 102.0)


def test_one_thumb_a_conversation_counts_and_it_is_the_first() -> None:
    """However many replies of it are rated, by however many; another tenant's conversation of that name is another."""
    talk = {"conversation_id": "talk"}
    rows = [row(3, "down", **talk), row(1, "up", **talk), row(1, "down", rater="kim", **talk), row(2, "down", **talk)]
    _, candidate = gather(rows, RELEASE, max_ratings_per_rater=3)
    assert [vote.is_up for vote in candidate.votes] == [True]
    _, both = gather([*rows, row(4, "down", tenant="other", **talk)], RELEASE, max_ratings_per_rater=3)
    assert both.thumbs == Count(1, 2) and both.num_completions == 4


def test_a_named_rater_has_few_votes_and_anonymous_ones_are_many_people() -> None:
    """Ten of each: three count of the one, ten of the others."""
    rows = [row(number, "down", rater="rater_1") for number in range(10)] + [row(number) for number in range(10, 20)]
    _, candidate = gather(rows, RELEASE, max_ratings_per_rater=3)
    assert candidate.thumbs == Count(10, 13)


def test_the_staffs_ratings_are_no_votes() -> None:
    """A conversation that only the staff has rated has none; one that a customer rated later has the customer's."""
    staff = {"rater": "staff_key_1"}
    rows = [row(1, "down", **staff), row(2, "down", **staff), row(2, "up", rated_at="2026-02-02T10:00:00.000000Z")]
    _, candidate = gather(rows, RELEASE, max_ratings_per_rater=3)
    assert candidate.thumbs == Count(1, 1) and candidate.num_completions == 2


def test_what_a_rule_said_before_any_model_is_nobodys_merit() -> None:
    """A safety rule's reply is left out; asking back, which rests on the model's plan, counts."""
    safety, asking = json.dumps({"rule": "crisis"}), json.dumps({"rule": "ask_back", "plan": "answer"})
    _, candidate = gather([row(1, sampling=safety), row(2, sampling=asking)], RELEASE, max_ratings_per_rater=3)
    assert candidate.num_completions == 1
    with pytest.raises(InvalidFeedbackDataError, match="c003"):
        gather([row(3, sampling="{")], RELEASE, max_ratings_per_rater=3)


def test_a_conversation_with_one_unsafe_reply_is_unsafe_rated_or_not() -> None:
    """Two conversations, three replies, one of which asks for a password."""
    ask = "Please send me your password so that I can check."
    rows = [row(1, None, completion_text=ask), row(2, None, conversation_id="talk-1"), row(3, None)]
    _, candidate = gather(rows, RELEASE, max_ratings_per_rater=3)
    assert candidate.unsafe == Count(1, 2)


def test_of_an_export_what_was_said_since_the_canary_began_counts(tmp_path: Path) -> None:
    """An earlier reply's rating is about other days, however late it was given."""
    early = row(2, created_at="2026-01-31T23:59:59.999000Z")
    absent = ("tenant", "latency_ms")
    rows = [{key: value for key, value in each.items() if key not in absent} for each in (row(1), early)]
    path = tmp_path / "feedback.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    _, candidate = gather(read_rated(path, RELEASE), RELEASE, max_ratings_per_rater=3)
    assert (candidate.thumbs, candidate.latency_ms) == (Count(1, 1), None)
    path.write_text(json.dumps({**row(1), "created_at": "soon"}) + "\n", encoding="utf-8")
    with pytest.raises(InvalidFeedbackDataError, match="c001"):
        read_rated(path, RELEASE)
