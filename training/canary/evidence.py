"""The evidence: what both versions said and what people thought of it, since they answer side by side.

The unit is the conversation, because that is what the router draws: of each one rating counts, a customer's first that
stands.
Earlier ratings of the stable version are left out: other days, other customers. Who decides: `judge`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from model_store.contract.feedback import SERVED_COMPLETIONS_COLUMNS, SERVED_COMPLETIONS_VIEW, STAFF_RATER_PREFIX
from model_store.contract.wording.unsafe import unsafe_rules
from model_store.shares import Count
from model_store.store import Release
from training.data.feedback_rows import ANONYMOUS_RATER, read_export, read_rows
from training.errors import InvalidFeedbackDataError

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Vote:
    """One conversation's thumb, and when it was given (ISO 8601, UTC: text order is the order of time)."""

    is_up: bool
    rated_at: str


@dataclass(frozen=True, slots=True)
class VersionEvidence:
    """What is known of one version; votes in the order in which they were given."""

    digest: str
    votes: tuple[Vote, ...] = ()
    num_completions: int = 0
    unsafe: Count = Count(0, 0)
    """Conversations with a reply that breaks a safety rule."""
    latency_ms: float | None = None
    """Median from request to the completion's end; None where the source does not say."""

    @property
    def thumbs(self) -> Count:
        """Thumbs up among the votes."""
        return count_up(self.votes)


def count_up(votes: Sequence[Vote]) -> Count:
    """Thumbs up among votes."""
    return Count(sum(vote.is_up for vote in votes), len(votes))


def read_served(url: str, release: Release) -> list[Row]:
    """Finished completions since the canary began, rated or not, from the service's database.

    Raises DataNotFoundError.
    """
    moment = release.since.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return read_rows(url, SERVED_COMPLETIONS_VIEW, SERVED_COMPLETIONS_COLUMNS, created_since=moment)


def read_rated(path: Path, release: Release) -> list[Row]:
    """Rated completions since the canary began, from a feedback export: no latency, and no replies without a thumb.

    Raises DataNotFoundError, InvalidFeedbackDataError.
    """
    return [row for row in read_export(path) if _created_at(row) >= release.since]


def gather(
    rows: Iterable[Row], release: Release, *, max_ratings_per_rater: int
) -> tuple[VersionEvidence, VersionEvidence]:
    """Stable and candidate, from rows of either source. Replies of rules that run before any model are left out.

    Raises InvalidFeedbackDataError for a row that is not what the contract says.
    """
    digests = [release.stable.digest, release.candidate.digest if release.candidate else ""]
    by_digest: dict[str, list[Row]] = {digest: [] for digest in digests}
    for row in rows:
        if row["model_digest"] in by_digest and not _is_rules_alone(row):
            by_digest[row["model_digest"]].append(row)
    stable, candidate = (_evidence(digest, found, max_ratings_per_rater) for digest, found in by_digest.items())
    return stable, candidate


def _evidence(digest: str, rows: Sequence[Row], max_ratings_per_rater: int) -> VersionEvidence:
    completions = {str(row["completion_id"]): row for row in rows}
    unsafe: dict[tuple[str, str], bool] = {}
    for row in completions.values():
        unsafe[_conversation(row)] = unsafe.get(_conversation(row), False) or bool(unsafe_rules(row["completion_text"]))
    latencies = [float(row["latency_ms"]) for row in completions.values() if row.get("latency_ms") is not None]
    return VersionEvidence(
        digest=digest,
        votes=_votes(rows, max_ratings_per_rater),
        num_completions=len(completions),
        unsafe=Count(sum(unsafe.values()), len(unsafe)),
        latency_ms=median(latencies) if latencies else None,
    )


def _votes(rows: Sequence[Row], max_ratings_per_rater: int) -> tuple[Vote, ...]:
    rated = [row for row in rows if row["rating"] in ("up", "down") and not _is_from_staff(row)]
    votes: dict[tuple[str, str], Vote] = {}
    num_by_rater: Counter[tuple[str, str]] = Counter()
    for row in sorted(rated, key=lambda row: (row["rated_at"], row["completion_id"], row["rater"])):
        rater = (str(row.get("tenant")), str(row["rater"]))
        is_full = rater[1] != ANONYMOUS_RATER and num_by_rater[rater] >= max_ratings_per_rater
        if _conversation(row) not in votes and not is_full:
            votes[_conversation(row)] = Vote(row["rating"] == "up", str(row["rated_at"]))
            num_by_rater[rater] += 1
    return tuple(votes.values())


def _is_from_staff(row: Row) -> bool:
    """What the staff rates teaches, but it chooses what it reads, and it is nobody who was helped."""
    return str(row["rater"]).startswith(STAFF_RATER_PREFIX)


def _conversation(row: Row) -> tuple[str, str]:
    return str(row.get("tenant")), str(row["conversation_id"])


def _is_rules_alone(row: Row) -> bool:
    try:
        sampling = dict(json.loads(row["sampling"]))
    except (TypeError, ValueError) as error:
        raise InvalidFeedbackDataError(completion_id=row["completion_id"], problem=error) from error
    return "rule" in sampling and "plan" not in sampling


def _created_at(row: Row) -> datetime:
    try:
        return datetime.fromisoformat(str(row.get("created_at")))
    except ValueError as error:
        raise InvalidFeedbackDataError(completion_id=row.get("completion_id"), problem=error) from error
