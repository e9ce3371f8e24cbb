"""A real browser on the real page. The service is real too; only its engine says what a test's script says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.scripted_replies import say_scripted
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service

if TYPE_CHECKING:  # playwright may be missing, and then these tests are skipped, not broken
    from playwright.sync_api import Browser

    from tests.browser.chat_page import ChatPage

_BROWSER_ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)

OpenChat = Callable[..., "ChatPage"]


class _ModuleWithoutPlaywright(pytest.Module):
    def collect(self) -> Any:
        pytest.skip("playwright is missing; get it with `pip install playwright`", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Without playwright every module of this directory is a skip that says so."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return _ModuleWithoutPlaywright.from_parent(parent, path=module_path)
    return None


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One headless Chromium a module: playwright leaves an event loop running that other tests would meet."""
    from playwright.sync_api import expect, sync_playwright

    from tests.browser.chat_page import PATIENCE_MS, find_chromium

    expect.set_options(timeout=PATIENCE_MS)
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium; get one with `apt-get install chromium`, or name one in the variable CHROMIUM")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=_BROWSER_ARGUMENTS.split())
        yield running
        running.close()


@pytest.fixture
def engines() -> FakeEngines:
    """The scripted engines behind `service`; a test may slow them down or hold them."""
    return FakeEngines(say_scripted)


@pytest.fixture
def service(tmp_path: Path, engines: FakeEngines) -> Iterator[RunningService]:
    """The whole service on a free port, with room for three completions at a time."""
    with run_fake_service(tmp_path, engines, num_slots=1) as running:
        yield running


@pytest.fixture(scope="session")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One more of them for all tests that leave engines and stored thumbs alone; starting one takes seconds."""
    with run_fake_service(tmp_path_factory.mktemp("shared"), FakeEngines(say_scripted)) as running:
        yield running


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenChat]:
    """Opens `url` in a fresh profile; after the test nothing may have gone wrong in any page but what it expects."""
    from tests.browser.chat_page import open_chat

    with ExitStack() as stack:
        pages: list[ChatPage] = []

        def open_url(url: str, **options: Any) -> ChatPage:
            pages.append(stack.enter_context(open_chat(browser, url, **options)))
            return pages[-1]

        yield open_url
        for page in pages:
            page.assert_nothing_went_wrong()


@pytest.fixture(scope="module")
def module_chat(browser: Browser, shared_service: RunningService) -> Iterator[ChatPage]:
    """One page on the shared service for all tests of a module; they say themselves that nothing went wrong."""
    from tests.browser.chat_page import open_chat

    with open_chat(browser, shared_service.url) as opened:
        yield opened


@pytest.fixture
def chat(open_page: OpenChat, service: RunningService) -> ChatPage:
    """The page in English, at an ordinary size."""
    return open_page(service.url)


@pytest.fixture
def shared_chat(open_page: OpenChat, shared_service: RunningService) -> ChatPage:
    """`chat` on the shared service."""
    return open_page(shared_service.url)
