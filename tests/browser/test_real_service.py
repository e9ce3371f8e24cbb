"""The whole product as an operator starts it: `python -m service serve`, a real engine, a real model."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import expect

from model_store.contract.manifest import MANIFEST_NAME
from model_store.store import DEFAULT_BUNDLE
from tests.browser.conftest import OpenChat
from tests.e2e.running_service import wait_until
from tests.ports import free_port

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def real_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service's address; with the bundle that ships, or where there is none with a tiny one of random weights."""
    directory = tmp_path_factory.mktemp("real")
    bundle = DEFAULT_BUNDLE
    if not (bundle / MANIFEST_NAME).exists():
        pytest.importorskip("torch", reason="no model here, and no torch to make one: pip install -e '.[training]'")
        from tests.e2e.tiny_model import make_real_bundle  # needs torch

        bundle = directory / "bundle"
        make_real_bundle(bundle)
    port = free_port()
    environment = {
        **os.environ,
        "PORT": str(port),
        "DATA_DIR": str(directory / "data"),
        "SERVICE_DEFAULT_BUNDLE": str(bundle),
    }
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, "-m", "service", "serve"], cwd=_ROOT, env=environment) as process:
        try:
            wait_until(lambda: _is_ready(url), seconds=120)
            yield url
        finally:
            process.terminate()


def _is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz").status_code == 200
    except httpx2.TransportError:
        return False


@pytest.mark.parametrize("message", ["I forgot my password", "我忘记了我的账户密码"])
def test_with_the_real_service_a_reply_streams_and_its_thumb_is_stored(
    real_service: str, open_page: OpenChat, message: str
) -> None:
    """The issue's first sentence: a person asks, sees the reply stream in, presses the thumb, and it is stored."""
    chat = open_page(real_service)
    reply = chat.ask(message)
    expect(reply.locator(".notice")).to_have_count(0)
    digest = httpx2.get(f"{real_service}/v1/models").json()["data"][0]["digest"]
    expect(reply.locator(".digest")).to_have_text(digest[:12])
    with chat.page.expect_response("**/v1/feedback") as caught:
        chat.button("Bad reply").click()
    stored = caught.value.json()
    assert (caught.value.status, stored["rating"], stored["withdrawn_at"]) == (200, "down", None)
    expect(chat.live).to_have_text("Thank you, stored.")


def test_with_the_real_service_a_reply_can_be_stopped_and_asked_for_again(
    real_service: str, open_page: OpenChat
) -> None:
    """Stopping leaves the service able to answer at once."""
    chat = open_page(real_service)
    chat.send("I forgot my password")
    chat.page.keyboard.press("Escape")
    chat.wait_for_reply()
    again = chat.page.get_by_role("button", name="Try again")
    if again.count():  # a tiny model may have said all it had to say before the key was pressed
        again.click()
        chat.wait_for_reply()
    expect(chat.button("Good reply")).to_be_visible()
