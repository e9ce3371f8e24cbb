"""The chat page as a person uses it, and a record of everything that the browser complained about meanwhile."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect

PATIENCE_MS = 60_000
"""How long a busy machine may take for anything."""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Chromium reports each answer of 400 or more, and each lost connection, as a console error that a page cannot prevent.
_FAILED_REQUEST = "Failed to load resource"
_AXE = Path(__file__).with_name("vendor") / "axe.min.js"
_FIND_BARRIERS = """async () => {
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const { violations } = await axe.run(document, { runOnly: tags, resultTypes: ["violations"], preload: false });
  return violations.map(({ id, nodes }) => [id, nodes.map(({ target, failureSummary }) => [target, failureSummary])]);
}"""
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
_LET_COLOURS_CHANGE = """async () => {
  await new Promise(requestAnimationFrame);
  const shadows = [...document.querySelectorAll("*")].map((node) => node.shadowRoot).filter(Boolean);
  const animations = [document, ...shadows].flatMap((root) => root.getAnimations());
  const changes = animations.filter((animation) => animation instanceof CSSTransition);
  await Promise.allSettled(changes.map((change) => change.finished));
}"""


def find_chromium() -> str | None:
    """The browser to use: the variable CHROMIUM, else what is installed."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _BROWSERS)), None)


class ChatPage:
    """One page with a chat; of other origins than its own it may ask `also_asks`."""

    def __init__(self, page: Page, url: str, also_asks: str = "") -> None:
        self.page = page
        self.url = url
        self._own_urls = (url, also_asks or url, "data:", "blob:")
        self.expects_failed_requests = False
        self.foreign_requests: list[str] = []
        self.request_ids: list[str | None] = []
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

    @property
    def launcher(self) -> Locator:
        """What opens and closes the panel of a chat that is not inline."""
        return self.page.locator(".launcher")

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

    def barriers(self) -> list[Any]:
        """What axe-core finds against WCAG 2.2 AA and its best practices, in light and in dark.

        The context needs `bypass_csp`. One page looked at twice takes half the time of two pages.
        """
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(_AXE.read_text(encoding="utf-8"))
        return [[scheme, *barrier] for scheme in SCHEMES for barrier in self._barriers_in(scheme)]

    def _barriers_in(self, scheme: Literal["light", "dark"]) -> list[Any]:
        self.page.emulate_media(color_scheme=scheme)
        self.page.evaluate(_LET_COLOURS_CHANGE)
        return list(self.page.evaluate(_FIND_BARRIERS))

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
        if not request.url.startswith(self._own_urls):
            self.foreign_requests.append(request.url)
        if request.method == "POST":
            self.request_ids.append(request.headers.get("idempotency-key"))
            self._posts.append((request.url.removeprefix(self.url), json.loads(request.post_data or "null")))


@contextmanager
def open_chat(
    browser: Browser,
    url: str,
    *,
    path: str = "",
    also_asks: str = "",
    ready: str = ".launcher, .inline",
    width: int = 1000,
    height: int = 800,
    **options: Any,
) -> Iterator[ChatPage]:
    """Opens `path` of the site at `url` in a fresh profile and waits for what is `ready` then.

    `options` are Playwright's for a context.
    """
    context = browser.new_context(viewport={"width": width, "height": height}, **{"locale": "en-GB", **options})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    chat = ChatPage(page, url, also_asks)
    page.goto(url + path)
    page.locator(ready).first.wait_for()
    try:
        yield chat
    finally:
        context.close()
