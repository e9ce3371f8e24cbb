"""How a candidate is liked, beside the stable version, since both answer: live thumbs and what they can tell by now."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from model_store.shares import Count, Interval, RatingsNeeded, difference, ratings_needed
from model_store.store import Release
from service.records.oversight.reader import OversightReader
from service.records.oversight.votes import Votes

_RECENT = timedelta(days=30)
"""Thumbs that say how the stable version is liked while there is no canary."""


@dataclass(frozen=True, slots=True)
class CanaryState:
    """Votes of both, one a conversation, and their difference, valid however often it is looked at."""

    since: datetime
    stable: Count
    candidate: Count

    @property
    def difference(self) -> Interval:
        """The candidate's share of thumbs up minus the stable version's."""
        return difference(self.stable, self.candidate)

    @property
    def sentence(self) -> str:
        """What that means in words. No decision: that is `python -m training canary`'s, or a person's."""
        if not self.stable.num_trials or not self.candidate.num_trials:
            return "There are not yet ratings of both versions."
        if self.difference.low > 0:
            return "People like the candidate better; that is no chance any more."
        if self.difference.high < 0:
            return "People like the candidate less; that is no chance any more."
        return "The thumbs do not tell yet which version people like better."


def watch(reader: OversightReader, release: Release, *, tenant: str | None) -> CanaryState | None:
    """The canary's state; None while there is none. `tenant` None counts all tenants' votes. Raises RecordsError."""
    if release.candidate is None:
        return None
    digests = (release.stable.digest, release.candidate.digest)
    votes = reader.votes(digests, release.since, tenant=tenant)
    stable, candidate = (Count(*votes.get(digest, Votes())) for digest in digests)
    return CanaryState(release.since, stable, candidate)


def ratings_to_come(
    reader: OversightReader, release: Release, canary: CanaryState | None, *, share: float, tenant: str | None
) -> RatingsNeeded | None:
    """How many ratings a visible gain still takes, of the canary that is on, or of one that would begin now.

    None where there is no canary and a candidate would get no conversation. Raises RecordsError.
    """
    if canary is not None:
        return ratings_needed(canary.stable, canary.candidate, planned_share=share)
    if share <= 0:
        return None
    digest = release.stable.digest
    votes = reader.votes((digest,), datetime.now(UTC) - _RECENT, tenant=tenant)
    return ratings_needed(Count(*votes.get(digest, Votes())), Count(0, 0), planned_share=share)
