"""The widget on a shop's page: one script tag, a launcher with a panel, and what lasts for a visit."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Response, Route, expect

import service
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import OpenChat
from tests.browser.scripted_replies import OTHER_REPLY
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService

COMPLETIONS = "/v1/chat/completions"
SHOP = "/web/shop.html"
MAX_GZIPPED_BYTES = 30_000
_WEB = Path(service.__file__).with_name("web")
_ARABIC = "أين طلبي؟"


def _show(chat: ChatPage, tag: str, *, html: str = "<html lang=en>", head: str = "", body: str = "") -> None:
    """Goes to a page of the shop's own making that holds the script tag with these attributes."""
    markup = (
        f"<!doctype html>{html}<head><title>Shop</title>{head}</head>"
        f'<body>{body}<script src="/web/widget.js" {tag}></script></body>'
    )
    chat.page.route("**/own-page", lambda route: route.fulfill(content_type="text/html", body=markup))
    chat.page.goto(f"{chat.url}/own-page")
    chat.page.locator(".launcher, .inline").wait_for()


def _stream(*pieces: dict[str, Any]) -> str:
    return "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces) + "data: [DONE]\n\n"


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_one_tag_puts_a_launcher_on_the_page(open_page: OpenChat, shared_service: RunningService, width: int) -> None:
    """It works by keyboard, which goes in and comes back; it fills a phone, and leaves a wide page to be used."""
    chat = open_page(shared_service.url, path=SHOP, width=width, height=700)
    expect(chat.field).to_be_hidden()
    expect(chat.launcher).to_have_accessible_name("Chat with us")
    chat.launcher.focus()
    chat.page.keyboard.press("Enter")
    expect(chat.field).to_be_focused()
    expect(chat.page.get_by_role("dialog", name="Lumen & Loom")).to_be_visible()
    assert chat.text_of(chat.ask("hi")) == OTHER_REPLY
    assert chat.page.evaluate("() => document.documentElement.scrollWidth") == width
    is_narrow = width == 320
    assert chat.page.locator(".window").evaluate("e => e.matches(':modal')") is is_narrow
    box = chat.page.locator(".window").bounding_box()
    assert box
    assert (box["width"] == width) is is_narrow
    if not is_narrow:
        expect(chat.launcher).to_have_attribute("aria-expanded", "true")
        chat.page.get_by_role("link", name="Help").focus()
        expect(chat.page.get_by_role("link", name="Help")).to_be_focused()
        chat.field.focus()
    chat.page.keyboard.press("Escape")
    expect(chat.field).to_be_hidden()
    expect(chat.launcher).to_be_focused()
    expect(chat.launcher).to_have_attribute("aria-expanded", "false")


@pytest.mark.parametrize("width", [320, 768, 1280])
@pytest.mark.parametrize("path", [SHOP, "/"])
def test_axe_finds_no_barrier(open_page: OpenChat, shared_service: RunningService, path: str, width: int) -> None:
    """WCAG 2.2 AA by axe-core: closed, welcoming, with a rated reply and with a failure, in light and dark."""
    chat = open_page(shared_service.url, path=path, width=width, bypass_csp=True)
    assert chat.barriers() == []
    if path == SHOP:
        chat.launcher.click()
        chat.page.wait_for_timeout(250)  # it comes in softly
        assert chat.barriers() == []
    chat.ask("I forgot my password")
    chat.button("Bad reply").click()
    chat.button("Too long").click()
    chat.expects_failed_requests = True
    chat.page.context.set_offline(True)
    chat.send("hi")
    expect(chat.notice).to_contain_text("You are offline.")
    chat.page.mouse.move(0, 0)
    chat.page.wait_for_timeout(250)
    assert chat.barriers() == []


def test_a_visit_goes_on_from_page_to_page(open_page: OpenChat, service: RunningService) -> None:
    """Messages, thumbs and the open panel are kept for the visit; another visitor is somebody else."""
    chat = open_page(service.url, path=SHOP, width=1280)
    chat.launcher.click()
    chat.ask("I forgot my password")
    chat.button("Good reply").click()
    expect(chat.live).to_have_text("Thank you, stored.")
    chat.page.reload()
    expect(chat.replies).to_have_count(1)
    expect(chat.field).to_be_visible()
    chat.page.goto(service.url)
    expect(chat.button("Good reply")).to_have_attribute("aria-pressed", "true")
    chat.ask("Where is my order 10423?")
    first, second = chat.bodies(COMPLETIONS)
    assert (first["user"], first["metadata"]) == (second["user"], second["metadata"])
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]
    chat.button("New conversation").click()
    chat.page.reload()
    expect(chat.page.get_by_role("heading", name="How can we help?")).to_be_visible()
    other = open_page(service.url)
    other.ask("hi")
    assert other.bodies(COMPLETIONS)[0]["user"] != first["user"]


def test_a_reply_that_leaving_the_page_cut_off_can_be_asked_for_again(chat: ChatPage, engines: FakeEngines) -> None:
    """After coming back the question stands there with a word about what happened."""
    engines.opened[-1].hold.set()
    chat.send("hi")
    expect(chat.last_reply.locator(".dots")).to_be_visible()
    chat.page.reload()
    expect(chat.notice).to_contain_text("This reply was interrupted.")
    engines.opened[-1].hold.clear()
    chat.button("Try again").click()
    chat.wait_for_reply()
    assert chat.text_of(chat.last_reply) == OTHER_REPLY
    assert [len(body["messages"]) for body in chat.bodies(COMPLETIONS)] == [1, 1]


def test_what_fails_offline_goes_on_by_itself(shared_chat: ChatPage) -> None:
    """The notice says so; as soon as the browser is online again the question is asked again."""
    shared_chat.expects_failed_requests = True
    shared_chat.page.context.set_offline(True)
    shared_chat.send("hi")
    expect(shared_chat.notice).to_contain_text("You are offline.")
    shared_chat.page.context.set_offline(False)
    shared_chat.wait_for_reply()
    expect(shared_chat.button("Good reply")).to_be_visible()
    expect(shared_chat.replies).to_have_count(1)


def test_only_the_latest_reply_can_be_asked_for_anew(shared_chat: ChatPage) -> None:
    """Another answer takes the place of the last one, on the page and in the conversation."""
    shared_chat.ask("hi")
    shared_chat.ask("I forgot my password")
    again = shared_chat.page.get_by_role("button", name="Answer again")
    expect(again).to_have_count(1)
    again.click()
    shared_chat.wait_for_reply()
    expect(shared_chat.replies).to_have_count(2)
    _, second, third = shared_chat.bodies(COMPLETIONS)
    assert third == second
    assert len(set(shared_chat.request_ids)) == 3


def test_a_closed_panel_says_that_there_is_a_reply(
    open_page: OpenChat, service: RunningService, engines: FakeEngines
) -> None:
    """Closing does not stop the reply; the launcher names it until the panel is opened."""
    chat = open_page(service.url, path=SHOP, width=1280)
    engines.opened[-1].step_seconds = 0.01
    chat.launcher.click()
    chat.send("I forgot my password")
    chat.launcher.click()
    expect(chat.launcher).to_have_accessible_name("Chat with us: there is a new reply")
    chat.launcher.click()
    expect(chat.launcher).to_have_accessible_name("Close the chat")
    expect(chat.last_reply).to_contain_text("It works for one hour.")


def test_a_person_can_be_asked_for(shared_chat: ChatPage) -> None:
    """The shop's page may take over with its own live chat or an address; else the bot is asked for the way."""
    shared_chat.ask("hi")
    shared_chat.page.evaluate(
        "() => addEventListener('rejoinder-person', (e) => { e.preventDefault(); window.asked = e.detail; })"
    )
    shared_chat.button("Talk to a person").click()
    asked = shared_chat.page.evaluate("() => window.asked")
    assert asked["conversationId"] == shared_chat.bodies(COMPLETIONS)[0]["metadata"]["conversation_id"]
    assert asked["messages"] == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": OTHER_REPLY}]
    shared_chat.page.reload()
    shared_chat.button("Talk to a person").click()
    expect(shared_chat.replies).to_have_count(2)
    shared_chat.wait_for_reply()
    assert shared_chat.bodies(COMPLETIONS)[-1]["messages"][-1]["content"] == "I would like to talk to a person"
    _show(shared_chat, "data-inline data-person-url='https://shop.example/contact'")
    link = shared_chat.page.get_by_role("link", name="Talk to a person")
    expect(link).to_have_attribute("href", "https://shop.example/contact")


@pytest.mark.parametrize("rule", ["hand_over", "fruitless"])
def test_what_the_service_suggests_is_said_with_one_press(shared_chat: ChatPage, rule: str) -> None:
    """Quick replies stand under the latest reply only; where the bot hands over, the way to a person stands there."""
    ending = {"finish_reason": "handover", "rule": rule, "quick_replies": ["an invoice", "<b>a refund</b>"]}
    body = _stream({"choices": [{"delta": {"content": "Which of the two?"}}]}, {"choices": [{"delta": {}, **ending}]})
    shared_chat.page.route(
        "**" + COMPLETIONS, lambda route: route.fulfill(content_type="text/event-stream", body=body), times=1
    )
    shared_chat.send("hm")
    suggested = shared_chat.page.get_by_role("group", name="Suggested replies")
    expect(suggested.get_by_role("button")).to_have_text([*ending["quick_replies"], "Talk to a person"])
    suggested.get_by_role("button", name="<b>a refund</b>").click()
    shared_chat.wait_for_reply()
    expect(suggested).to_have_count(0)
    assert shared_chat.bodies(COMPLETIONS)[-1]["messages"][-1]["content"] == "<b>a refund</b>"


def test_tokens_are_fetched_renewed_and_missed(shared_chat: ChatPage) -> None:
    """One serves until it has expired or is refused; without one people are told, and not asked for a key."""
    chat = shared_chat
    chat.expects_failed_requests = True
    answers = [{"token": "first", "expires_in": 0}, {"token": "second", "expires_in": 900}, {"token": "third"}]
    refused = {"Bearer second"}
    used: list[str] = []

    def give(route: Route) -> None:
        route.fulfill(json=answers.pop(0)) if answers else route.fulfill(status=500)

    def look(route: Route) -> None:
        used.append(route.request.headers["authorization"])
        if used[-1] in refused:
            route.fulfill(status=401, json={"error": {"code": "invalid_api_key", "message": "Expired."}})
        else:
            route.continue_()

    chat.page.route("**/token", give)
    chat.page.route("**" + COMPLETIONS, look)
    _show(chat, "data-inline data-token-url='/token'")
    chat.ask("hi")
    chat.ask("I forgot my password")
    assert used == ["Bearer first", "Bearer second", "Bearer third"]
    refused.add("Bearer third")
    chat.send("hi")
    expect(chat.notice).to_contain_text("The chat cannot be reached right now.")
    expect(chat.page.get_by_label("API key")).to_have_count(0)
    answers.append({"token": "fourth"})
    chat.button("Try again").click()
    chat.wait_for_reply()
    assert used[3:] == ["Bearer third", "Bearer third", "Bearer fourth"]


def test_it_takes_on_what_the_shop_sets_and_nothing_else(shared_chat: ChatPage) -> None:
    """Colours by custom properties, theme, heading and starters by attributes; the page's own style stays outside."""
    chat = shared_chat
    style = (
        "<style>:root { --rejoinder-accent: rgb(90, 30, 160); } * { letter-spacing: 9px; text-transform: uppercase; }"
        "button { font-size: 40px; display: none; }</style>"
    )
    _show(
        chat,
        "data-theme=dark data-heading='Ask us' data-starters='Where is it? | When?'",
        html="<html lang=ar dir=rtl>",
        head=style,
    )
    box = chat.launcher.bounding_box()
    assert box
    assert box["x"] == 20  # at the end of a line that runs to the left
    assert chat.launcher.evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(90, 30, 160)"
    chat.launcher.click()
    panel = chat.page.locator(".panel").evaluate(
        "(e, names) => names.map((name) => getComputedStyle(e)[name])",
        ["backgroundColor", "letterSpacing", "textTransform", "direction"],
    )
    assert panel == ["rgb(27, 28, 26)", "normal", "none", "ltr"]
    expect(chat.page.get_by_role("heading", name="Ask us")).to_be_visible()
    expect(chat.page.locator(".starter")).to_have_text(["Where is it?", "When?"])
    chat.ask(_ARABIC)
    assert chat.page.locator(".said .text").evaluate("e => getComputedStyle(e).direction") == "rtl"
    chat.page.add_script_tag(url="/web/widget.js")
    chat.page.wait_for_timeout(200)
    expect(chat.page.locator("rejoinder-chat")).to_have_count(1)


def test_the_whole_widget_is_small(open_page: OpenChat, shared_service: RunningService) -> None:
    """Everything that the tag loads, gzipped as it is sent, stays under the limit; none of it comes from elsewhere."""
    loaded: dict[str, int] = {}
    chat = open_page(shared_service.url, path=SHOP)

    def weigh(response: Response) -> None:
        loaded[response.url] = response.request.sizes()["responseBodySize"]

    chat.page.on("response", weigh)
    _show(chat, "")
    chat.page.wait_for_load_state("networkidle")
    files = {url.partition("/web/")[2]: size for url, size in loaded.items() if "/web/" in url}
    assert {path for path in files if path.endswith((".js", ".css"))} == {
        str(path.relative_to(_WEB))
        for path in _WEB.rglob("*")
        if path.suffix in (".js", ".css") and path.name != "page.css" and _WEB / "staff" not in path.parents
    }
    total = sum(len(gzip.compress((_WEB / path).read_bytes())) for path in files)
    assert total < MAX_GZIPPED_BYTES
    assert sum(files.values()) == pytest.approx(total, rel=0.02)


def test_the_readme_shows_the_attributes_that_there_are() -> None:
    """Every attribute that the element reads is in the README's table, and no other."""
    read = set(re.findall(r'(?:get|has)Attribute\("([a-z-]+)"\)', (_WEB / "chat.js").read_text(encoding="utf-8")))
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert {*read, "theme"} == set(re.findall(r"^\| `data-([a-z-]+)`", readme, flags=re.MULTILINE))
