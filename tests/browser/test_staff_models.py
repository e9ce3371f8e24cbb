"""The versions page in a real browser: what answers, the shelf, two versions side by side, moves and questions."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Locator, expect

from tests.browser.chat_page import SCHEMES, ChatPage
from tests.browser.conftest import OpenChat
from tests.browser.scripted_replies import say_scripted
from tests.browser.staff_shelf import publish, publish_gated
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service, wait_until

API_KEY = "a key of at least sixteen characters"
OpenModels = Callable[..., ChatPage]


@pytest.fixture(scope="module")
def shelf_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A shelf with three versions and a canary, for tests that only look."""
    directory = tmp_path_factory.mktemp("shelf")
    with run_fake_service(directory, FakeEngines(say_scripted), canary_share=0.25) as running:
        stable = running.store.resolve("stable").digest
        publish_gated(running, directory, stable)
        candidate = publish(running, directory, "newer", created_at="2026-03-03T03:03:03Z")
        running.store.promote("candidate", candidate, reason="it reads well")
        wait_until(lambda: len(running.model_router.models) == 2)
        yield running


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[RunningService]:
    """A service whose aliases a test may move; a candidate answers everybody."""
    with run_fake_service(tmp_path / "own", FakeEngines(say_scripted), canary_share=1.0) as running:
        yield running


@pytest.fixture
def open_models(open_page: OpenChat) -> OpenModels:
    """Opens the page and waits for the shelf."""

    def open_at(service: RunningService, **options: object) -> ChatPage:
        return open_page(service.url, path="/models", **{"ready": ".timeline", "width": 1280, **options})

    return open_at


def entry(page: ChatPage, name: str) -> Locator:
    """A version on the timeline."""
    return page.page.locator(".timeline > li").filter(has=page.page.locator("h3", has_text=name))


def dialog(page: ChatPage) -> Locator:
    """The open question."""
    return page.page.get_by_role("dialog")


def test_the_page_tells_what_answers_and_what_lies_on_the_shelf(
    shelf_service: RunningService, open_models: OpenModels
) -> None:
    """Newest first, each with its aliases, its parent and what it learned from."""
    page = open_models(shelf_service)
    stable = shelf_service.store.resolve("stable").digest
    release = page.page.locator("section", has=page.page.locator("#release"))
    expect(release).to_contain_text(f"{stable[:12]} answers 75 % of the conversations")
    expect(release).to_contain_text("There are not yet ratings of both versions.")
    expect(page.page.locator(".timeline h3 span:first-child")).to_have_text(["newer", "gated", "tiny"])
    expect(entry(page, "newer")).to_contain_text("candidate, 25 %")
    expect(entry(page, "gated")).to_contain_text(f"Made from tiny {stable[:12]} by reward model, rloo, with the thumbs")
    expect(page.page.locator("section", has=page.page.locator("#moves"))).to_contain_text("it reads well")


def test_a_gate_report_is_read_as_text(shelf_service: RunningService, open_models: OpenModels) -> None:
    """Each rule with its outcome, changes and figures with intervals; markup in it stays text."""
    page = open_models(shelf_service)
    gated = entry(page, "gated")
    gated.locator("summary").click()
    expect(gated).to_contain_text("The gate has refused it.")
    expect(gated.locator(".rules .chip")).to_have_text(["holds", "broken"])
    expect(gated.locator(".rules")).to_contain_text("<img src=x")
    expect(gated).to_contain_text("−3.4 points−6.0 points to −0.8 points")
    expect(gated).to_contain_text("51.0 %46.0 % to 56.0 %")
    assert page.page.evaluate("() => window.hasFired") is None
    entry(page, "tiny").locator("summary").click()
    expect(entry(page, "tiny")).to_contain_text("No gate report")


def test_two_versions_stand_side_by_side(shelf_service: RunningService, open_models: OpenModels) -> None:
    """The stable one and the candidate first; any two can be chosen."""
    page = open_models(shelf_service)
    section = page.page.locator("section", has=page.page.locator("#compare"))
    expect(section.get_by_role("row", name="Perplexity on authored replies")).to_contain_text("the same")
    gated = entry(page, "gated").locator("h3 code").text_content() or ""
    section.get_by_label("Second version").select_option(label=f"gated {gated}, 2026-02-02")
    expect(section.get_by_role("row", name="Perplexity on authored replies")).to_contain_text("−11.25")
    expect(section.get_by_role("row", name="Replies that set out")).to_contain_text("51.0 % (46.0 % to 56.0 %)")
    section.get_by_label("First version").select_option(label=f"gated {gated}, 2026-02-02")
    expect(section).to_contain_text("Choose two different versions.")


def test_a_promotion_asks_first_says_what_will_happen_and_is_taken_up(
    own_service: RunningService, open_models: OpenModels, tmp_path: Path
) -> None:
    """By keyboard; cancelled it changes nothing. Made, it is in the history with its reason, and answers."""
    old = own_service.store.resolve("stable")
    new = publish(own_service, tmp_path, "newer")
    page = open_models(own_service)
    entry(page, "newer").get_by_role("button", name="Promote").click()
    expect(dialog(page)).to_contain_text(f"Version {new[:12]} (newer, made 2026-01-01) answers all conversations")
    expect(dialog(page)).to_contain_text("nobody has measured whether it is worse")
    page.page.keyboard.press("Escape")
    expect(dialog(page)).to_have_count(0)
    assert own_service.store.resolve("stable") == old

    entry(page, "newer").get_by_role("button", name="Promote").press("Enter")
    expect(dialog(page).get_by_label("Why")).to_be_focused()
    page.page.keyboard.type("people asked for it")
    page.page.keyboard.press("Enter")
    expect(entry(page, "newer")).to_contain_text("stable")
    expect(page.page.locator("section", has=page.page.locator("#moves"))).to_contain_text("people asked for it")
    expect(page.live).to_contain_text(f"Done: Version {new[:12]}")
    assert own_service.store.resolve("stable").digest == new
    wait_until(lambda: [model.digest for model in own_service.model_router.models] == [new])
    with own_service.records() as records:
        assert {event.actor for event in records.list_audit(["models.promote"], limit=5)} == {"operator"}

    page.page.get_by_role("button", name="Roll back").click()
    expect(dialog(page)).to_contain_text(f"Version {old.digest[:12]} (tiny, made 2026-01-01) answers all conversations")
    dialog(page).get_by_role("button", name="Roll back").click()
    expect(entry(page, "tiny")).to_contain_text("stable")
    assert own_service.store.resolve("stable").digest == old.digest


def test_a_canary_is_begun_watched_live_and_held(
    own_service: RunningService, open_models: OpenModels, tmp_path: Path
) -> None:
    """Thumbs appear without a reload, with their interval; holding ends it."""
    stable = own_service.store.resolve("stable").digest
    candidate = publish(own_service, tmp_path, "newer")
    page = open_models(own_service)
    entry(page, "newer").get_by_role("button", name="Try on 100 %").click()
    dialog(page).get_by_role("button", name="Begin the canary").click()
    expect(entry(page, "newer")).to_contain_text("candidate, 100 %")
    wait_until(lambda: len(own_service.model_router.models) == 2)
    with own_service.http as client:
        for number in range(3):
            rate(client, f"talk-{number}", "up" if number else "down")
    chart = page.page.get_by_role("img", name="Thumbs since both answer")
    expect(chart).to_contain_text("67 % of 3 (21 to 94 %)")

    page.page.get_by_role("button", name="Hold the candidate").click()
    expect(dialog(page)).to_contain_text(f"Version {stable[:12]} (tiny, made 2026-01-01) answers all conversations")
    dialog(page).get_by_role("button", name="Hold").click()
    expect(page.page.get_by_role("button", name="Hold the candidate")).to_have_count(0)
    assert own_service.store.resolve("candidate").digest == stable
    assert candidate != stable


def rate(client: httpx2.Client, conversation: str, rating: str) -> None:
    """A conversation with a thumb."""
    metadata = {"conversation_id": conversation}
    body = {"model": "rejoinder", "messages": [{"role": "user", "content": "Hello"}], "metadata": metadata}
    reply = client.post("/v1/chat/completions", json=body).raise_for_status().json()
    vote = {"completion_id": reply["id"], "feedback_token": reply["feedback_token"], "rating": rating}
    client.post("/v1/feedback", json=vote).raise_for_status()


def test_a_decision_that_somebody_else_was_faster_with_is_asked_again(
    own_service: RunningService, open_models: OpenModels, tmp_path: Path
) -> None:
    """The question comes back with what would happen now, and nothing was overwritten."""
    first, second = publish(own_service, tmp_path, "first"), publish(own_service, tmp_path, "second")
    page = open_models(own_service)
    page.expects_failed_requests = True
    entry(page, "second").get_by_role("button", name="Promote").click()
    expect(dialog(page)).to_be_visible()
    own_service.store.promote("stable", first)
    dialog(page).get_by_role("button", name="Promote").click()
    expect(dialog(page)).to_contain_text("Somebody else has moved this alias meanwhile.")
    expect(dialog(page)).to_contain_text(f"{first[:12]} (first, made 2026-01-01), which answers them now")
    assert own_service.store.resolve("stable").digest == first
    page.page.keyboard.press("Escape")
    assert second != first


def test_the_page_asks_for_a_key_and_keeps_it_in_the_tab(open_page: OpenChat, tmp_path: Path) -> None:
    """A wrong key is asked for again; the right one is in sessionStorage and nowhere else, until it is forgotten."""
    with run_fake_service(tmp_path, FakeEngines(say_scripted), api_key=API_KEY) as running:
        page = open_page(running.url, path="/models", ready="dialog")
        page.expects_failed_requests = True
        page.forget_complaints()  # the browser reports the first refusal, which brought the question up
        for key in ("wrong", API_KEY):
            page.page.locator("#api-key").fill(key)
            dialog(page).get_by_role("button", name="Use key").click()
            if key == "wrong":
                expect(dialog(page)).to_contain_text("This key is wrong or was revoked.")
        expect(page.page.locator(".timeline")).to_be_visible()
        kept = page.page.evaluate("() => [Object.values({...sessionStorage}), {...localStorage}, document.cookie]")
        assert kept == [[API_KEY], {}, ""]
        page.page.get_by_role("button", name="Forget key").click()
        expect(dialog(page)).to_be_visible()
        assert page.page.evaluate("() => sessionStorage.length") == 0


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_the_page_is_open_to_all(shelf_service: RunningService, open_models: OpenModels, width: int) -> None:
    """At every width, dark and light: axe-core finds no barrier, and nothing is wider than the window."""
    page = open_models(shelf_service, width=width, bypass_csp=True)
    entry(page, "gated").locator("summary").click()
    expect(entry(page, "gated").locator(".rules")).to_be_visible()
    page.page.locator(".chart summary").click()
    assert_open_to_all(page, width)
    entry(page, "gated").get_by_role("button", name="Promote").click()
    expect(dialog(page)).to_contain_text("Careful: its gate has refused it")
    assert_open_to_all(page, width)
    for scheme, colour in zip(SCHEMES, ("rgb(244, 244, 241)", "rgb(19, 20, 18)"), strict=True):
        page.page.emulate_media(color_scheme=scheme)
        expect(page.page.locator("body")).to_have_css("background-color", colour)


def assert_open_to_all(page: ChatPage, width: int) -> None:
    """No barrier; no sideways scrolling of the page."""
    assert page.barriers() == []
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= width
