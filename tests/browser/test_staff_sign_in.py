"""Sign-in in a real browser: to the provider and back, rate a reply as oneself, and out again."""

import json
from pathlib import Path

from playwright.sync_api import expect
from sqlalchemy import create_engine, select

from model_store.contract.feedback import STAFF_RATER_PREFIX
from service.access.sign_in.people import person_id
from service.records.tables import feedback
from tests.browser.conftest import OpenChat
from tests.browser.review_records import fill
from tests.browser.scripted_replies import say_scripted
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import FEEDBACK_SECRET, RunningService
from tests.e2e.signing_in import run_with_sign_in


def ratings_of(service: RunningService, rater: str) -> list[tuple[str, str | None]]:
    """Completions with their ratings, as they are stored."""
    engine = create_engine(service.settings.records_url)
    query = select(feedback.c.completion_id, feedback.c.rating).where(feedback.c.rater == rater)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    engine.dispose()
    return [tuple(row) for row in rows]


def test_a_person_signs_in_and_rates(tmp_path: Path, open_page: OpenChat) -> None:
    """No key is asked for; who is here stands in the header; the thumb is theirs; after signing out nothing is left."""
    with run_with_sign_in(tmp_path, FakeEngines(say_scripted)) as (service, provider):
        fill(service)
        console = open_page(service.url, path="/review?view=all", ready="dialog", also_asks=provider.url, width=1280)
        console.expects_failed_requests = True
        console.forget_complaints()
        page = console.page
        expect(page.get_by_role("dialog").get_by_role("textbox")).to_have_count(0)
        page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{service.url}/review?view=all")
        expect(page.locator(".found-reply")).to_have_count(5)
        expect(page.locator("header .person")).to_contain_text("Kim")
        expect(page.locator(".reply.current")).to_be_visible()
        page.keyboard.press("u")
        expect(console.live).to_have_text("Rated good.")
        who = person_id(provider.url, "kim-1", FEEDBACK_SECRET)
        with service.records() as records:
            (event,) = records.list_audit(["review.rate"], limit=5)
        assert event.actor == who
        assert ratings_of(service, f"{STAFF_RATER_PREFIX}{who}") == [(event.subject, "up")]
        assert "rejoinder-staff" not in json.dumps(page.evaluate("[document.cookie, {...sessionStorage}]"))
        console.button("Sign out").click()
        expect(page.get_by_role("dialog")).to_contain_text("You sign in where")
        assert [cookie["name"] for cookie in page.context.cookies(service.url)] == []
