"""Everybody can use it: by keyboard, by ear, on a small screen, in the dark, without movement."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import OpenChat
from tests.browser.scripted_replies import OTHER_REPLY
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService

COMPLETIONS = "/v1/chat/completions"
MIN_CONTRAST = 4.5  # WCAG 2.2, success criterion 1.4.3

_FOCUSED = """() => {
  const node = document.querySelector("rejoinder-chat").shadowRoot.activeElement;
  return node && (node.getAttribute("aria-label") ?? node.textContent);
}"""
_NUM_ANIMATIONS = "() => document.querySelector('rejoinder-chat').shadowRoot.getAnimations().length"
# Every visible piece of text against the nearest opaque background behind it.
_CONTRASTS = """() => {
  const parse = (colour) => {
    const [r, g, b, alpha = 1] = (colour.match(/[\\d.]+/g) ?? []).map(Number);
    return colour.startsWith("color(srgb") ? [r * 255, g * 255, b * 255, alpha] : [r, g, b, alpha];
  };
  const luminance = (colour) => {
    const [r, g, b] = parse(colour).slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let n = node; n; n = n.parentElement ?? n.getRootNode().host) {
      const colour = getComputedStyle(n).backgroundColor;
      if (parse(colour)[3] === 1) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const root = document.querySelector("rejoinder-chat").shadowRoot;
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!node?.checkVisibility() || walker.currentNode.data.trim() === "") continue;
    const pair = [getComputedStyle(node).color, behind(node)].map(luminance).sort();
    found.push([walker.currentNode.data.slice(0, 30), (pair[1] + 0.05) / (pair[0] + 0.05)]);
  }
  return found;
}"""


def test_the_whole_chat_works_by_keyboard(chat: ChatPage) -> None:
    """Ask, thumb down, reason, comment, withdraw: Tab, Enter, Space and typing are enough."""
    keyboard = chat.page.keyboard
    chat.field.focus()
    keyboard.type("hi")
    keyboard.press("Shift+Enter")
    keyboard.type("again")
    assert chat.field.input_value() == "hi\nagain"
    keyboard.press("Enter")
    chat.wait_for_reply()
    expect(chat.field).to_be_focused()
    names = []
    for _ in range(4):
        keyboard.press("Shift+Tab")
        names.append(chat.page.evaluate(_FOCUSED))
    assert names == ["Answer again", "Copy", "Bad reply", "Good reply"]
    keyboard.press("Tab")
    keyboard.press("Space")
    expect(chat.page.get_by_text("What was wrong?")).to_be_visible()
    keyboard.press("Tab")  # Copy
    keyboard.press("Tab")  # Answer again
    keyboard.press("Tab")
    assert chat.page.evaluate(_FOCUSED) == "Not what I asked"
    keyboard.press("Enter")
    for _ in range(6):
        keyboard.press("Tab")
    keyboard.type("No.")
    keyboard.press("Tab")
    keyboard.press("Tab")
    keyboard.press("Enter")
    assert chat.page.evaluate(_FOCUSED) == "Bad reply"
    expect(chat.thanks).to_be_visible()
    assert chat.bodies("/v1/feedback")[-1]["comment"] == "No."
    keyboard.press("Space")
    expect(chat.live).to_have_text("Rating withdrawn.")


def test_stopping_by_keyboard_keeps_the_place(chat: ChatPage, engines: FakeEngines) -> None:
    """The stop button goes when the stream does; whoever pressed it is back in the field."""
    engines.opened[-1].hold.set()
    chat.send("hi")
    chat.button("Stop").focus()
    chat.page.keyboard.press("Enter")
    expect(chat.field).to_be_focused()


def test_enter_inside_an_input_method_sends_nothing(shared_chat: ChatPage) -> None:
    """Someone who writes Chinese confirms a candidate with Enter, and goes on writing."""
    shared_chat.field.fill("wo wangji")
    shared_chat.field.evaluate(
        """field => {
          const init = { key: "Enter", bubbles: true, cancelable: true };
          field.dispatchEvent(new KeyboardEvent("keydown", { ...init, isComposing: true }));
          field.dispatchEvent(new KeyboardEvent("keydown", { ...init, keyCode: 229 }));
        }"""
    )
    shared_chat.page.wait_for_timeout(100)
    assert shared_chat.bodies(COMPLETIONS) == []
    expect(shared_chat.field).to_have_value("wo wangji")


def test_a_blank_message_is_not_sent(shared_chat: ChatPage) -> None:
    """White space is no message, and the send button says so."""
    expect(shared_chat.button("Send")).to_be_disabled()
    shared_chat.send("  \n ")
    shared_chat.page.wait_for_timeout(100)
    assert shared_chat.bodies(COMPLETIONS) == []


def test_a_reply_is_announced_by_whole_sentences(chat: ChatPage, engines: FakeEngines) -> None:
    """Each sentence is said once, when it is complete and the reply still streams; the list itself is not live."""
    engines.opened[-1].step_seconds = 0.01
    chat.page.evaluate(
        """() => {
          const root = document.querySelector("rejoinder-chat").shadowRoot;
          window.announced = [];
          new MutationObserver((changes) => {
            for (const { addedNodes } of changes) {
              const isBusy = root.querySelector("[aria-busy]") !== null;
              for (const { textContent } of addedNodes) announced.push([textContent, isBusy]);
            }
          }).observe(root.querySelector("[aria-live=polite]"), { childList: true });
        }"""
    )
    reply = chat.ask("Where is my order 10423?")
    announced = chat.page.evaluate("() => announced")
    sentences = [sentence for sentence, _ in announced]
    assert len(sentences) == 4
    assert " ".join(sentences) == "Assistant: " + chat.text_of(reply).replace("\n", " ")
    assert all(sentence.endswith((".", "?")) for sentence in sentences)
    assert [is_streaming for _, is_streaming in announced][:2] == [True, True]
    expect(chat.page.get_by_role("log")).to_have_attribute("aria-live", "off")


def test_every_control_has_a_name(shared_chat: ChatPage) -> None:
    """Buttons, fields and groups say what they are."""
    shared_chat.ask("hi")
    shared_chat.button("Bad reply").click()
    nameless = shared_chat.page.evaluate(
        """() => [...document.querySelector("rejoinder-chat").shadowRoot.querySelectorAll("button, textarea, input")]
          .filter((node) => !(node.getAttribute("aria-label") ?? node.textContent).trim()).length"""
    )
    assert nameless == 0


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_320_pixels_are_enough(open_page: OpenChat, shared_service: RunningService, locale: str) -> None:
    """WCAG 1.4.10: nothing runs out of a window of 320 pixels, not even a word without an end."""
    chat = open_page(shared_service.url, width=320, height=560, locale=locale)
    _assert_fits(chat)
    chat.ask("https://shop.example/" + "a" * 300)
    chat.ask("Where is my order 10423?")
    chat.last_reply.locator(".thumb").last.click()
    expect(chat.last_reply.locator(".feedback-form")).to_be_visible()
    _assert_fits(chat)
    expect(chat.field).to_be_in_viewport()


def _assert_fits(chat: ChatPage) -> None:
    width = chat.page.evaluate("() => document.documentElement.scrollWidth")
    assert width == 320
    too_wide = chat.page.evaluate(
        """() => [...document.querySelector("rejoinder-chat").shadowRoot.querySelectorAll("*")]
          .filter((node) => !node.closest("svg, .hidden") && node.checkVisibility())
          .filter((node) => node.getBoundingClientRect().right > 320.5 || node.getBoundingClientRect().left < -0.5)
          .map((node) => node.className)"""
    )
    assert too_wide == []
    cut = chat.page.evaluate(
        """() => [...document.querySelector("rejoinder-chat").shadowRoot.querySelectorAll(".text, .log, .panel, .chip")]
          .filter((node) => node.scrollWidth > node.clientWidth)
          .map((node) => node.className)"""
    )
    assert cut == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_light_and_dark(
    open_page: OpenChat, shared_service: RunningService, tmp_path: Path, scheme: str
) -> None:
    """Every text has the contrast that WCAG asks for, and the page follows the system's colours."""
    chat = open_page(shared_service.url, color_scheme=scheme)
    welcome = chat.page.evaluate(_CONTRASTS)
    chat.ask("Where is my order 10423?")
    chat.button("Bad reply").click()
    chat.button("Too long").click()
    chat.page.context.set_offline(True)
    chat.expects_failed_requests = True
    chat.send("hi")
    expect(chat.button("Try again")).to_be_visible()
    chat.page.mouse.move(0, 0)
    chat.page.wait_for_timeout(300)  # colours change softly
    low = [pair for pair in welcome + chat.page.evaluate(_CONTRASTS) if pair[1] < MIN_CONTRAST]
    assert low == []
    picture = tmp_path / f"{scheme}.png"
    chat.page.screenshot(path=picture)
    assert picture.stat().st_size > 10_000
    background = chat.page.locator(".panel").evaluate("panel => getComputedStyle(panel).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(27, 28, 26)"}[scheme]


def test_nothing_moves_for_people_who_want_less_movement(
    open_page: OpenChat, service: RunningService, engines: FakeEngines
) -> None:
    """No animation runs while a reply waits and streams; for others some do."""
    counts = []
    for preference in ("reduce", "no-preference"):
        engines.opened[-1].hold.set()
        chat = open_page(service.url, reduced_motion=preference)
        chat.send("hi")
        expect(chat.last_reply.locator(".dots")).to_be_visible()
        counts.append(chat.page.evaluate(_NUM_ANIMATIONS))
        engines.opened[-1].hold.clear()
        chat.wait_for_reply()
    assert counts[0] == 0
    assert counts[1] > 0


def test_a_reply_can_be_copied(open_page: OpenChat, shared_service: RunningService) -> None:
    """The clipboard holds the reply's text, and the button says so."""
    chat = open_page(shared_service.url, permissions=["clipboard-read", "clipboard-write"])
    chat.ask("hi")
    chat.button("Copy").click()
    expect(chat.button("Copied")).to_be_visible()
    assert chat.page.evaluate("() => navigator.clipboard.readText()") == OTHER_REPLY
    expect(chat.button("Copy")).to_be_visible()
