"""A shop with doubted ratings: what customers said, and what a learning run thought of it."""

from datetime import UTC, datetime

from model_store.curation import CurationReport, GroupFigures, RaterFigures, RaterName, Reason, SetAside
from tests.browser.review_records import keep, rate
from tests.browser.scripted_replies import XSS_CORPUS
from tests.e2e.running_service import RunningService

LOUD, HONEST = "rater_loud", "rater_honest"


def fill_with_doubts(service: RunningService) -> None:
    """Six ratings by a loud customer, one of them hostile text, and two by an honest one; a report on them."""
    for number in range(1, 7):
        keep(service, number, (f"Where is order {number}?",), f"Order {number} is on its way; see <TRACKING_PAGE>.")
        rate(service, number, "down", rater=LOUD, comment=XSS_CORPUS[0] if number == 1 else None)
    for number in (1, 2):
        rate(service, number, "up", rater=HONEST)
    reasons: tuple[tuple[Reason, ...], ...] = (("flood",),) * 4 + (("contradicts_gold", "flood"), ("burst", "flood"))
    service.store.note_curation(
        CurationReport(
            made_at=datetime(2026, 1, 31, 9, tzinfo=UTC),
            num_ratings=8,
            num_set_aside=6,
            total_weight=2.0,
            by_reason={"flood": 6, "burst": 1, "contradicts_gold": 1},
            set_aside=tuple(
                SetAside(
                    tenant="default",
                    completion_id=f"cmpl-{number}",
                    rater=LOUD,
                    rating="down",
                    rated_at="2026-01-31T08:00:00.000000Z",
                    reasons=reasons[number - 1],
                )
                for number in range(6, 0, -1)
            ),
            raters=(figures(LOUD, 6, 0, weight=0.0, num_set_aside=6), figures(HONEST, 2, 2, weight=2.0)),
            groups=(
                GroupFigures(
                    raters=(RaterName(tenant="default", rater=LOUD),),
                    num_raters=1,
                    kind="likes",
                    word="<HELP_PAGE>",
                    share_of_raters=0.05,
                    weight_before=17.0,
                    weight=5.0,
                    share_of_weight=0.048,
                ),
            ),
        )
    )


def figures(rater: str, num_ratings: int, num_up: int, *, weight: float, num_set_aside: int = 0) -> RaterFigures:
    """What a run knows of a rater."""
    return RaterFigures(
        tenant="default",
        rater=rater,
        num_ratings=num_ratings,
        num_up=num_up,
        num_set_aside=num_set_aside,
        num_compared=2,
        num_agreed=0,
        num_gold=0,
        num_gold_right=0,
        reliability=0.8,
        weight=weight,
    )
