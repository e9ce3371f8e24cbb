"""The overview in a real browser: tiles, charts with their tables, filters in the address."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import OpenChat
from tests.browser.scripted_replies import say_scripted
from tests.browser.staff_shelf import fill
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service

OpenInsights = Callable[..., ChatPage]
TITLES = [
    "Thumbs-up rate by day",
    "Replies by day",
    "Hand-overs by day",
    "Time to a whole reply by day",
    "Thumbs-up rate by version",
    "Thumbs-up rate by language",
    "Thumbs-up rate by intent",
    "Why thumbs went down",
]


@pytest.fixture(scope="module")
def busy_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Twelve days of 36 replies, 18 of them rated, 5 thumbs down."""
    with run_fake_service(tmp_path_factory.mktemp("busy"), FakeEngines(say_scripted)) as running:
        fill(running, running.store.resolve("stable").digest)
        yield running


@pytest.fixture
def open_insights(open_page: OpenChat) -> OpenInsights:
    """Opens the page and waits for its charts."""

    def open_at(service: RunningService, query: str = "", **options: object) -> ChatPage:
        return open_page(service.url, path=f"/insights{query}", **{"ready": ".chart svg, .charts .note", **options})

    return open_at


def chart(page: ChatPage, title: str) -> Locator:
    """A figure by its title."""
    return page.page.locator("figure", has=page.page.get_by_role("heading", name=title, exact=True))


def tile(page: ChatPage, name: str) -> Locator:
    """A tile by its term."""
    return page.page.locator(".tile", has=page.page.locator("dt", has_text=name))


def test_the_overview_tells_volume_thumbs_hand_overs_and_waiting(
    busy_service: RunningService, open_insights: OpenInsights
) -> None:
    """Hand-counted numbers, with plain words and units; each chart says in a sentence what it shows."""
    page = open_insights(busy_service)
    expect(page.page.locator("figure h2")).to_have_text(TITLES)
    expect(tile(page, "Replies")).to_contain_text("36in 36 conversations")
    expect(tile(page, "Thumbs up")).to_contain_text("72 %of 18 ratings (49 to 88 %)")
    expect(tile(page, "Hand-overs")).to_contain_text("11.1 %4 replies offered a person")
    expect(tile(page, "Time to a whole reply")).to_contain_text("400 msin 95 of 100 cases under 700 ms")
    drawing = chart(page, "Thumbs-up rate by language").get_by_role("img")
    expect(drawing).to_have_attribute(
        "aria-label", "Thumbs-up rate by language. English: 75 % of 12 (47 to 91 %); Chinese: 67 % of 6 (30 to 90 %)."
    )
    expect(chart(page, "Why thumbs went down").get_by_role("img")).to_contain_text("too long")


def test_every_chart_has_its_numbers_as_a_table(busy_service: RunningService, open_insights: OpenInsights) -> None:
    """Opened by keyboard; as many rows as days or groups."""
    page = open_insights(busy_service, "?days=7")
    for title in TITLES:
        figure = chart(page, title)
        figure.locator("summary").press("Enter")
        expect(figure.get_by_role("table", name=title)).to_be_visible()
    expect(chart(page, "Replies by day").locator("tbody tr")).to_have_count(7)
    expect(chart(page, "Thumbs-up rate by intent").locator("tbody tr")).to_have_count(2)
    assert chart(page, "Replies by day").locator("tbody tr").last.locator("td").first.text_content() == "3"


def test_what_is_counted_can_be_chosen_and_is_kept_in_the_address(
    busy_service: RunningService, open_insights: OpenInsights
) -> None:
    """A link to a choice shows the choice; what nobody asked about says so."""
    page = open_insights(busy_service)
    page.page.get_by_label("Language", exact=True).select_option("zh")
    expect(tile(page, "Replies")).to_contain_text("12")
    page.page.get_by_label("Intent", exact=True).select_option("refund")
    expect(tile(page, "Replies")).to_contain_text("6in 6")
    assert page.page.url == f"{busy_service.url}/insights?plan=refund&language=zh"
    again = open_insights(busy_service, "?plan=refund&language=zh")
    expect(tile(again, "Replies")).to_contain_text("6in 6")
    expect(again.page.get_by_label("Intent", exact=True)).to_have_value("refund")
    none = open_insights(busy_service, "?plan=nobody_asked")
    expect(none.page.locator(".charts .note")).to_contain_text("Nobody asked anything in this period")


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_the_page_is_open_to_all(busy_service: RunningService, open_insights: OpenInsights, width: int) -> None:
    """At every width, dark and light: axe-core finds no barrier, nothing is wider than the window or its drawing."""
    page = open_insights(busy_service, width=width, bypass_csp=True)
    chart(page, "Replies by day").locator("summary").click()
    assert page.barriers() == []
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= width
    cut = page.page.evaluate(
        """() => [...document.querySelectorAll(".chart svg text")].filter((text) => {
            const [at, all] = [text.getBoundingClientRect(), text.closest("svg").getBoundingClientRect()];
            return at.left < all.left - 1 || at.right > all.right + 1;
          }).map((text) => text.textContent)"""
    )
    assert cut == []


def test_a_drawing_follows_the_width_of_the_window(busy_service: RunningService, open_insights: OpenInsights) -> None:
    """Text keeps its size: the chart is drawn anew, not scaled."""
    page = open_insights(busy_service, width=1280)
    drawing = chart(page, "Replies by day").locator("svg")
    wide = drawing.evaluate("svg => svg.getBoundingClientRect().width")
    page.page.set_viewport_size({"width": 400, "height": 800})
    expect(drawing).not_to_have_attribute("width", str(int(wide)))
    assert drawing.evaluate("svg => svg.getBoundingClientRect().width === Number(svg.getAttribute('width'))")
