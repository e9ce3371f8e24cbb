"""Customers' sentiment on the overview in a real browser: shares by day, the day that stands out, and nothing told."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Locator, expect

from model_store.contract.conversation import Message, Role
from service.records.store import CompletionRecord
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import OpenChat
from tests.browser.scripted_replies import say_scripted
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service

TITLE = "Negative messages by day"
NUM_DAYS = 8


@pytest.fixture(scope="module")
def moody_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A week of ten messages a day, one of them negative; today forty, of which every second one is."""
    with run_fake_service(tmp_path_factory.mktemp("moody"), FakeEngines(say_scripted)) as running:
        with running.records() as records:
            for number in range(10 * (NUM_DAYS - 1)):
                records.record_completion(reply(number, 1 + number % 7, is_negative=number % 10 == 0))
            for number in range(100, 140):
                records.record_completion(reply(number, 0, is_negative=number % 2 == 0))
        yield running


def reply(number: int, days_ago: int, *, is_negative: bool) -> CompletionRecord:
    """A reply to a message with a sentiment."""
    return CompletionRecord(
        id=f"cmpl-{number}",
        conversation_id=f"conv-{number}",
        created_at=datetime.now(UTC) - timedelta(days=days_ago),
        model_digest="a" * 64,
        language="en",
        prompt_messages=(Message(Role.USER, "Where is it?"),),
        completion_text="On its way.",
        completion_token_ids=(),
        token_logprobs=(),
        sampling={"plan": "track_order" if number < 100 or number % 4 else "refund"},
        finish_reason="stop",
        latency_ms=400.0,
        num_prompt_tokens=3,
        num_completion_tokens=2,
        sentiment="negative" if is_negative else "neutral" if number % 3 else "positive",
    )


def open_overview(open_page: OpenChat, service: RunningService, query: str = "", **options: object) -> ChatPage:
    """The page with its charts."""
    return open_page(service.url, path=f"/insights{query}", **{"ready": ".chart svg, .charts .note", **options})


def mood_chart(page: ChatPage) -> Locator:
    """The panel by its title."""
    return page.page.locator(".panel", has=page.page.get_by_role("heading", name=TITLE, exact=True))


def test_a_day_on_which_the_mood_turns_is_marked(moody_service: RunningService, open_page: OpenChat) -> None:
    """Half of the messages instead of a tenth: one marker, in words too; dots, bands, a table."""
    page = open_overview(open_page, moody_service)
    panel = mood_chart(page)
    expect(panel.get_by_role("img")).to_have_attribute("aria-label", f"{TITLE}. {summary(50)}")
    expect(panel.locator("svg .surge")).to_have_count(1)
    expect(panel.locator("svg .surge title")).to_contain_text("50 % instead of 10 %")
    expect(panel.locator("figcaption")).to_contain_text("Surge of negative messages:")
    expect(panel.locator("svg circle")).to_have_count(NUM_DAYS)
    expect(panel.locator("svg .band")).not_to_have_count(0)
    panel.locator("summary").click()
    last = panel.locator("tbody tr").last
    expect(last.locator("td")).to_have_text(["50 %", "35 to 65 %", "15 %", "40", "5 to 19 %", "yes"])


def test_an_intent_has_its_own_chart(moody_service: RunningService, open_page: OpenChat) -> None:
    """Of the ten refunds all are negative, but ten messages are too few to stand out."""
    panel = mood_chart(open_overview(open_page, moody_service, "?plan=refund"))
    expect(panel.get_by_role("img")).to_have_attribute("aria-label", f"{TITLE}. {summary(100, num_days=1)}")
    expect(panel.locator("svg .surge")).to_have_count(0)


def summary(percent: int, num_days: int = NUM_DAYS) -> str:
    """What the drawing says to those who do not see it."""
    today = datetime.now(UTC)
    days = f"{num_days} {'day has' if num_days == 1 else 'days have'}"
    return f"{days} messages; the last one, {today.day} {today:%b}: {percent} % negative."


def test_a_model_that_tells_no_sentiment_leaves_a_sentence(moody_service: RunningService, open_page: OpenChat) -> None:
    """Not an empty drawing."""
    with moody_service.records() as records:
        old = reply(500, 0, is_negative=False)
        fields = {name: getattr(old, name) for name in CompletionRecord.__dataclass_fields__}
        records.record_completion(CompletionRecord(**{**fields, "language": "zh", "sentiment": None}))
    panel = mood_chart(open_overview(open_page, moody_service, "?language=zh"))
    expect(panel).to_contain_text("No message of this period has a sentiment")
    expect(panel.locator("svg")).to_have_count(0)


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_the_chart_is_open_to_all(moody_service: RunningService, open_page: OpenChat, width: int) -> None:
    """axe-core finds no barrier, and nothing is wider than the window."""
    page = open_overview(open_page, moody_service, width=width, bypass_csp=True)
    mood_chart(page).locator("summary").click()
    assert page.barriers() == []
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_review_shows_the_mood_and_filters_by_it(moody_service: RunningService, open_page: OpenChat) -> None:
    """A word beside the reply; the filter is kept in the address."""
    page = open_page(moody_service.url, path="/review?view=all&sentiment=negative", ready=".found-reply")
    expect(page.page.locator(".chip", has_text="negative message").first).to_be_visible()
    expect(page.page.get_by_label("Customer’s mood")).to_have_value("negative")
    expect(page.page.locator(".chip", has_text="positive message")).to_have_count(0)
