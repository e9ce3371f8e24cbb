"""Customers' sentiment in a running service: heard with the message, recorded, counted, and found at review."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service, say_hello
from tests.intent_models import tiny_encoder, tiny_head, write_intent_model

COUNTER = "rejoinder_customer_messages_total"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """With an intent model that knows awful and lovely."""
    encoder = tiny_encoder()
    folder = write_intent_model(tmp_path_factory.mktemp("intents"), encoder, tiny_head(encoder))
    engines, plans = FakeEngines(say_hello), encoder.intents
    with run_fake_service(tmp_path_factory.mktemp("data"), engines, plans=plans, intent_model_dir=folder) as running:
        yield running


def say(service: RunningService, *messages: str, **fields: Any) -> dict[str, Any]:
    """A reply to a conversation of which the customer's turns and the bot's alternate."""
    turns = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(messages)]
    with service.http as client:
        response = client.post("/v1/chat/completions", json={"model": "rejoinder", "messages": turns, **fields})
    assert response.status_code == 200, response.text
    reply: dict[str, Any] = response.json()
    return reply


def counted(service: RunningService) -> tuple[float, ...]:
    """Negative, neutral and positive messages so far."""
    series = service.metric(COUNTER)
    return tuple(series[f'{{sentiment="{name}"}}'] for name in ("negative", "neutral", "positive"))


def sentiment_of(service: RunningService, completion_id: str) -> str | None:
    """What the record says."""
    with service.records() as records:
        return records.get_completion(completion_id).sentiment


def test_a_message_is_recorded_with_its_sentiment_and_counted(service: RunningService) -> None:
    """All three series are there from the start; of a second turn its own words count, not those before."""
    before = counted(service)
    said = [say(service, "awful"), say(service, "lovely"), say(service, "awful", "Sorry!", "lovely thing")]
    assert [sentiment_of(service, reply["id"]) for reply in said] == ["negative", "positive", "positive"]
    assert [late - early for late, early in zip(counted(service), before, strict=True)] == [1, 0, 2]


def test_of_several_choices_the_first_has_the_sentiment(service: RunningService) -> None:
    """One message is one message, however many replies were asked for."""
    before = counted(service)
    reply = say(service, "Awful AWFUL", n=3)
    with service.records() as records:
        turns = records.get_conversation(reply["conversation_id"], max_turns=9).turns
        told = [records.get_completion(turn.completion_id).sentiment for turn in turns]
    assert len(reply["choices"]) == 3 and sorted(told, key=str) == [None, None, "negative"]
    assert counted(service)[0] - before[0] == 1


def test_a_message_that_a_safety_rule_answers_is_heard_too(service: RunningService) -> None:
    """The angriest messages are among them."""
    before = sum(counted(service))
    reply = say(service, "I want to kill myself")
    assert sentiment_of(service, reply["id"]) is not None
    assert sum(counted(service)) == before + 1


def test_review_finds_replies_by_it_and_the_overview_counts_it(service: RunningService) -> None:
    """An unknown sentiment is refused."""
    reply = say(service, "awful awful")
    with service.http as client:
        found = client.get("/v1/review/conversations", params={"sentiment": "negative"}).json()["data"]
        whole = client.get(f"/v1/review/conversations/{reply['conversation_id']}").json()
        refused = client.get("/v1/review/conversations", params={"sentiment": "gloomy"}).status_code
        moods = client.get("/v1/insights").json()["moods"]
    assert reply["id"] in [each["completion_id"] for each in found]
    assert {each["sentiment"] for each in found} == {"negative"}
    assert whole["messages"][-1]["reply"]["sentiment"] == "negative"
    assert refused == 400
    assert len(moods) == 30 and moods[-1]["num_messages"] >= moods[-1]["num_negative"] >= 1
    assert moods[-1]["is_surge"] is False and moods[-1]["usual_share_negative"] is None


def test_without_a_model_that_tells_it_nothing_is_recorded_nor_counted(tmp_path: Path) -> None:
    """Files from before this output serve on."""
    encoder = tiny_encoder()
    (tmp_path / "intents").mkdir()
    folder = write_intent_model(tmp_path / "intents", encoder, None)
    engines, plans = FakeEngines(say_hello), encoder.intents
    with run_fake_service(tmp_path, engines, plans=plans, intent_model_dir=folder) as service:
        reply = say(service, "awful")
        assert sentiment_of(service, reply["id"]) is None
        assert counted(service) == (0, 0, 0)
        with service.http as client:
            assert client.get("/v1/insights").json()["moods"] == []
