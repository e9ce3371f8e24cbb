"""“Why this reply?” in the review console: closed until it is wanted, readable without colours, texts as texts."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenChat
from tests.browser.review_records import keep, rate
from tests.browser.scripted_replies import XSS_CORPUS, say_scripted
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service

HOSTILE = XSS_CORPUS[0]


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Three replies: one of the version that answers, one like it that was disliked, one of a version that is gone."""
    folder = tmp_path_factory.mktemp("explained")
    with run_fake_service(folder, FakeEngines(say_scripted), plans=("track_package", "greeting")) as running:
        digest = running.model_router.models[0].digest
        question = "Where is my parcel <ORDER_ID>?"
        keep(running, 1, (question,), "See <TRACKING_PAGE>.", sure=0.4, model_digest=digest)
        keep(running, 2, (f"Where is my parcel {HOSTILE}?",), f"See {HOSTILE}.", model_digest=digest)
        rate(running, 2, "down", reasons=("too_long",), correction=f"Look {HOSTILE}")
        keep(running, 3, ("Hello",), "Hello!", plan="greeting")
        yield running


def test_a_reply_tells_why_when_it_is_asked(open_page: OpenChat, explained: RunningService) -> None:
    """Nothing is fetched before; then every word has its place, and the rating behind it is shown as text."""
    console = open_page(explained.url, path="/review", ready=".found-reply", width=1280)
    console.page.locator(".found-reply", has_text="<TRACKING_PAGE>").first.click()
    why = console.page.locator(".reply .explanation")
    expect(why).to_have_count(1)
    expect(why.locator(".piece")).to_have_count(0)
    why.locator("summary").click()
    expect(why.locator(".pieces")).to_have_text("Where is my parcel <ORDER_ID>?")
    expect(why).to_contain_text("Set out to say “track_package”")
    near = why.locator(".others li")
    expect(near).to_have_count(1)
    expect(near).to_contain_text(HOSTILE)
    expect(near).to_contain_text("Should have been")


def test_what_cannot_be_asked_is_said(open_page: OpenChat, explained: RunningService) -> None:
    """A version that no longer answers has no words to show; the rest is there."""
    console = open_page(explained.url, path="/review", ready=".found-reply", width=1280)
    console.page.locator(".found-reply", has_text="Hello!").first.click()
    why = console.page.locator(".reply .explanation")
    why.locator("summary").click()
    expect(why).to_contain_text("no longer answers")
    expect(why).to_contain_text("None has a word in common.")
