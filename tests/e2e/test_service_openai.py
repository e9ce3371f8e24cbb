"""The real OpenAI client against a real server, streaming and not."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from model_store.bundle import Bundle
from model_store.contract.control_tokens import EOS_ID
from service.engine.types import CompletionRequest
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service

ORDER = "A1B2-77345"
MESSAGES: list[Any] = [{"role": "user", "content": f"Where is my order {ORDER}?"}]
REPLY = f"Your order {ORDER} is on its way. We answer Monday to Friday, 9:00 to 18:00."


def say_order(bundle: Bundle, request: CompletionRequest) -> str:
    """A reply that names the customer's order and one of the shop's facts."""
    return "Your order <ORDER_ID> is on its way. We answer <SUPPORT_HOURS>."


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a model that always speaks of an order."""
    with run_fake_service(tmp_path_factory.mktemp("service"), FakeEngines(say_order)) as running:
        yield running


def test_a_completion_puts_the_customers_order_number_back(service: RunningService) -> None:
    """The model writes placeholders; the client reads values; usage and feedback token come along."""
    completion = service.openai.chat.completions.create(model="rejoinder", messages=MESSAGES)
    assert completion.choices[0].message.content == REPLY
    assert completion.choices[0].finish_reason == "stop"
    assert completion.id.startswith("chatcmpl-")
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens > 0
    assert completion.model_extra is not None and completion.model_extra["feedback_token"]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": "Hi"}], "seed": 1},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], "seed": 1, "n": 2},
        {"messages": [{"role": "robot", "content": "Hi"}]},
        {"messages": [{"role": "user", "content": "Hi\ud800"}]},
        {"messages": [{"role": "user", "content": "Hi"}], "tools": [{}]},
        {"messages": [{"role": "user", "content": " "}]},
        {"messages": [{"role": "user", "content": "Hi"}], "temperature": float("nan")},
        {"messages": [{"role": "user", "content": "Hi"}], "conversation_id": "conv-of-nobody"},
        [],
    ],
)
def test_the_short_way_to_a_completion_answers_as_the_route_does(service: RunningService, body: Any) -> None:
    """A content type in capitals means the same and is left to FastAPI: same status, same words."""
    if isinstance(body, dict):
        body = {"model": "rejoinder", **body}
    answers = [
        service.http.post("/v1/chat/completions", content=json.dumps(body), headers={"content-type": content_type})
        for content_type in ("application/json", "Application/JSON")
    ]
    short, long = (_without_what_is_drawn(answer.json()) for answer in answers)
    assert answers[0].status_code == answers[1].status_code
    assert short == long


def _without_what_is_drawn(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer without ids, tokens and the time."""
    drawn = ("id", "created", "feedback_token", "completion_id")
    choices = [{key: choice[key] for key in choice if key not in drawn} for choice in answer.get("choices", [])]
    return {key: value for key, value in answer.items() if key not in drawn} | {"choices": choices}


def test_a_stream_adds_up_to_the_completion(service: RunningService) -> None:
    """No piece shows a placeholder; the last piece holds usage and feedback token."""
    pieces = list(
        service.openai.chat.completions.create(
            model="rejoinder",
            messages=MESSAGES,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    texts = [choice.delta.content or "" for piece in pieces for choice in piece.choices]
    assert "".join(texts) == REPLY
    assert not any("<" in text for text in texts)
    assert pieces[0].choices[0].delta.role == "assistant"
    assert pieces[-2].choices[0].finish_reason == "stop"
    assert pieces[-1].choices == [] and pieces[-1].usage is not None and pieces[-1].usage.completion_tokens > 0
    assert pieces[-1].model_extra is not None and pieces[-1].model_extra["feedback_token"]
    assert all(piece.usage is None for piece in pieces[:-1])


def test_a_stream_is_server_sent_events_that_end_with_done(service: RunningService) -> None:
    """Raw lines: `data:` events of one id, [DONE] at the end, and headers that keep proxies from buffering."""
    body = {"model": "rejoinder", "messages": MESSAGES, "stream": True}
    with service.http.stream("POST", "/v1/chat/completions", json=body) as response:
        text = response.read().decode()
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    pieces = [json.loads(event) for event in events[:-1]]
    assert events[-1] == "[DONE]"
    assert len({piece["id"] for piece in pieces}) == 1
    assert all("usage" not in piece for piece in pieces)
    assert pieces[-1]["choices"][0]["finish_reason"] == "stop" and pieces[-1]["feedback_token"]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no" and response.headers["cache-control"] == "no-cache"


def test_headers_name_the_model_version_and_the_request(service: RunningService) -> None:
    """The digest is the stable version's; a client's own request id is kept, a hostile one replaced."""
    body = {"model": "rejoinder", "messages": MESSAGES}
    response = service.http.post("/v1/chat/completions", json=body, headers={"x-request-id": "abc-1"})
    assert response.headers["x-model-digest"] == service.store.resolve("stable").digest
    assert response.headers["x-request-id"] == "abc-1"
    hostile = service.http.get("/livez", headers={"x-request-id": "a b<script>"})
    assert len(hostile.headers["x-request-id"]) == 32


def test_every_choice_can_be_rated_on_its_own(service: RunningService) -> None:
    """With n = 3 each choice has its id, its token and its own record and seed."""
    completion = service.openai.chat.completions.create(model="rejoinder", messages=MESSAGES, n=3, seed=11)
    extras = [choice.model_extra or {} for choice in completion.choices]
    assert [choice.message.content for choice in completion.choices] == [REPLY] * 3
    assert extras[0]["completion_id"] == completion.id
    assert len({extra["completion_id"] for extra in extras}) == 3
    with service.records() as records:
        seeds = [records.get_completion(extra["completion_id"]).sampling["seed"] for extra in extras]
    assert seeds == [11, 12, 13]


def test_a_stop_string_ends_the_completion_before_it(service: RunningService) -> None:
    """Cut in the text that is shown and in the text that is stored, with finish reason "stop"."""
    completion = service.openai.chat.completions.create(model="rejoinder", messages=MESSAGES, stop=[" on its", "zzz"])
    assert completion.choices[0].message.content == f"Your order {ORDER} is"
    assert completion.choices[0].finish_reason == "stop"
    with service.records() as records:
        record = records.get_completion(completion.id)
    assert record.completion_text == "Your order <ORDER_ID> is"
    assert EOS_ID not in record.completion_token_ids


def test_max_completion_tokens_cuts_with_finish_reason_length(service: RunningService) -> None:
    """Four tokens asked for, four tokens made."""
    completion = service.openai.chat.completions.create(
        model="rejoinder",
        messages=MESSAGES,
        max_completion_tokens=4,
    )
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage is not None and completion.usage.completion_tokens == 4


def test_logprobs_cover_the_text_and_name_rivals(service: RunningService) -> None:
    """The tokens' texts add up to the reply, placeholders included."""
    completion = service.openai.chat.completions.create(
        model="rejoinder",
        messages=MESSAGES,
        logprobs=True,
        top_logprobs=2,
    )
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    assert "".join(token.token for token in logprobs.content) == REPLY
    assert all(token.logprob == -0.5 and len(token.top_logprobs) == 2 for token in logprobs.content)


def test_a_stream_names_every_token_however_many_come_together(service: RunningService) -> None:
    """The engine makes them faster than pieces are sent; none is lost, and each once."""
    create = service.openai.chat.completions.create
    pieces = [piece.choices[0] for piece in create(model="rejoinder", messages=MESSAGES, stream=True, logprobs=True)]
    tokens = [token for piece in pieces if piece.logprobs for token in piece.logprobs.content or []]
    assert "".join(token.token for token in tokens) == REPLY
    assert "".join(piece.delta.content or "" for piece in pieces) == REPLY


def test_the_record_holds_what_learning_needs_and_no_personal_data(service: RunningService) -> None:
    """Masked prompt and text, token ids with the end, one sampling log-probability each, digest, seed, opaque rater."""
    completion = service.openai.chat.completions.create(
        model="rejoinder",
        messages=MESSAGES,
        temperature=0.3,
        user="jane@example.com",
    )
    with service.records() as records:
        record = records.get_completion(completion.id)
    assert [message.as_dict() for message in record.prompt_messages] == [
        {"role": "user", "content": "Where is my order <ORDER_ID>?"}
    ]
    assert record.completion_text == "Your order <ORDER_ID> is on its way. We answer <SUPPORT_HOURS>."
    assert record.completion_token_ids[-1] == EOS_ID
    assert record.token_logprobs == (-0.25,) * len(record.completion_token_ids)
    assert record.sampling["temperature"] == 0.3 and isinstance(record.sampling["seed"], int)
    assert record.model_digest == service.store.resolve("stable").digest
    assert record.rater.startswith("rater_") and "jane" not in record.rater
    assert ORDER not in repr(record)


def test_turns_of_one_conversation_share_its_id(service: RunningService) -> None:
    """Derived from the first user message and the rater, or taken from the metadata."""
    create = service.openai.chat.completions.create
    first = create(model="rejoinder", messages=MESSAGES, user="u1")
    later: list[Any] = [*MESSAGES, {"role": "assistant", "content": REPLY}, {"role": "user", "content": "Thanks"}]
    second = create(model="rejoinder", messages=later, user="u1")
    other = create(model="rejoinder", messages=MESSAGES, user="u2")
    named = create(model="rejoinder", messages=MESSAGES, metadata={"conversation_id": "c-1"})
    with service.records() as records:
        ids = [records.get_completion(completion.id).conversation_id for completion in (first, second, other, named)]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].startswith("conv_") and ids[3] == "c-1"


def test_earlier_replies_are_masked_back_to_what_the_model_wrote(service: RunningService) -> None:
    """Facts and the customer's values in an assistant message become their placeholders again."""
    later: list[Any] = [*MESSAGES, {"role": "assistant", "content": REPLY}, {"role": "user", "content": "Thanks"}]
    completion = service.openai.chat.completions.create(model="rejoinder", messages=later)
    with service.records() as records:
        record = records.get_completion(completion.id)
    assert record.prompt_messages[1].content == "Your order <ORDER_ID> is on its way. We answer <SUPPORT_HOURS>."


def test_models_are_listed_and_found_by_every_name(service: RunningService) -> None:
    """Alias, manifest name, digest and short digest; each also answers completions."""
    digest = service.store.resolve("stable").digest
    assert [model.id for model in service.openai.models.list()] == ["rejoinder", "tiny", digest]
    for name in ("rejoinder", "tiny", digest, digest[:8]):
        assert (service.openai.models.retrieve(name).model_extra or {})["digest"] == digest
        assert service.openai.chat.completions.create(model=name, messages=MESSAGES).choices


def test_a_cry_for_help_is_answered_by_the_rule_and_not_by_the_model(service: RunningService) -> None:
    """The fixed text with the crisis line, recorded under the rule's name, also in a stream."""
    messages: list[Any] = [{"role": "user", "content": "my parcel is late and i want to kill myself"}]
    completion = service.openai.chat.completions.create(model="rejoinder", messages=messages)
    assert "116 123 (Samaritans)" in (completion.choices[0].message.content or "")
    assert completion.choices[0].finish_reason == "stop"
    with service.records() as records:
        record = records.get_completion(completion.id)
    found = {"rule": "crisis", "outcome": "refuse", "found_by": "pattern"}
    assert record.sampling == {"rule": "crisis", "safety": found}
    assert "<CRISIS_LINE>" in record.completion_text and record.completion_token_ids == ()
    zh: list[Any] = [{"role": "user", "content": "我不想活了"}]
    stream = service.openai.chat.completions.create(model="rejoinder", messages=zh, stream=True)
    assert "12356" in "".join(choice.delta.content or "" for piece in stream for choice in piece.choices)
