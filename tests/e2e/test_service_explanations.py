"""Explanations of recorded replies on a running service: near ratings, deciding words, and whose replies they are."""

import uuid
from collections.abc import Iterator

import pytest

from model_store.bundle import Bundle
from service.access.api_keys import Scope
from service.engine.types import CompletionRequest
from tests.contract.fake_engine import FakeEngines
from tests.e2e.access_callers import Holder, give_key
from tests.e2e.running_service import RunningService, run_fake_service


def say_tracking(bundle: Bundle, request: CompletionRequest) -> str:
    """The same to everybody."""
    return "Please look at the tracking page."


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that takes keys; its model plans."""
    with run_fake_service(
        tmp_path_factory.mktemp("service"),
        FakeEngines(say_tracking),
        plans=("track_package", "refund_status"),
        api_key="a key of at least sixteen characters",
    ) as running:
        yield running


@pytest.fixture
def shop(service: RunningService) -> Holder:
    """A tenant of the test's own."""
    return give_key(service, f"shop-{uuid.uuid4().hex[:12]}", (Scope.CHAT, Scope.FEEDBACK, Scope.REVIEW))


def ask(shop: Holder, text: str, conversation_id: str) -> dict[str, str]:
    """A completion of a conversation."""
    completion: dict[str, str] = shop.complete(
        messages=[{"role": "user", "content": text}], metadata={"conversation_id": conversation_id}
    )
    return completion


def path_of(completion: dict[str, str]) -> str:
    """Where a completion is explained."""
    return f"/v1/review/completions/{completion['id']}/explanation"


def test_a_reply_is_explained_by_its_words_and_by_near_ratings(shop: Holder) -> None:
    """Every word of the masked message has an effect; the rated reply to a like question is found, the own one not."""
    rated = ask(shop, "Where is my parcel?", "conv-1")
    body = {"completion_id": rated["id"], "feedback_token": rated["feedback_token"], "rating": "down"}
    assert shop.ask("POST", "/v1/feedback", {**body, "reasons": ["mechanical"]}).status_code == 200
    completion = ask(shop, "My parcel for jane@shop.example is late", "conv-2")
    found = shop.ask("GET", path_of(completion)).json()
    assert "".join(piece["text"] for piece in found["pieces"]) == "My parcel for <EMAIL> is late"
    assert [piece["text"].strip() for piece in found["pieces"]][3] == "<EMAIL>"
    assert found["why_no_pieces"] is None and 0 < found["plan_probability"] <= 1
    (near,) = found["nearest"]
    assert (near["message"], near["rating"], near["reasons"]) == ("Where is my parcel?", "down", ["mechanical"])
    own = shop.ask("GET", path_of(rated)).json()
    assert own["nearest"] == []


def test_only_the_staff_of_the_shop_gets_explanations(service: RunningService, shop: Holder) -> None:
    """Another tenant's completion is as unknown as one that never was; without the scope nothing is told."""
    completion = ask(shop, "Where is my parcel?", "conv-1")
    stranger = give_key(service, f"other-{uuid.uuid4().hex[:12]}", (Scope.CHAT, Scope.REVIEW))
    customer = give_key(service, shop.key.tenant, (Scope.CHAT,))
    for holder, path in ((stranger, path_of(completion)), (shop, path_of({"id": "cmpl-unknown"}))):
        response = holder.ask("GET", path)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "completion_not_found")
    assert customer.ask("GET", path_of(completion)).status_code == 403
