"""The book of ratings: which count and which are set aside, by a run's rules or by somebody's ruling; and gold.

Nothing here changes a rating. What the staff decides is kept beside it, noted in the audit before it is done, and
obeyed by the next learning run. Blocks: call it from a worker thread.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from model_store.contract.feedback import STAFF_RATER_PREFIX, Rating, Ruling
from model_store.curation import CurationReport, RaterFigures, Reason
from model_store.store import ModelStore
from service.records.errors import CompletionNotFoundError, RatingNotFoundError
from service.records.review.ratings import RaterCount, RatingKey, StandingRating
from service.records.review.reader import ReviewReader
from service.records.store import AuditEvent, GoldRating, RatingRuling, RecordStore

MAX_RATERS = 500
"""In a list, those who rated most."""
_ACTIONS: Mapping[Ruling | None, str] = {
    "count": "review.count_rating",
    "set_aside": "review.set_rating_aside",
    None: "review.lift_ruling",
}


@dataclass(frozen=True, slots=True)
class DoubtedRating:
    """A rating that the last run set aside, or about which somebody has decided. `ruling` holds for the next run."""

    rating: StandingRating
    reasons: tuple[Reason, ...]
    ruling: Ruling | None
    is_about_rater: bool
    """Whether the ruling is about everything that this rater says."""


@dataclass(frozen=True, slots=True)
class DoubtedPage:
    """Some of them, the newest first; `next_offset` is None at the end."""

    ratings: tuple[DoubtedRating, ...]
    next_offset: int | None
    report: CurationReport | None
    """Without its lists; None: no run has looked at ratings yet."""


@dataclass(frozen=True, slots=True)
class RaterView:
    """A rater: counted now, and as the last run saw them (None: it did not)."""

    count: RaterCount
    figures: RaterFigures | None
    ruling: Ruling | None

    @property
    def is_staff(self) -> bool:
        """Whether it is somebody with a key."""
        return self.count.rater.startswith(STAFF_RATER_PREFIX)


class RatingBook:
    """Reads and decides on behalf of people; safe to share between threads."""

    def __init__(self, reader: ReviewReader, records: RecordStore, shelf: ModelStore) -> None:
        self._reader = reader
        self._records = records
        self._shelf = shelf

    def doubted(
        self, tenant: str, *, limit: int, offset: int = 0, rater: str | None = None, reason: str | None = None
    ) -> DoubtedPage:
        """Ratings that were set aside, or decided about. Those that are gone or withdrawn are left out."""
        report = self._shelf.last_curation()
        own, whole = self._rulings(tenant)
        reasons: dict[RatingKey, tuple[Reason, ...]] = {key: ("staff",) for key, verdict in own.items()}
        for one in report.set_aside if report else ():
            if one.tenant == tenant:
                reasons[RatingKey(one.completion_id, one.rater)] = one.reasons
        keys = [
            key
            for key, given in reasons.items()
            if (rater is None or key.rater == rater) and (reason is None or reason in given)
        ]
        page = keys[offset : offset + limit]
        standing = self._reader.standing_ratings(tenant, page)
        doubted = [
            DoubtedRating(
                rating=standing[key],
                reasons=reasons[key],
                ruling=own.get(key, whole.get(key.rater)),
                is_about_rater=key not in own and key.rater in whole,
            )
            for key in page
            if key in standing
        ]
        more = offset + limit if offset + limit < len(keys) else None
        return DoubtedPage(tuple(doubted), more, report and _for_tenant(report, tenant))

    def raters(self, tenant: str) -> tuple[RaterView, ...]:
        """Who has rated, the most first."""
        report = self._shelf.last_curation()
        figures = {one.rater: one for one in (report.raters if report else ()) if one.tenant == tenant}
        whole = self._rulings(tenant)[1]
        counts = self._reader.rater_counts(tenant, limit=MAX_RATERS)
        return tuple(RaterView(count, figures.get(count.rater), whole.get(count.rater)) for count in counts)

    def rule(self, tenant: str, actor: str, key: tuple[str | None, str], verdict: Ruling | None) -> None:
        """Decides about a rating (completion, rater), or without a completion about a rater; None takes it back.

        Raises RatingNotFoundError or RecordStoreUnavailableError.
        """
        completion_id, rater = key
        ruling = RatingRuling(
            rater=rater,
            completion_id=completion_id,
            verdict=verdict,
            actor=actor,
            decided_at=datetime.now(UTC),
            tenant=tenant,
        )
        if verdict is not None and not self._reader.is_rated(ruling):  # what is not there has had nothing done to it
            raise RatingNotFoundError(rater=rater)
        details = {"rater": rater, "is_whole_rater": completion_id is None}
        self._note(tenant, actor, _ACTIONS[verdict], completion_id or rater, details)
        self._records.record_ruling(ruling)

    def mark_gold(self, tenant: str, actor: str, completion_id: str, rating: Rating | None) -> None:
        """Says what the truth about a completion is; None takes it back.

        Raises CompletionNotFoundError or RecordStoreUnavailableError.
        """
        self._records.get_completion(completion_id, tenant=tenant)  # what is not there has had nothing done to it
        self._note(tenant, actor, "review.mark_gold", completion_id, {"rating": rating})
        now = datetime.now(UTC)
        self._records.record_gold(
            GoldRating(completion_id=completion_id, rating=rating, actor=actor, decided_at=now, tenant=tenant)
        )

    def import_gold(self, tenant: str, actor: str, rows: Iterable[tuple[str, Rating]]) -> list[str]:
        """Marks every completion that is there; gives the ids of those that are not."""
        unknown = []
        for completion_id, rating in rows:
            try:
                self.mark_gold(tenant, actor, completion_id, rating)
            except CompletionNotFoundError:
                unknown.append(completion_id)
        return unknown

    def gold(self, tenant: str) -> list[GoldRating]:
        """A tenant's gold list, the oldest first."""
        return self._reader.gold(tenant)

    def _rulings(self, tenant: str) -> tuple[dict[RatingKey, Ruling], dict[str, Ruling]]:
        """Those about ratings, and those about raters."""
        own: dict[RatingKey, Ruling] = {}
        whole: dict[str, Ruling] = {}
        for ruling in self._reader.rulings(tenant):
            if ruling.verdict is None:
                continue
            if ruling.completion_id is None:
                whole[ruling.rater] = ruling.verdict
            else:
                own[RatingKey(ruling.completion_id, ruling.rater)] = ruling.verdict
        return own, whole

    def _note(self, tenant: str, actor: str, action: str, subject: str, details: Mapping[str, Any]) -> None:
        self._records.record_audit(AuditEvent.now(tenant, actor, action, subject, details))


def _for_tenant(report: CurationReport, tenant: str) -> CurationReport:
    """The report's numbers as they are of one tenant, without its lists."""
    raters = [one for one in report.raters if one.tenant == tenant]
    by_reason: dict[Reason, int] = {}
    for one in report.set_aside:
        for reason in one.reasons if one.tenant == tenant else ():
            by_reason[reason] = by_reason.get(reason, 0) + 1
    return report.model_copy(
        update={
            "num_ratings": sum(one.num_ratings for one in raters),
            "num_set_aside": sum(one.num_set_aside for one in raters),
            "total_weight": sum(one.weight for one in raters),
            "by_reason": by_reason,
            "set_aside": (),
            "raters": (),
            "groups": tuple(group for group in report.groups if all(one.tenant == tenant for one in group.raters)),
        }
    )
