"""Conversations that the service keeps: begun, continued, listed, shown, erased; through OpenAI's own client."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from model_store.bundle import Bundle
from model_store.contract.control_tokens import PLACEHOLDER_IDS
from model_store.contract.placeholders import entity_placeholder
from service.engine.types import CompletionRequest
from tests.contract.fake_engine import FakeEngines, make_chat_bundle
from tests.e2e.running_service import RunningService, run_fake_service

CANARY = "zebracanary"
UNKNOWN = "conv_" + "0" * 32


def say_order(bundle: Bundle, request: CompletionRequest) -> str:
    """A reply that names an order number, where there is one that it may name."""
    names = [entity_placeholder("ORDER_ID", number) for number in (1, 2)]
    allowed = [name for name in names if PLACEHOLDER_IDS[name] not in request.sampling.banned_token_ids]
    return f"Order {allowed[0]} is on its way." if allowed else "You are welcome."


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service whose model speaks of the order that it is asked about."""
    with run_fake_service(tmp_path_factory.mktemp("service"), FakeEngines(say_order)) as running:
        yield running


def say(service: RunningService, conversation_id: str, text: str) -> Any:
    """Sends one new message to a kept conversation and gives the completion."""
    return service.openai.chat.completions.create(
        model="rejoinder",
        messages=[{"role": "user", "content": text}],
        extra_body={"conversation_id": conversation_id},
    )


def shown(service: RunningService, conversation_id: str) -> list[tuple[str, str]]:
    """A conversation's messages as roles and texts."""
    messages = service.http.get(f"/v1/conversations/{conversation_id}").json()["messages"]
    return [(message["role"], message["content"]) for message in messages]


def test_a_conversation_is_continued_with_the_new_message_alone(service: RunningService) -> None:
    """The model sees two exchanges, the client sent none; a new order number does not pass for the old one."""
    conversation = service.openai.conversations.create()
    first = say(service, conversation.id, "Where is my order A1B2-77345?")
    second = say(service, conversation.id, "And where is my order C3D4-99887?")
    third = say(service, conversation.id, "Thanks")
    assert first.choices[0].message.content == "Order A1B2-77345 is on its way."
    assert second.choices[0].message.content == "Order C3D4-99887 is on its way."
    assert third.choices[0].message.content == "You are welcome."
    assert third.conversation_id == conversation.id
    with service.records() as records:
        prompt = records.get_completion(third.id).prompt_messages
    said = [("user", "Where is my order <ORDER_ID>?"), ("assistant", "Order <ORDER_ID> is on its way.")]
    said += [("user", "And where is my order <ORDER_ID_2>?"), ("assistant", "Order <ORDER_ID_2> is on its way.")]
    said += [("user", "Thanks")]
    assert [(message.role, message.content) for message in prompt] == said
    assert shown(service, conversation.id) == [*said, ("assistant", "You are welcome.")]


def test_a_conversation_is_shown_with_the_ids_of_its_completions(service: RunningService) -> None:
    """OpenAI's client reads the object; messages, masked, come beside what it knows."""
    conversation = service.openai.conversations.create()
    completion = say(service, conversation.id, "Write to jane@example.com")
    found = service.openai.conversations.retrieve(conversation.id)
    assert (found.id, found.created_at, found.object) == (conversation.id, conversation.created_at, "conversation")
    assert (found.model_extra or {})["messages"] == [
        {"role": "user", "content": "Write to <EMAIL>", "completion_id": None},
        {"role": "assistant", "content": "You are welcome.", "completion_id": completion.id},
    ]


def test_a_system_message_holds_until_another_one_comes(service: RunningService) -> None:
    """It stays in front without being sent again."""
    conversation_id = service.openai.conversations.create().id
    create = service.openai.chat.completions.create
    body = {"conversation_id": conversation_id}
    for system in ("Be short.", "Be kind."):
        messages: list[Any] = [{"role": "system", "content": system}, {"role": "user", "content": "Hello"}]
        create(model="rejoinder", messages=messages, extra_body=body)
    say(service, conversation_id, "Thanks")
    assert [text for role, text in shown(service, conversation_id) if role == "system"] == ["Be kind."]
    assert len(shown(service, conversation_id)) == 7


@pytest.mark.parametrize("key", ["conversation_id", "metadata"])
def test_a_whole_history_sent_with_the_id_is_taken_as_it_is(service: RunningService, key: str) -> None:
    """A client that keeps the messages itself sends them all each time: nothing is there twice."""
    conversation_id = service.openai.conversations.create().id
    body: dict[str, Any] = {key: conversation_id} if key != "metadata" else {key: {"conversation_id": conversation_id}}
    messages: list[Any] = [{"role": "user", "content": "Hello"}]
    for text in ("Thanks", "Bye"):
        reply = service.openai.chat.completions.create(model="rejoinder", messages=messages, extra_body=body)
        messages += [
            {"role": "assistant", "content": reply.choices[0].message.content},
            {"role": "user", "content": text},
        ]
    last = service.openai.chat.completions.create(model="rejoinder", messages=messages, extra_body=body)
    with service.records() as records:
        assert len(records.get_completion(last.id).prompt_messages) == 5
    assert len(shown(service, conversation_id)) == 6


def test_metadata_names_a_conversation_and_continues_none(service: RunningService) -> None:
    """One message with the id in the metadata is a conversation of one message, as before there were kept ones."""
    create = service.openai.chat.completions.create
    named: Any = {"conversation_id": "desk-7"}
    for text in ("Hello", "Thanks"):
        completion = create(model="rejoinder", messages=[{"role": "user", "content": text}], metadata=named)
    with service.records() as records:
        assert len(records.get_completion(completion.id).prompt_messages) == 1


def test_ids_that_name_nothing_or_can_be_guessed_are_unknown_alike(service: RunningService) -> None:
    """With a conversation's history goes what somebody said, so only ids of the service's own form continue one."""
    with pytest.raises(openai.NotFoundError) as unknown:
        say(service, UNKNOWN, "Hello")
    said = service.openai.chat.completions.create(
        model="rejoinder", messages=[{"role": "user", "content": "Anyone could begin like this"}]
    )
    assert said.model_extra is not None
    named: Any = {"conversation_id": "desk-8"}
    service.openai.chat.completions.create(
        model="rejoinder", messages=[{"role": "user", "content": "Hello"}], metadata=named
    )
    for guessable in (said.model_extra["conversation_id"], "desk-8"):
        with pytest.raises(openai.NotFoundError) as refused:
            say(service, guessable, "What did I say?")
        assert refused.value.body == unknown.value.body
    for method in ("GET", "DELETE"):
        response = service.http.request(method, f"/v1/conversations/{UNKNOWN}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "conversation_not_found")


def test_two_ids_in_one_request_are_refused(service: RunningService) -> None:
    """Neither is guessed to be the one that was meant."""
    body = {
        "model": "rejoinder",
        "messages": [{"role": "user", "content": "Hello"}],
        "conversation_id": UNKNOWN,
        "metadata": {"conversation_id": "desk-9"},
    }
    response = service.http.post("/v1/chat/completions", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_value")


def test_what_a_conversation_cannot_hold_is_refused(service: RunningService) -> None:
    """OpenAI's `items` and `metadata` are not kept here; empty ones are what clients send by default."""
    for body in ({"metadata": {"topic": "returns"}}, {"items": [{"role": "user", "content": "Hello"}]}):
        response = service.http.post("/v1/conversations", json=body)
        assert (response.status_code, response.json()["error"]["code"]) == (400, "unsupported_parameter")
    assert service.http.post("/v1/conversations", json={"metadata": {}, "items": []}).status_code == 200
    assert service.http.post("/v1/conversations").status_code == 200


def test_conversations_are_listed_in_pages_that_an_erasure_does_not_disturb(service: RunningService) -> None:
    """Newest first, each once, although the conversation that a page ended with is erased before the next one."""
    made = [service.openai.conversations.create().id for _ in range(5)]
    listed: list[str] = []
    cursor: dict[str, str] = {}
    while len(listed) < 5:
        page = service.http.get("/v1/conversations", params={"limit": 2, **cursor}).json()
        listed += [conversation["id"] for conversation in page["data"]]
        service.http.delete(f"/v1/conversations/{listed[-1]}")
        cursor = {"cursor": page["next_cursor"]}
    assert listed[:5] == made[::-1]
    everything = service.http.get("/v1/conversations", params={"limit": 100}).json()
    assert (everything["has_more"], everything["next_cursor"]) == (False, None)
    for wrong in ("x", "====", "é", "MjAyNg=="):
        response = service.http.get("/v1/conversations", params={"cursor": wrong})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "cursor")


def test_erasure_leaves_no_byte_in_the_files_and_names_the_versions_that_may_have_learned(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Message, correction and comment are gone from database and log; a version made before the vote is not named."""
    directory = tmp_path_factory.mktemp("erasure")
    with run_fake_service(directory, FakeEngines(say_order)) as service:
        conversation_id = service.openai.conversations.create().id
        completion = say(service, conversation_id, f"My {CANARY} is broken. " * 8)
        token = (completion.model_extra or {})["feedback_token"]
        thumb = {"completion_id": completion.id, "feedback_token": token, "rating": "down"}
        service.http.post("/v1/feedback", json={**thumb, "comment": f"no {CANARY}", "correction": f"A {CANARY}!"})
        later = {"created_at": "2126-01-01T00:00:00Z"}
        learned = {"config": "c" * 64, "stages": ["rloo"], "data_snapshot": "d" * 64}
        before = {"lineage": learned, "created_at": "2020-01-01T00:00:00Z"}
        versions = {"learned": {"lineage": learned, **later}, "base": later, "before": before}
        for name, changes in versions.items():
            make_chat_bundle(directory / name, name, **changes)
            service.store.publish(directory / name)
        files = [path for path in (directory / "data").glob("rejoinder.db*")]
        assert any(CANARY.encode() in path.read_bytes() for path in files)
        answers = [service.http.delete(f"/v1/conversations/{conversation_id}").json() for _ in range(2)]
        assert all(CANARY.encode() not in path.read_bytes() for path in files)
        assert answers[0] == answers[1]
        assert (answers[0]["object"], answers[0]["deleted"]) == ("conversation.deleted", True)
        assert (answers[0]["num_completions"], answers[0]["num_feedback"]) == (1, 1)
        assert [version["name"] for version in answers[0]["model_versions"]] == ["learned"]
        assert "may have learned nothing" in answers[0]["model_versions_basis"]
        assert service.http.get(f"/v1/conversations/{conversation_id}").status_code == 404
        assert service.http.post("/v1/feedback", json=thumb).status_code == 404


def test_an_erased_conversation_cannot_be_brought_back(service: RunningService) -> None:
    """Not by its id, nor by a page that still has its messages; a conversation that nobody rated taught nobody."""
    conversation_id = service.openai.conversations.create().id
    say(service, conversation_id, "Hello")
    erased = service.openai.conversations.delete(conversation_id)
    assert erased.deleted and (erased.model_extra or {})["model_versions"] == []
    with pytest.raises(openai.NotFoundError):
        say(service, conversation_id, "Hello")
    named: Any = {"conversation_id": conversation_id}
    with pytest.raises(openai.APIStatusError) as refused:
        service.openai.chat.completions.create(
            model="rejoinder", messages=[{"role": "user", "content": "Hello"}], metadata=named
        )
    assert (refused.value.status_code, refused.value.code) == (410, "conversation_erased")
