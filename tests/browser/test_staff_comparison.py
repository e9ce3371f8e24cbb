"""Two versions compared in a real browser: the same prompts answered by both, and blind pairs chosen by keys."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from model_store.bundle import Bundle
from service.engine.types import CompletionRequest
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import OpenChat
from tests.browser.scripted_replies import XSS_CORPUS
from tests.browser.staff_shelf import publish, publish_gated
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service

NUM_PROMPTS = 4
OpenAt = Callable[..., ChatPage]


def say(bundle: Bundle, request: CompletionRequest) -> str:
    """Each version says its name, in markup that must stay text."""
    return f"{bundle.manifest.name} says {XSS_CORPUS[1]}"


@pytest.fixture
def pair_service(tmp_path: Path) -> Iterator[RunningService]:
    """Two versions, and prompts to compare them on."""
    with run_fake_service(tmp_path, FakeEngines(say)) as running:
        publish(running, tmp_path, "newer")
        with running.http as client:
            for number in range(NUM_PROMPTS):
                body: dict[str, Any] = {
                    "model": "rejoinder",
                    "messages": [{"role": "user", "content": f"Where is my order 48291{number}?"}],
                    "metadata": {"conversation_id": f"conv-{number}"},
                }
                client.post("/v1/chat/completions", json=body).raise_for_status()
        yield running


@pytest.fixture
def open_pairs(open_page: OpenChat) -> OpenAt:
    """Opens the page and waits for a pair."""

    def open_at(service: RunningService, **options: object) -> ChatPage:
        return open_page(service.url, path="/review/pairs", **{"ready": ".pair .side", "width": 1280, **options})

    return open_at


@pytest.fixture
def open_models(open_page: OpenChat) -> OpenAt:
    """Opens the versions page and waits for the shelf."""

    def open_at(service: RunningService, **options: object) -> ChatPage:
        return open_page(service.url, path="/models", **{"ready": ".timeline", "width": 1280, **options})

    return open_at


def sides(page: ChatPage) -> Locator:
    """Both replies of the pair on show."""
    return page.page.locator(".pair .side")


def owners(page: ChatPage) -> Locator:
    """What tells whose they are."""
    return page.page.locator(".pair .owner")


def test_a_pair_is_chosen_by_a_key_and_only_then_tells_whose_is_whose(
    pair_service: RunningService, open_pairs: OpenAt
) -> None:
    """Masked prompt, two replies as text; a choice is final, counted, and leads on by a key."""
    page = open_pairs(pair_service)
    expect(page.page.locator(".pair .message.user")).to_contain_text("<ORDER_ID>")
    expect(sides(page)).to_have_count(2)
    expect(owners(page).first).to_be_hidden()
    before = page.page.locator(".pair").inner_text()
    page.page.reload()
    expect(sides(page)).to_have_count(2)
    assert page.page.locator(".pair").inner_text() == before, "a reload brings no other pair"

    wanted = 1 if "newer says" in sides(page).nth(1).inner_text() else 0
    page.page.keyboard.press(str(wanted + 1))
    expect(owners(page).nth(wanted)).to_contain_text("newer")
    expect(owners(page).nth(1 - wanted)).to_contain_text("tiny")
    expect(page.live).to_contain_text("reply 2 by")
    expect(page.page.get_by_role("button", name="Next pair")).to_be_focused()
    expect(page.page.locator("#content")).to_contain_text("of 1 prompt (95 % interval")
    page.page.keyboard.press("1")  # it is over: nothing happens
    page.page.keyboard.press("n")
    expect(page.page.get_by_role("heading", name="Which reply is better?")).to_be_visible()
    expect(owners(page).first).to_be_hidden()
    page.page.keyboard.press("0")
    expect(page.page.get_by_role("heading", name="A tie.")).to_be_visible()
    expect(page.page.locator("#content")).to_contain_text("1 tie aside")
    page.page.keyboard.press("n")
    expect(page.page.get_by_role("heading", name="Which reply is better?")).to_be_visible()
    page.page.keyboard.press("s")
    expect(page.page.get_by_role("button", name="As good")).to_be_enabled()
    page.page.get_by_role("button", name="As good").click()
    expect(page.page.get_by_role("heading", name="A tie.")).to_be_visible()
    page.page.keyboard.press("n")
    expect(page.page.locator(".pair-stage")).to_contain_text("No pair to choose from")
    assert page.page.evaluate("() => window.hasFired") is None


def test_choices_are_downloaded(pair_service: RunningService, open_pairs: OpenAt) -> None:
    """As JSON lines, and the page says how many."""
    page = open_pairs(pair_service)
    page.page.keyboard.press("2")
    expect(owners(page).first).to_be_visible()
    with page.page.expect_download() as caught:
        page.page.get_by_role("button", name="Export JSON lines").click()
    assert caught.value.suggested_filename == "preference_pairs.jsonl"
    expect(page.page.locator("#content")).to_contain_text("1 choice exported.")


def test_both_versions_answer_side_by_side(pair_service: RunningService, open_models: OpenAt, tmp_path: Path) -> None:
    """The shop's prompts, or one's own; what differs stands beside each other, as text."""
    page = open_models(pair_service)
    page.page.get_by_role("button", name="Ask both").click()
    answers = page.page.locator(".answers > li")
    expect(answers).to_have_count(10)
    expect(answers.first.locator(".side")).to_have_count(2)
    expect(answers.first.locator(".side").nth(1)).to_contain_text("newer says <img")
    page.page.get_by_text("Ask something else").click()
    page.page.get_by_label("Your own prompts").fill("Is anybody there?\n\nAre you sure?")
    page.page.get_by_role("button", name="Ask both").click()
    expect(answers).to_have_count(2)
    expect(page.live).to_have_text("Both have answered 2 prompts.")
    assert page.page.evaluate("() => window.hasFired") is None


def test_safety_and_fairness_are_compared_and_what_is_not_measured_is_said(
    pair_service: RunningService, open_models: OpenAt, tmp_path: Path
) -> None:
    """From manifests and gate reports; where the gate measured both on the same prompts, its interval stands."""
    stable = pair_service.store.resolve("stable").digest
    gated = publish_gated(pair_service, tmp_path, stable)
    page = open_models(pair_service)
    section = page.page.locator("section", has=page.page.locator("#compare"))
    section.get_by_label("Second version").select_option(value=gated)
    safety = section.get_by_role("group", name="Safety")
    expect(safety.get_by_role("row", name="Delicate cases")).to_contain_text("10.0 % (4.0 % to 23.1 %)")
    expect(safety.get_by_role("row", name="break a safety rule")).to_contain_text("not measured")
    expect(section.get_by_role("group", name="Fairness")).to_contain_text("not measured")
    plans = section.get_by_role("row", name="Replies that set out")
    expect(plans).to_contain_text("−3.4 points (−6.0 points to −0.8 points), on the same prompts")
    expect(section).to_contain_text("No choice was made between them yet.")


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_the_pages_are_open_to_all(
    pair_service: RunningService, open_pairs: OpenAt, open_models: OpenAt, width: int
) -> None:
    """At every width, dark and light: axe-core finds no barrier, and nothing is wider than the window."""
    page = open_pairs(pair_service, width=width, bypass_csp=True)
    assert page.barriers() == []
    page.page.keyboard.press("2")
    expect(owners(page).first).to_be_visible()
    assert page.barriers() == []
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= width
    page = open_models(pair_service, width=width, bypass_csp=True)
    page.page.get_by_role("button", name="Ask both").click()
    expect(page.page.locator(".answers > li").first).to_be_visible()
    assert page.barriers() == []
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= width
