"""Thumbs, reasons and comments: what is sent, what is stored, what is shown."""

from typing import Any

from playwright.sync_api import Locator, expect

from tests.browser.chat_page import ChatPage
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, wait_until

FEEDBACK = "/v1/feedback"


def _bodies(chat: ChatPage, num_bodies: int) -> list[dict[str, Any]]:
    """The feedback sent so far, without its id and token, once there are as many."""

    def has_all() -> bool:
        chat.page.wait_for_timeout(20)
        return len(chat.bodies(FEEDBACK)) >= num_bodies

    wait_until(has_all)
    return [
        {key: value for key, value in body.items() if key not in ("completion_id", "feedback_token")}
        for body in chat.bodies(FEEDBACK)
    ]


def _is_pressed(button: Locator, value: bool) -> None:
    expect(button).to_have_attribute("aria-pressed", str(value).lower())


def _counts(service: RunningService) -> tuple[int, int]:
    with service.records() as records:
        return records.count_feedback()


def test_a_thumb_up_is_stored(chat: ChatPage, service: RunningService) -> None:
    """One press sends the completion's id and token with the rating, and the service's store has it."""
    chat.ask("I forgot my password")
    chat.button("Good reply").click()
    assert _bodies(chat, 1) == [{"rating": "up"}]
    body = chat.bodies(FEEDBACK)[0]
    with service.records() as records:
        assert records.get_completion(body["completion_id"]).prompt_messages[-1].content == "I forgot my password"
    assert len(body["feedback_token"]) > 40
    _is_pressed(chat.button("Good reply"), True)
    expect(chat.live).to_have_text("Thank you, stored.")
    assert _counts(service) == (1, 0)
    expect(chat.page.get_by_text("What was wrong?")).to_be_hidden()


def test_pressing_again_withdraws(chat: ChatPage, service: RunningService) -> None:
    """The second press sends null, and no rating stands."""
    chat.ask("I forgot my password")
    chat.button("Good reply").click()
    chat.button("Good reply").click()
    expect(chat.live).to_have_text("Rating withdrawn.")
    assert _bodies(chat, 2) == [{"rating": "up"}, {"rating": None}]
    _is_pressed(chat.button("Good reply"), False)
    assert _counts(service) == (0, 0)


def test_a_thumb_down_takes_reasons_and_a_comment(chat: ChatPage, service: RunningService) -> None:
    """The thumb is stored at once; each reason and the comment replace it by a fuller one."""
    chat.ask("我忘记了我的账户密码")
    chat.button("Bad reply").click()
    expect(chat.page.get_by_text("What was wrong?")).to_be_visible()
    for reason in ("Too long", "Not what I asked", "Too long"):
        chat.button(reason).click()
    chat.page.get_by_label("Anything else? (optional)").fill("  I asked about my account.  ")
    chat.last_reply.get_by_role("button", name="Send").click()
    bodies = _bodies(chat, 2)
    expect(chat.thanks).to_be_visible()
    bodies = _bodies(chat, 2)
    assert bodies[0] == {"rating": "down"}
    assert bodies[-1] == {"rating": "down", "reasons": ["wrong_intent"], "comment": "I asked about my account."}
    assert all(body["rating"] == "down" for body in bodies)
    assert _counts(service) == (0, 1)
    expect(chat.page.get_by_text("What was wrong?")).to_be_hidden()


def test_what_was_said_can_be_changed_and_withdrawn(chat: ChatPage, service: RunningService) -> None:
    """The form opens again with what was sent; withdrawing drops the reasons and the comment."""
    chat.ask("I forgot my password")
    chat.button("Bad reply").click()
    chat.button("Unfriendly").click()
    chat.page.get_by_label("Anything else? (optional)").fill("Rude.")
    chat.last_reply.get_by_role("button", name="Send").click()
    chat.button("Change").click()
    expect(chat.page.get_by_label("Anything else? (optional)")).to_have_value("Rude.")
    _is_pressed(chat.button("Unfriendly"), True)
    chat.button("Bad reply").click()
    expect(chat.live).to_have_text("Rating withdrawn.")
    assert _bodies(chat, 3)[-1] == {"rating": None}
    assert _counts(service) == (0, 0)
    chat.button("Bad reply").click()
    _is_pressed(chat.button("Unfriendly"), False)
    expect(chat.page.get_by_label("Anything else? (optional)")).to_have_value("")


def test_the_other_thumb_replaces_the_first(chat: ChatPage, service: RunningService) -> None:
    """Down after up is one rating, and only one thumb is pressed."""
    chat.ask("I forgot my password")
    chat.button("Good reply").click()
    chat.button("Bad reply").click()
    assert _bodies(chat, 2)[-1] == {"rating": "down"}
    expect(chat.live).to_have_text("Thank you, stored.")
    _is_pressed(chat.button("Good reply"), False)
    _is_pressed(chat.button("Bad reply"), True)
    assert _counts(service) == (0, 1)


def test_presses_in_a_hurry_end_as_the_last_one_says(chat: ChatPage, service: RunningService) -> None:
    """Requests never overtake one another: while the first is on its way the others wait, and only the last is sent."""
    chat.ask("I forgot my password")
    chat.page.evaluate(
        """() => {
          const thumbs = document.querySelector("rejoinder-chat").shadowRoot.querySelectorAll(".thumb");
          for (const index of [0, 1, 0, 0, 1, 0]) thumbs[index].click();
        }"""
    )
    expect(chat.live).to_have_text("Thank you, stored.")
    assert _bodies(chat, 2) == [{"rating": "up"}, {"rating": "up"}]
    assert _counts(service) == (1, 0)


def test_a_withdrawal_during_the_first_request_is_said_as_one(chat: ChatPage, service: RunningService) -> None:
    """What is said aloud is what the last press did, though the first press's request carried it along."""
    chat.ask("I forgot my password")
    chat.page.evaluate(
        """() => {
          const [up] = document.querySelector("rejoinder-chat").shadowRoot.querySelectorAll(".thumb");
          for (const _ of [0, 1]) up.click();
        }"""
    )
    expect(chat.live).to_have_text("Rating withdrawn.")
    assert _bodies(chat, 2) == [{"rating": "up"}, {"rating": None}]
    assert _counts(service) == (0, 0)


def test_a_thumb_that_could_not_be_sent_is_not_shown_as_given(chat: ChatPage, service: RunningService) -> None:
    """Offline the thumb springs back with a notice; it is stored when the browser is back."""
    chat.expects_failed_requests = True
    chat.ask("I forgot my password")
    chat.page.context.set_offline(True)
    chat.button("Good reply").click()
    expect(chat.notice).to_contain_text("Your rating could not be stored.")
    _is_pressed(chat.button("Good reply"), False)
    chat.page.context.set_offline(False)
    expect(chat.live).to_have_text("Thank you, stored.")
    _is_pressed(chat.button("Good reply"), True)
    assert _counts(service) == (1, 0)


def test_a_thumb_that_is_refused_is_not_offered_again(chat: ChatPage, service: RunningService) -> None:
    """An expired token will be refused tomorrow too: the notice says why, without a button."""
    chat.expects_failed_requests = True
    chat.ask("I forgot my password")

    def forge(route: Any) -> None:
        body = route.request.post_data_json
        route.continue_(post_data={**body, "feedback_token": "forged." + body["feedback_token"]})

    chat.page.route("**/v1/feedback", forge)
    chat.button("Good reply").click()
    expect(chat.notice).to_contain_text("The feedback token is not valid for this completion.")
    expect(chat.page.get_by_role("button", name="Try again")).to_have_count(0)
    assert _counts(service) == (0, 0)


def test_each_reply_has_its_own_thumbs(chat: ChatPage, engines: FakeEngines, service: RunningService) -> None:
    """Two replies, two completions, two ratings."""
    chat.ask("I forgot my password")
    chat.ask("Where is my order 10423?")
    chat.page.get_by_role("button", name="Good reply").first.click()
    chat.page.get_by_role("button", name="Bad reply").last.click()
    _bodies(chat, 2)
    expect(chat.live).to_have_text("Thank you, stored.")
    wait_until(lambda: _counts(service) == (1, 1))
    assert len({body["completion_id"] for body in chat.bodies(FEEDBACK)}) == 2
