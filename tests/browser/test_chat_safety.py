"""Text is text: whatever a model or a person writes, nothing of it runs, loads or becomes markup."""

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import OpenChat
from tests.browser.scripted_replies import XSS_CORPUS
from tests.e2e.running_service import RunningService

POLICY = "require-trusted-types-for 'script'"
_TAGS_IN_TEXTS = """() => [...document.querySelector("rejoinder-chat").shadowRoot.querySelectorAll(".text *")]
  .map((node) => [node.localName, node.protocol])"""
_SET_MARKUP = """() => {
  try { document.body.innerHTML = "<b>markup</b>"; return "set"; } catch (error) { return error.name; }
}"""


def _has_fired(chat: ChatPage) -> bool:
    return bool(chat.page.evaluate("() => window.hasFired === true"))


@pytest.mark.parametrize("number", range(len(XSS_CORPUS)))
def test_hostile_model_output_is_shown_and_does_nothing(module_chat: ChatPage, number: int) -> None:
    """The reply reads to the character as the model wrote it, nothing fires, and at most links are made of it."""
    module_chat.button("New conversation").click()
    reply = module_chat.ask(f"say {number}")
    assert module_chat.text_of(reply) == XSS_CORPUS[number]
    module_chat.page.wait_for_timeout(50)
    assert not _has_fired(module_chat)
    assert all(tag in (["a", "https:"], ["a", "http:"]) for tag in module_chat.page.evaluate(_TAGS_IN_TEXTS))
    module_chat.assert_nothing_went_wrong()


def test_hostile_messages_are_shown_and_do_nothing(shared_chat: ChatPage) -> None:
    """What a person writes is text as well, and a reply that repeats it."""
    for text in XSS_CORPUS[:5]:
        shared_chat.ask(text)
        assert shared_chat.page.locator(".said .text").last.text_content() == text
    assert not _has_fired(shared_chat)
    assert shared_chat.page.locator(".said .text *").count() == 0


def test_the_corpus_fires_where_nothing_protects(open_page: OpenChat, shared_service: RunningService) -> None:
    """The control: the same text, put in as markup on a page without a policy, does fire."""
    chat = open_page(shared_service.url)
    chat.expects_failed_requests = True
    chat.page.goto("about:blank")
    chat.page.set_content(XSS_CORPUS[1])
    chat.page.wait_for_function("() => window.hasFired === true")


def test_the_policy_is_in_force(shared_chat: ChatPage) -> None:
    """The page is served with the policy that these tests rely on, and the browser obeys it."""
    headers = shared_chat.page.request.get(shared_chat.url).headers
    assert POLICY in headers["content-security-policy"]
    assert shared_chat.page.evaluate(_SET_MARKUP) == "TypeError"
    assert any("require-trusted-types-for" in complaint for complaint in shared_chat.complaints())
    shared_chat.forget_complaints()


def test_only_plain_web_addresses_become_links(shared_chat: ChatPage) -> None:
    """https links open elsewhere without telling where from; the punctuation around them stays outside."""
    reply = shared_chat.ask("Where is my order 10423?")
    link = reply.get_by_role("link")
    expect(link).to_have_text("https://shop.example/tracking")
    expect(link).to_have_attribute("href", "https://shop.example/tracking")
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
    expect(link).to_have_attribute("target", "_blank")
