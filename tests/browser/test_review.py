"""The review console in a real browser: read, rate and correct by keyboard; filter, search and export."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect
from sqlalchemy import create_engine, select

from model_store.contract.feedback import STAFF_RATER_PREFIX
from service.records.store import AuditEvent
from service.records.tables import feedback
from tests.browser.chat_page import SCHEMES, ChatPage
from tests.browser.conftest import OpenChat
from tests.browser.review_records import LONG_WORD, fill, fill_with_hostile_texts, keep
from tests.browser.scripted_replies import XSS_CORPUS, say_scripted
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service

API_KEY = "a key of at least sixteen characters"
STAFF = f"{STAFF_RATER_PREFIX}operator"
OpenConsole = Callable[..., ChatPage]


@pytest.fixture(scope="module")
def filled_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A shop's morning, for tests that only read."""
    with run_fake_service(tmp_path_factory.mktemp("filled"), FakeEngines(say_scripted)) as running:
        fill(running)
        yield running


@pytest.fixture
def own_service(service: RunningService) -> RunningService:
    """The same morning, for one test that writes."""
    fill(service)
    return service


@pytest.fixture
def open_console(open_page: OpenChat) -> OpenConsole:
    """Opens the console of a service and waits for its list."""

    def open_at(service: RunningService, query: str = "", **options: object) -> ChatPage:
        return open_page(service.url, path=f"/review{query}", **{"ready": ".found-reply", "width": 1280, **options})

    return open_at


def found(console: ChatPage) -> Locator:
    """The list's entries."""
    return console.page.locator(".found-reply")


def choice(console: ChatPage, name: str) -> Locator:
    """A filter's control."""
    return console.page.get_by_label(name, exact=True)


def current(console: ChatPage) -> Locator:
    """The reply that keys act on."""
    return console.page.locator(".reply.current")


def press(console: ChatPage, *keys: str) -> None:
    """Presses keys, one after the other."""
    for key in keys:
        console.page.keyboard.press(key)


def ratings(service: RunningService, completion_id: str) -> list[tuple[str, str | None, list[str], str | None]]:
    """What the staff has said about a reply, as it is stored."""
    columns = feedback.c
    engine = create_engine(service.settings.records_url)
    query = select(columns.rater, columns.rating, columns.reasons, columns.correction)
    with engine.connect() as connection:
        rows = connection.execute(query.where(columns.completion_id == completion_id, columns.rater == STAFF)).all()
    engine.dispose()
    return [tuple(row) for row in rows]


def audit(service: RunningService) -> list[tuple[str, str]]:
    """Actions and subjects, the oldest first."""
    with service.records() as records:
        events: tuple[AuditEvent, ...] = records.list_audit(
            [f"review.{action}" for action in ("rate", "correct", "withdraw", "export", "tag", "untag")], limit=50
        )
    return [(event.action, event.subject) for event in reversed(events)]


def test_the_queue_opens_with_what_was_disliked(filled_service: RunningService, open_console: OpenConsole) -> None:
    """The first is open: its conversation whole, each reply with plan and version, the customer's thumb with why."""
    console = open_console(filled_service)
    expect(found(console).locator(".question")).to_have_text(
        [
            "My lamp is broken",
            f"Look at {LONG_WORD}"[:240] + "…",
            "Where is my order <ORDER_ID>?",
            "退款什么时候到账？",
            "Hello",
        ]
    )
    expect(console.page.locator(".message")).to_have_count(4)
    replies = console.page.locator(".message.reply")
    expect(replies.nth(0)).to_contain_text("greeting · 99 % sure")
    expect(replies.nth(0)).to_contain_text("version abababababab")
    expect(replies.nth(1)).to_contain_text("version cdcdcdcdcdcd")
    expect(current(console)).to_contain_text("Lamps are covered for <WARRANTY_PERIOD>.")
    expect(current(console).locator(".others")).to_contain_text("Customer: badWrong informationToo long")
    expect(current(console).locator(".others")).to_contain_text("It is not even <a lamp>")
    expect(current(console).locator(".placeholder")).to_have_text("<WARRANTY_PERIOD>")
    found(console).nth(4).click()
    expect(current(console)).to_contain_text("Hello! How can I help?")
    expect(console.page.locator(".message")).to_have_count(4)


def test_a_reply_is_rated_by_single_keys(own_service: RunningService, open_console: OpenConsole) -> None:
    """Next, down, a reason, up, and the same again takes it back; each is stored, said aloud and audited."""
    console = open_console(own_service)
    expect(current(console)).to_contain_text("Lamps")
    press(console, "j")
    expect(found(console).nth(1)).to_be_focused()
    expect(current(console)).to_contain_text("I am not sure")
    press(console, "d")
    expect(console.live).to_have_text("Rated bad.")
    console.button("Sounds mechanical").click()
    expect(console.live).to_have_text("Reason stored.")
    expect(console.button("Sounds mechanical")).to_be_focused()
    assert ratings(own_service, "cmpl-3") == [(STAFF, "down", ["mechanical"], None)]
    expect(found(console).nth(1)).to_contain_text("1 down")
    press(console, "u")
    expect(console.live).to_have_text("Rated good.")
    expect(console.button("Good")).to_have_attribute("aria-pressed", "true")
    assert ratings(own_service, "cmpl-3") == [(STAFF, "up", [], None)]
    press(console, "u")
    expect(console.live).to_have_text("Rating withdrawn.")
    assert ratings(own_service, "cmpl-3") == [(STAFF, None, [], None)]
    press(console, "k")
    expect(current(console)).to_contain_text("Lamps")
    press(console, "p")
    expect(current(console)).to_contain_text("How can I help?")
    press(console, "u")
    expect(console.live).to_have_text("Rated good.")
    assert ratings(own_service, "cmpl-2") == [(STAFF, "up", [], None)]
    rated = [(action, subject) for action, subject in audit(own_service)]
    assert rated == [("review.rate", "cmpl-3")] * 3 + [("review.withdraw", "cmpl-3"), ("review.rate", "cmpl-2")]


def test_a_reply_is_corrected_by_keyboard(own_service: RunningService, open_console: OpenConsole) -> None:
    """E opens it, letters are letters meanwhile, Escape leaves everything as it was, Ctrl+Enter stores it."""
    console = open_console(own_service)
    expect(current(console)).to_contain_text("Lamps")
    press(console, "e")
    field = current(console).get_by_label("The reply that should have been given")
    expect(field).to_be_focused()
    expect(field).to_have_value("Lamps are covered for <WARRANTY_PERIOD>.")
    console.page.keyboard.type("jude/?")
    expect(field).to_have_value("Lamps are covered for <WARRANTY_PERIOD>.jude/?")
    press(console, "Escape")
    expect(field).to_have_count(0)
    expect(current(console)).to_be_focused()
    assert ratings(own_service, "cmpl-20") == []
    press(console, "e")
    field.fill("I am sorry! It is covered for <WARRANTY_PERIOD>; write to support@shop.example.")
    current(console).get_by_label("Note (optional)").fill("Nothing was promised to kim@shop.example.")
    press(console, "Control+Enter")
    expect(console.live).to_have_text("Correction stored.")
    stored = "I am sorry! It is covered for <WARRANTY_PERIOD>; write to <SUPPORT_EMAIL>."
    expect(current(console).locator(".correction")).to_contain_text(stored)
    expect(current(console).locator(".comment").last).to_have_text("Nothing was promised to <EMAIL>.")
    expect(console.button("Bad")).to_have_attribute("aria-pressed", "true")
    assert ratings(own_service, "cmpl-20") == [(STAFF, "down", [], stored)]
    assert audit(own_service) == [("review.correct", "cmpl-20")]
    console.page.reload()
    expect(found(console).first).to_contain_text("Look at")


def test_filters_show_what_fits_and_stay_in_the_address(
    filled_service: RunningService, open_console: OpenConsole
) -> None:
    """A view can be kept: after a reload it shows the same. Clear shows everything again."""
    console = open_console(filled_service)
    console.button("All conversations").click()
    expect(found(console)).to_have_count(5)
    console.page.locator(".filters summary").click()
    choice(console, "Rating").select_option("down")
    expect(found(console)).to_have_count(1)
    choice(console, "Reason").select_option("incorrect")
    choice(console, "Plan").select_option("warranty")
    choice(console, "Version").select_option("cd" * 32)
    expect(found(console)).to_have_count(1)
    console.page.reload()
    expect(found(console)).to_have_count(1)
    expect(choice(console, "Plan")).to_have_value("warranty")
    expect(console.page.locator(".filters summary")).to_have_text("Filters 4")
    console.button("Clear").click()
    expect(found(console)).to_have_count(5)
    choice(console, "Kind").select_option("hand_over")
    expect(found(console)).to_have_count(1)
    expect(found(console)).to_contain_text("handed over")
    choice(console, "To").fill("2020-01-01")
    expect(console.page.get_by_text("Nothing found.").last).to_be_visible()
    expect(console.page.get_by_text("No conversation is open.")).to_be_visible()


def test_the_search_is_one_key_away(filled_service: RunningService, open_console: OpenConsole) -> None:
    """What is typed is searched for, and no letter of it is taken for a command."""
    console = open_console(filled_service, "?view=all")
    press(console, "/")
    search = console.page.get_by_label("Search in conversations")
    expect(search).to_be_focused()
    console.page.keyboard.type("ude退款j")
    expect(console.page.get_by_text("Nothing found.").last).to_be_visible()
    search.fill("退款")
    expect(found(console)).to_have_count(1)
    expect(found(console).locator(".question")).to_have_attribute("lang", "zh")
    assert console.bodies("/v1/review/completions/cmpl-4/feedback") == []


def test_single_keys_can_be_turned_off(filled_service: RunningService, open_console: OpenConsole) -> None:
    """WCAG 2.1.4: the help says what there is, and who dictates can turn it off."""
    console = open_console(filled_service)
    press(console, "?")
    dialog = console.page.get_by_role("dialog")
    expect(dialog).to_contain_text("thumb up")
    console.page.get_by_label("Single keys are on").uncheck()
    console.button("Done").click()
    press(console, "j")
    expect(found(console).first).to_have_attribute("aria-current", "true")
    console.button("Keyboard").click()
    console.page.get_by_label("Single keys are on").check()
    console.button("Done").click()
    press(console, "j")
    expect(found(console).nth(1)).to_have_attribute("aria-current", "true")


def test_a_conversation_is_tagged_by_keyboard(own_service: RunningService, open_console: OpenConsole) -> None:
    """T, a word, Enter; the list and the filter know it. Its button takes it off again."""
    console = open_console(own_service)
    expect(current(console)).to_contain_text("Lamps")
    press(console, "t")
    console.page.keyboard.type("Needs article")
    press(console, "Enter")
    expect(console.live).to_have_text("Tagged needs article.")
    expect(found(console).first).to_contain_text("needs article")
    expect(console.page.get_by_label("New tag")).to_be_focused()
    console.page.keyboard.type("b4d")
    press(console, "Enter")
    console.page.locator(".filters summary").click()
    choice(console, "Tag").select_option("needs article")
    expect(found(console)).to_have_count(2)  # both replies of the conversation that wait
    console.button("Take off the tag needs article").click()
    expect(console.live).to_have_text("Tag needs article taken off.")
    assert [action for action, _ in audit(own_service)] == ["review.tag", "review.untag"]


def test_what_is_shown_can_be_taken_away_as_json_lines(
    own_service: RunningService, open_console: OpenConsole, tmp_path: Path
) -> None:
    """The file holds what the filter shows, and the page says how much that was."""
    console = open_console(own_service, "?view=all&rating=down")
    console.page.get_by_text("Filters").first.wait_for()
    with console.page.expect_download() as caught:
        console.button("Export JSON lines").click()
    caught.value.save_as(tmp_path / "export.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "export.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line.get("id") for line in lines] == ["conv-2", None]
    assert len(lines[0]["messages"]) == 4
    expect(console.live).to_have_text("1 conversation exported.")
    assert audit(own_service) == [("review.export", "conversations")]


def test_a_rating_that_cannot_be_stored_says_so_and_can_be_tried_again(
    own_service: RunningService, open_console: OpenConsole
) -> None:
    """Nothing looks pressed that is not stored."""
    console = open_console(own_service)
    expect(current(console)).to_contain_text("Lamps")
    console.expects_failed_requests = True
    console.page.context.set_offline(True)
    press(console, "d")
    expect(console.page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    expect(console.button("Bad")).to_have_attribute("aria-pressed", "false")
    console.page.context.set_offline(False)
    console.button("Try again").click()
    expect(console.button("Bad")).to_have_attribute("aria-pressed", "true")
    expect(console.page.get_by_role("alert")).to_have_count(0)
    assert ratings(own_service, "cmpl-20") == [(STAFF, "down", [], None)]


def test_a_key_is_asked_for_where_one_is_needed(tmp_path: Path, open_page: OpenChat) -> None:
    """A wrong one is refused in the dialog, the right one shows the list; the dialog is open to all."""
    with run_fake_service(tmp_path, FakeEngines(say_scripted), api_key=API_KEY) as service:
        fill(service)
        console = open_page(service.url, path="/review", ready="dialog", bypass_csp=True)
        console.expects_failed_requests = True
        console.forget_complaints()
        assert console.barriers() == []
        field = console.page.get_by_role("textbox", name="API key")
        field.fill("wrong")
        console.button("Use key").click()
        expect(console.page.get_by_role("dialog")).to_contain_text("This key is wrong")
        field.fill(API_KEY)
        console.button("Use key").click()
        expect(found(console)).to_have_count(5)


def test_a_long_list_comes_in_pages(service: RunningService, open_console: OpenConsole) -> None:
    """By button, and by going on from the last one by key."""
    for number in range(65):
        keep(service, number, ("Hello",), f"Reply {number}.", sure=number / 100)
    console = open_console(service)
    expect(found(console)).to_have_count(30)
    console.button("Show more").click()
    expect(found(console)).to_have_count(60)
    found(console).nth(59).click()
    press(console, "j")
    expect(found(console)).to_have_count(65)
    expect(found(console).nth(60)).to_be_focused()
    expect(current(console)).to_contain_text("Reply 60.")
    expect(console.page.get_by_role("button", name="Show more")).to_have_count(0)


def test_nothing_that_was_said_becomes_markup(service: RunningService, open_console: OpenConsole) -> None:
    """Hostile questions, replies, comments and corrections are letters, in the list and in the conversation."""
    fill_with_hostile_texts(service)
    console = open_console(service)
    expect(found(console)).to_have_count(len(XSS_CORPUS))
    for number in range(len(XSS_CORPUS)):
        found(console).nth(number).click()
        expect(console.page.locator(".message.user .words")).to_have_count(1)
        press(console, "e")
        press(console, "Escape")
    shown = console.page.locator(".found-reply .excerpt").all_text_contents()
    assert sorted(shown) == sorted(XSS_CORPUS)
    assert console.page.evaluate("() => window.hasFired") is None
    said = ":is(.found, .reader) :is(script, iframe, img, style, link, a)"
    assert console.page.locator(said).count() == 0


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_everybody_can_use_it_at_every_width(
    filled_service: RunningService, open_console: OpenConsole, width: int
) -> None:
    """Axe finds no barrier in the list, the filters, a conversation, the editor or the help; nothing runs out."""
    console = open_console(filled_service, width=width, height=740, bypass_csp=True)
    console.page.locator(".filters summary").click()
    _assert_open_to_all(console, width)
    found(console).nth(1).click()
    expect(current(console)).to_contain_text("I am not sure")
    _assert_open_to_all(console, width)
    press(console, "e")
    expect(current(console).get_by_label("The reply that should have been given")).to_be_focused()
    _assert_open_to_all(console, width)
    press(console, "Escape", "?")
    expect(console.page.get_by_role("dialog")).to_be_visible()
    _assert_open_to_all(console, width)
    for scheme, colour in zip(SCHEMES, ("rgb(244, 244, 241)", "rgb(19, 20, 18)"), strict=True):
        console.page.emulate_media(color_scheme=scheme)
        expect(console.page.locator("body")).to_have_css("background-color", colour)


def _assert_open_to_all(console: ChatPage, width: int) -> None:
    assert console.barriers() == []
    assert console.page.evaluate("() => document.documentElement.scrollWidth") <= width
    too_wide = console.page.evaluate(
        """(width) => [...document.querySelectorAll("body *")]
          .filter((node) => !node.closest("svg, .hidden, .skip") && node.checkVisibility())
          .filter((node) => node.getBoundingClientRect().right > width + 0.5)
          .map((node) => node.outerHTML.slice(0, 80))""",
        width,
    )
    assert too_wide == []


def test_on_a_small_screen_the_conversation_takes_the_lists_place(
    filled_service: RunningService, open_console: OpenConsole
) -> None:
    """And Back, or Escape, gives it back, with the focus where it was."""
    console = open_console(filled_service, width=360, height=700)
    expect(console.page.locator(".reader")).to_be_hidden()
    found(console).nth(2).click()
    expect(found(console).first).to_be_hidden()
    expect(console.page.locator(".reader")).to_be_focused()
    expect(current(console)).to_contain_text("is on its way")
    press(console, "j")
    expect(current(console)).to_contain_text("到账")
    console.button("Back to the list").click()
    expect(found(console).nth(3)).to_be_focused()
    expect(console.page.locator(".reader")).to_be_hidden()
