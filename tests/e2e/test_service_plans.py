"""Plans over HTTP: what a reply sets out to say is recorded, counted and shown, and the operator's rules are kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.chat.plan_rules import DEFAULT_PLAN_RULES_FILE
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service, say_hello

PLANS = ("delivery_late", "gift_card")
CONFIDENCE = 0.7311  # the fake's plans have log-probabilities of -0.5 and -1.5; what it ranks below is no plan
MESSAGES: list[Any] = [{"role": "user", "content": "hm, the thing"}]


@contextmanager
def serve(directory: Path, *, min_confidence: float = 0.35, **rules: object) -> Iterator[RunningService]:
    """A service whose model plans, under changed rules."""
    entries = yaml.safe_load(DEFAULT_PLAN_RULES_FILE.read_text(encoding="utf-8"))
    path = directory / "rules.yaml"
    path.write_text(yaml.safe_dump({**entries, **rules}, allow_unicode=True), encoding="utf-8")
    settings = {"plan_rules_file": path, "min_plan_confidence": min_confidence}
    with run_fake_service(directory, FakeEngines(say_hello), plans=PLANS, **settings) as service:
        yield service


def test_a_reply_shows_its_plan_and_how_sure_the_bot_is(tmp_path: Path) -> None:
    """In the answer, in the record and in the metrics, thumbs included; never in the text."""
    with serve(tmp_path) as service:
        completion = service.openai.chat.completions.create(model="rejoinder", messages=MESSAGES)
        choice = completion.choices[0]
        extra = choice.model_extra or {}
        assert choice.message.content == "Hello! How can I help you with your order today?"
        assert (extra["plan"], extra["plan_confidence"], extra["rule"]) == ("delivery_late", CONFIDENCE, None)
        with service.records() as records:
            sampling = records.get_completion(completion.id).sampling
        assert (sampling["plan"], sampling["plan_confidence"]) == ("delivery_late", CONFIDENCE)
        body = {"completion_id": completion.id, "feedback_token": extra["feedback_token"], "rating": "up"}
        service.http.post("/v1/feedback", json=body).raise_for_status()
        assert service.metric("rejoinder_replies_total") == {'{plan="delivery_late",rule="none"}': 1}
        assert service.metric("rejoinder_plan_feedback_total") == {'{plan="delivery_late",rating="up"}': 1}


@pytest.mark.parametrize("is_stream", [False, True])
def test_an_unsure_bot_asks_back_and_then_hands_over(tmp_path: Path, is_stream: bool) -> None:
    """The question names the likely topics; when the client sends it back, the next reply offers a person."""
    with serve(tmp_path, min_confidence=0.95) as service:
        text, rule = say(service, MESSAGES, is_stream=is_stream)
        assert rule == "unsure" and "a late delivery" in text and "a gift card" in text
        later = [*MESSAGES, {"role": "assistant", "content": text}, {"role": "user", "content": "no"}]
        text, rule = say(service, later, is_stream=is_stream)
        assert rule == "hand_over" and "<" not in text and "colleague" in text
        assert service.metric("rejoinder_requests_running") == {"": 0}


def say(service: RunningService, messages: list[Any], *, is_stream: bool) -> tuple[str, str]:
    """The text of a reply and the rule that spoke; OpenAI's clients pass on that a person takes over."""
    create = service.openai.chat.completions.create
    if not is_stream:
        choice = create(model="rejoinder", messages=messages).choices[0]
        rule = (choice.model_extra or {})["rule"]
        assert str(choice.finish_reason) == ("handover" if rule == "hand_over" else "stop")
        return choice.message.content or "", rule
    pieces = [piece.choices[0] for piece in create(model="rejoinder", messages=messages, stream=True)]
    rule = (pieces[-1].model_extra or {})["rule"]
    assert str(pieces[-1].finish_reason) == ("handover" if rule == "hand_over" else "stop")
    return "".join(piece.delta.content or "" for piece in pieces), rule


def test_an_unsure_bot_suggests_what_to_say(tmp_path: Path) -> None:
    """Saying a suggested topic settles it: the bot answers that and does not ask again."""
    with serve(tmp_path, min_confidence=0.95) as service:
        create = service.openai.chat.completions.create
        asked = create(model="rejoinder", messages=MESSAGES).choices[0]
        suggested = (asked.model_extra or {})["quick_replies"]
        assert suggested == ["a late delivery", "a gift card"]
        later = [*MESSAGES, {"role": "assistant", "content": asked.message.content}]
        answer = create(model="rejoinder", messages=[*later, {"role": "user", "content": suggested[1]}]).choices[0]
        extra = answer.model_extra or {}
        assert (extra["plan"], extra["rule"], extra["quick_replies"]) == ("gift_card", None, [])


def test_a_forbidden_plan_is_not_chosen_and_a_reworded_one_is_said_in_the_shops_words(tmp_path: Path) -> None:
    """The model would have said something about late deliveries."""
    wording = {"en": "Gift cards: <HELP_PAGE>", "zh": "礼品卡：<HELP_PAGE>"}
    with serve(tmp_path, forbid=["delivery_late"], wordings={"gift_card": wording}) as service:
        completion = service.openai.chat.completions.create(model="rejoinder", messages=MESSAGES)
        assert (completion.choices[0].message.content or "").startswith("Gift cards: http")
        with service.records() as records:
            record = records.get_completion(completion.id)
        assert record.completion_text == "Gift cards: <HELP_PAGE>" and record.sampling["rule"] == "wording"


def test_a_pinned_message_gets_its_plan(tmp_path: Path) -> None:
    """However unsure the model would have been."""
    with serve(tmp_path, min_confidence=0.95, pin=[{"pattern": "thing", "plan": "gift_card"}]) as service:
        choice = service.openai.chat.completions.create(model="rejoinder", messages=MESSAGES).choices[0]
        assert (choice.model_extra or {})["plan"] == "gift_card" and (choice.model_extra or {})["rule"] is None
