"""The widget on another origin: modules, tokens and streams across it, under a shop's own strict policy."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.conftest import OpenChat
from tests.browser.scripted_replies import OTHER_REPLY
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service

API_KEY = "a key of at least sixteen characters"
_PAGE = """<!doctype html><html lang="en"><head><title>Shop</title></head><body><h1>Shop</h1>
<script src="{service}/web/widget.js" async data-token-url="/chat-token"></script></body></html>"""
_POLICY = (
    "default-src 'none'; script-src {service}; style-src {service}; connect-src 'self' {service}; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


class _Shop:
    """A shop's server: a page with the tag, and the endpoint that fetches tokens with the shop's API key."""

    def __init__(self) -> None:
        self.service: RunningService | None = None
        self.num_tokens = 0
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body, kind = shop.answer(self.path)
                self.send_response(200 if body else 404)
                self.send_header("content-type", kind)
                self.send_header("content-security-policy", _POLICY.format(service=shop.service.url))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, path: str) -> tuple[bytes, str]:
        """The body and its type; nothing for a path that the shop does not have."""
        assert self.service
        if path == "/":
            return _PAGE.format(service=self.service.url).encode(), "text/html"
        if path != "/chat-token":
            return b"", "text/plain"
        self.num_tokens += 1
        headers = {"authorization": f"Bearer {API_KEY}"}
        response = self.service.http.post("/v1/widget-tokens", json={"origin": self.url}, headers=headers)
        return response.raise_for_status().content, "application/json"


@contextmanager
def _open_shop() -> Iterator[_Shop]:
    shop = _Shop()
    thread = threading.Thread(target=shop.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield shop
    finally:
        shop.server.shutdown()
        thread.join()
        shop.server.server_close()


def test_a_shop_elsewhere_chats_with_tokens_of_its_own(
    tmp_path: Path, engines: FakeEngines, open_page: OpenChat
) -> None:
    """Its policy names the service and nothing else; a token is fetched once, and the thumb is stored."""
    with (
        _open_shop() as shop,
        run_fake_service(tmp_path, engines, api_key=API_KEY, widget_origins=shop.url) as service,
    ):
        shop.service = service
        chat = open_page(shop.url, also_asks=service.url)
        chat.expects_failed_requests = True  # the favicon
        chat.launcher.click()
        assert chat.text_of(chat.ask("hi")) == OTHER_REPLY
        chat.button("Good reply").click()
        expect(chat.live).to_have_text("Thank you, stored.")
        assert shop.num_tokens == 1
        with service.records() as records:
            assert records.count_feedback() == (1, 0)


def test_a_page_that_nobody_has_named_is_told_nothing(
    tmp_path: Path, engines: FakeEngines, open_page: OpenChat
) -> None:
    """Without its origin in the settings the browser refuses to ask, and the widget says that it cannot be reached."""
    with _open_shop() as shop, run_fake_service(tmp_path, engines) as service:
        shop.service = service
        chat = open_page(shop.url, also_asks=service.url)
        chat.expects_failed_requests = True
        chat.page.route("**/chat-token", lambda route: route.fulfill(json={"token": "made up"}))
        chat.launcher.click()
        chat.send("hi")
        expect(chat.notice).to_contain_text("The connection was lost.")
        assert any("CORS" in complaint for complaint in chat.complaints())
        chat.forget_complaints()
