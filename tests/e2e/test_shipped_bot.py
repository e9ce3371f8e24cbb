"""Conversations with the bot that ships: its network, its intent model, its replies, as after `make run`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from openai.types.chat import ChatCompletion

from model_store.contract.conversation import detect_language
from service.app import engine_opener
from service.settings import Settings
from tests.e2e.running_service import RunningService, run_service

SHIPPED = Path(__file__).parents[2] / "model_store" / "default"
_ALWAYS_DRAWS_ALIKE = 7


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """As it comes, with two slots."""
    settings = Settings(num_slots=2)
    with run_service(tmp_path_factory.mktemp("shipped"), engine_opener(settings), SHIPPED, num_slots=2) as running:
        yield running


def talk(service: RunningService, *said: str) -> list[ChatCompletion]:
    """What the bot answers to a customer who says these one after the other."""
    messages: list[dict[str, str]] = []
    completions = []
    for text in said:
        messages.append({"role": "user", "content": text})
        create = service.openai.chat.completions.create
        completion = create(model="rejoinder", messages=messages, seed=_ALWAYS_DRAWS_ALIKE)  # type: ignore[call-overload]
        messages.append({"role": "assistant", "content": completion.choices[0].message.content})
        completions.append(completion)
    return completions


def answers(service: RunningService, *said: str) -> list[str]:
    """The texts of these."""
    return [completion.choices[0].message.content or "" for completion in talk(service, *said)]


@pytest.mark.parametrize(
    "said",
    [
        ("you charged me twice!!", "on 3 march and again 4 march", "no, both are still there"),
        ("the lamp arrived broken", "it's the glass, in pieces", "do i have to send it back?"),
        ("怎么扣了我两次钱", "昨天和今天", "两笔都还在"),
        ("杯子碎了", "要寄回去吗", "盒子没破，里面碎的"),
    ],
)
def test_a_customer_who_goes_on_about_a_matter_hears_nothing_twice(
    service: RunningService, said: tuple[str, ...]
) -> None:
    """Whatever the bot makes of his messages."""
    replies = answers(service, *said)
    assert len(set(replies)) == len(said), replies


@pytest.mark.parametrize(("asked", "language"), [("where is my order?", "en"), ("我的快递到哪了", "zh")])
def test_a_bare_order_number_is_taken_for_one_in_the_language_of_the_question(
    service: RunningService, asked: str, language: str
) -> None:
    """It is masked before it is recorded, and named in the reply."""
    first, second = answers(service, asked, "A1B2-77345")
    assert (detect_language(first), detect_language(second)) == (language, language)
    assert "A1B2-77345" in second
    written = [path.read_bytes() for path in Path(service.settings.data_dir).rglob("*") if path.is_file()]
    assert any(b"<ORDER_ID>" in content for content in written)
    assert not any(b"A1B2-77345" in content for content in written)


@pytest.mark.parametrize(
    "said",
    [
        (
            "my voucher code does not work",
            "the voucher is not accepted",
            "why is my voucher refused",
            "my voucher fails",
        ),
        ("优惠券用不了", "优惠券还是用不了", "优惠券就是用不了", "优惠券不能用"),
    ],
)
def test_a_customer_who_was_answered_three_times_about_one_matter_is_left_to_a_person(
    service: RunningService, said: tuple[str, ...]
) -> None:
    """Though the client sends the conversation back, which tells no plans; metrics and record say it."""
    before = service.metric("rejoinder_replies_total")
    completion = talk(service, *said)[-1]
    choice = completion.choices[0]
    assert (choice.model_extra["rule"], choice.finish_reason) == ("fruitless", "handover"), choice.message
    with service.records() as records:
        assert records.get_completion(completion.id).sampling["rule"] == "fruitless"
    name = f'{{plan="{choice.model_extra["plan"]}",rule="fruitless"}}'
    assert service.metric("rejoinder_replies_total")[name] == before.get(name, 0) + 1
