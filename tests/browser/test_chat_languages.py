"""English and Chinese: by the browser, by the switch, and in every table of words."""

from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import OpenChat
from tests.e2e.running_service import RunningService


def test_a_chinese_browser_gets_a_chinese_page(open_page: OpenChat, shared_service: RunningService) -> None:
    """Words, starters, actions and reasons are Chinese, and so is the reply to the Chinese starter."""
    chat = open_page(shared_service.url, locale="zh-CN")
    expect(chat.page.get_by_role("heading", name="有什么可以帮您？")).to_be_visible()
    expect(chat.page.locator("rejoinder-chat")).to_have_attribute("lang", "zh")
    chat.button("我忘记了我的账户密码").click()
    expect(chat.button("回复得好")).to_be_visible()
    assert chat.text_of(chat.last_reply).startswith("别担心，您可以在https://shop.example/password重设密码：")
    expect(chat.last_reply.get_by_role("link")).to_have_attribute("href", "https://shop.example/password")
    chat.button("回复不好").click()
    chat.button("答非所问").click()
    expect(chat.page.get_by_text("哪里不好？")).to_be_visible()


def test_the_switch_changes_everything_in_place(shared_chat: ChatPage) -> None:
    """A conversation goes on in the other language: nothing is lost, and the choice outlives the page."""
    reply = shared_chat.ask("I forgot my password")
    shared_chat.button("Bad reply").click()
    shared_chat.button("中文").click()
    expect(shared_chat.button("新对话")).to_be_visible()
    expect(reply.get_by_text("哪里不好？")).to_be_visible()
    expect(shared_chat.field).to_have_attribute("placeholder", "请输入您的问题…")
    expect(shared_chat.button("回复不好")).to_have_attribute("aria-pressed", "true")
    assert "No problem" in shared_chat.text_of(reply)
    shared_chat.page.reload()
    expect(reply.get_by_text("谢谢，已保存。")).to_be_visible()
    shared_chat.button("新对话").click()
    expect(shared_chat.page.get_by_role("heading", name="有什么可以帮您？")).to_be_visible()
    shared_chat.button("English").click()
    expect(shared_chat.page.get_by_role("heading", name="How can we help?")).to_be_visible()
    expect(shared_chat.button("Where is my order 10423?")).to_be_visible()


def test_both_languages_have_the_same_words(shared_chat: ChatPage) -> None:
    """No key is missing or empty in either language, and what counts down has a place for its number."""
    tables = shared_chat.page.evaluate("async () => (await import('/web/strings.js')).TABLES")
    for table in ("words", "errors", "reasons"):
        english, chinese = tables["en"][table], tables["zh"][table]
        assert english.keys() == chinese.keys()
        assert all(english.values())
        assert all(chinese.values())
        assert {key for key in english if "{value}" in english[key]} == {
            key for key in chinese if "{value}" in chinese[key]
        }


def test_the_element_can_be_told_its_language(open_page: OpenChat, shared_service: RunningService) -> None:
    """The attribute beats the browser's language; one that is not spoken here is passed over."""
    chat = open_page(shared_service.url)
    greetings = chat.page.evaluate(
        """() => ["zh", "xx"].map((language) => {
          const chat = document.createElement("rejoinder-chat");
          chat.setAttribute("language", language);
          document.body.append(chat);
          return chat.shadowRoot.querySelector("h3").textContent;
        })"""
    )
    assert greetings == ["有什么可以帮您？", "How can we help?"]
