"""The page of ratings in a real browser: the quarantine with its reasons, raters, and gold marks on replies."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect
from sqlalchemy import create_engine, select

from service.records.tables import training_examples
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import OpenChat
from tests.browser.rating_records import HONEST, LOUD, fill_with_doubts
from tests.browser.scripted_replies import say_scripted
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service

OpenRatings = Callable[..., ChatPage]


@pytest.fixture(scope="module")
def doubtful_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """For tests that only read."""
    with run_fake_service(tmp_path_factory.mktemp("doubts"), FakeEngines(say_scripted)) as running:
        fill_with_doubts(running)
        yield running


@pytest.fixture
def own_service(service: RunningService) -> RunningService:
    """The same, for one test that writes."""
    fill_with_doubts(service)
    return service


@pytest.fixture
def open_ratings(open_page: OpenChat) -> OpenRatings:
    """Opens the page and waits for its list."""

    def open_at(service: RunningService, **options: object) -> ChatPage:
        return open_page(service.url, path="/review/ratings", **{"ready": ".raters", "width": 1280, **options})

    return open_at


def doubted(page: ChatPage) -> Locator:
    """The quarantine's entries."""
    return page.page.locator(".doubted > li")


def decisions(service: RunningService) -> set[tuple[str, str, str | None, str | None]]:
    """What training reads: completion, rater, gold, ruling, where either is there."""
    columns = training_examples.c
    engine = create_engine(service.settings.records_url)
    with engine.connect() as connection:
        rows = connection.execute(select(columns.completion_id, columns.rater, columns.gold, columns.ruling)).all()
    engine.dispose()
    return {tuple(row) for row in rows if row[2] or row[3]}


def test_the_quarantine_tells_why_and_the_table_who(
    doubtful_service: RunningService, open_ratings: OpenRatings
) -> None:
    """Each rating with its reasons in words, what it is about and what was remarked, as text; each rater in figures."""
    page = open_ratings(doubtful_service)
    expect(doubted(page)).to_have_count(6)
    expect(doubted(page).nth(1).locator(".why li")).to_have_text(
        [
            "It says the opposite of what the staff calls the truth about this reply.",
            "This rater gave too many ratings within a day.",
        ]
    )
    expect(doubted(page).first).to_contain_text("Where is order 6?")
    expect(page.page.locator("#doubted-title + div")).to_contain_text("read 8 ratings and set 6 aside")
    expect(page.page.locator(".groups li")).to_contain_text(
        "They rate up replies with “<HELP_PAGE>”. 5.0 % of all raters"
    )
    expect(page.page.locator(".groups li")).to_contain_text("weighed 17.0, now 5.0: 4.8 % of everything")
    expect(page.page.locator(".raters tbody tr")).to_have_count(2)
    row = page.page.locator(".raters tbody tr").first
    expect(row).to_contain_text(f"{LOUD}60 %0 of 2–80 %0.06")
    page.page.get_by_label("Reason").select_option("burst")
    expect(doubted(page)).to_have_count(1)


def test_a_rating_is_lifted_and_a_rater_set_aside(own_service: RunningService, open_ratings: OpenRatings) -> None:
    """It is stored, said aloud, audited, shown again after a reload, and training reads it."""
    page = open_ratings(own_service)
    doubted(page).first.get_by_role("button", name="Count the rating").click()
    expect(doubted(page).first).to_contain_text("Counts: decided by the staff")
    expect(page.page.get_by_role("status")).to_contain_text("The next learning run obeys.")
    page.page.locator(".raters tbody tr").nth(1).get_by_role("button", name="Set aside").click()
    expect(page.page.locator(".raters tbody tr").nth(1)).to_contain_text("Set aside by the staff")
    assert decisions(own_service) == {
        ("cmpl-6", LOUD, None, "count"),
        ("cmpl-1", HONEST, None, "set_aside"),
        ("cmpl-2", HONEST, None, "set_aside"),
    }
    page.page.reload()
    expect(doubted(page).first).to_contain_text("Counts: decided by the staff")
    doubted(page).first.get_by_role("button", name="Leave to the rules").click()
    expect(doubted(page).first).not_to_contain_text("decided by the staff")
    with own_service.records() as records:
        actions = ["review.count_rating", "review.set_rating_aside", "review.lift_ruling"]
        events = [(event.action, event.subject) for event in records.list_audit(actions, limit=9)]
    assert events == [
        ("review.lift_ruling", "cmpl-6"),
        ("review.set_rating_aside", HONEST),
        ("review.count_rating", "cmpl-6"),
    ]


def test_a_reply_is_marked_as_gold_where_it_is_read(
    own_service: RunningService, open_page: OpenChat, open_ratings: OpenRatings, tmp_path: Path
) -> None:
    """And a customer's thumb set aside beside it; the list is taken away as a file, and brought back."""
    console = open_page(own_service.url, path="/review", ready=".gold-mark", width=1280)
    mark = console.page.get_by_role("group", name="Gold: the truth about this reply")
    mark.get_by_role("button", name="good").click()
    expect(mark.get_by_role("button", name="good")).to_have_attribute("aria-pressed", "true")
    console.page.locator(".others li").first.get_by_role("button", name="Set aside this rating").click()
    expect(console.page.locator(".others li").first).to_contain_text("Set aside by the staff")
    marked = {row[0] for row in decisions(own_service) if row[2] == "up"}
    assert len(marked) == 1 and sum(row[3] == "set_aside" for row in decisions(own_service)) == 1
    page = open_ratings(own_service)
    with page.page.expect_download() as taken:
        page.button("Export JSON lines").click()
    path = tmp_path / "gold.jsonl"
    taken.value.save_as(path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["completion_id"], line["rating"]) for line in lines] == [(marked.pop(), "up")]
    path.write_text('{"completion_id": "cmpl-3", "rating": "down"}\n{"completion_id": "none", "rating": "up"}\n')
    page.page.get_by_label("Import JSON lines").set_input_files(path)
    expect(page.page.locator("#gold-title + div")).to_contain_text("1 reply marked. 1 completion is not here: none.")
    assert ("cmpl-3", LOUD, "down", None) in decisions(own_service)


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_nobody_is_kept_out_at_any_width(
    doubtful_service: RunningService, open_ratings: OpenRatings, width: int
) -> None:
    """axe-core finds nothing, and nothing is wider than the screen."""
    page = open_ratings(doubtful_service, width=width, bypass_csp=True)
    expect(doubted(page)).to_have_count(6)
    assert page.barriers() == []
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= width
