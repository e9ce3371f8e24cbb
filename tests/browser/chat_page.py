"""The chat page as a person uses it, and a record of everything that the browser complained about meanwhile."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Chromium reports each answer of 400 or more, and each lost connection, as a console error that a page cannot prevent.
_FAILED_REQUEST = "Failed to load resource"


def find_chromium() -> str | None:
    """The browser to use: the variable CHROMIUM, else what is installed."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _BROWSERS)), None)


class ChatPage:
    """One page with a chat."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.expects_failed_requests = False
        self.foreign_requests: list[str] = []
        self._posts: list[tuple[str, Any]] = []
        self._complaints: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._complaints.append(f"uncaught: {error}"))
        page.on("request", self._on_request)
        page.add_init_script(
            "window.violations = [];"
            "document.addEventListener('securitypolicyviolation', e => violations.push(e.violatedDirective))"
        )

    @property
    def field(self) -> Locator:
        """Where messages are written."""
        return self.page.locator(".composer textarea")

    @property
    def replies(self) -> Locator:
        """The bot's replies."""
        return self.page.locator(".reply")

    @property
    def last_reply(self) -> Locator:
        """The latest reply."""
        return self.replies.last

    @property
    def notice(self) -> Locator:
        """What went wrong, under the latest reply."""
        return self.last_reply.locator(".notice")

    @property
    def thanks(self) -> Locator:
        """The word that a thumb down and its reasons are stored."""
        return self.last_reply.locator(".thanks")

    @property
    def live(self) -> Locator:
        """What assistive technology is told."""
        return self.page.get_by_role("status")

    def send(self, message: str) -> None:
        """Writes a message and presses Enter."""
        self.field.fill(message)
        self.field.press("Enter")

    def ask(self, message: str) -> Locator:
        """Sends a message and waits for the whole reply."""
        num_replies = self.replies.count()
        self.send(message)
        expect(self.replies).to_have_count(num_replies + 1)
        self.wait_for_reply()
        return self.last_reply

    def wait_for_reply(self) -> None:
        """Waits until nothing streams any more."""
        expect(self.page.get_by_role("button", name="Stop")).to_be_hidden()
        expect(self.last_reply).not_to_have_attribute("aria-busy", "true")

    def text_of(self, reply: Locator) -> str:
        """What a reply says, to the character."""
        return reply.locator(".text").text_content() or ""

    def button(self, name: str) -> Locator:
        """A button by its accessible name; the last one where there are several."""
        return self.page.get_by_role("button", name=name, exact=True).last

    def bodies(self, path: str) -> list[Any]:
        """The JSON bodies posted to `path`, in order."""
        return [body for posted_path, body in self._posts if posted_path == path]

    def complaints(self) -> list[str]:
        """Console errors and warnings, uncaught errors and violations of the page's policy."""
        violations = [f"policy: {name}" for name in self.page.evaluate("() => window.violations ?? []")]
        return self._complaints + violations

    def assert_nothing_went_wrong(self) -> None:
        """Nothing to complain about, and nobody else was asked for anything."""
        assert self.complaints() == [], "the page complained"
        assert self.foreign_requests == [], "the page asked somebody else"

    def forget_complaints(self) -> None:
        """For a test that has provoked some and seen them."""
        self._complaints.clear()
        self.page.evaluate("() => { window.violations = []; }")

    def _on_console(self, message: ConsoleMessage) -> None:
        is_expected = self.expects_failed_requests and message.text.startswith(_FAILED_REQUEST)
        if message.type in ("error", "warning") and not is_expected:
            self._complaints.append(f"{message.type}: {message.text}")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.foreign_requests.append(request.url)
        if request.method == "POST":
            self._posts.append((request.url.removeprefix(self.url), json.loads(request.post_data or "null")))


@contextmanager
def open_chat(
    browser: Browser, url: str, *, width: int = 1000, height: int = 800, locale: str = "en-GB", **options: Any
) -> Iterator[ChatPage]:
    """Opens the chat at `url` in a fresh profile; `options` are Playwright's for a context."""
    context = browser.new_context(viewport={"width": width, "height": height}, locale=locale, **options)
    context.set_default_timeout(10_000)
    page = context.new_page()
    chat = ChatPage(page, url)
    page.goto(url)
    chat.field.wait_for()
    try:
        yield chat
    finally:
        context.close()
