"""The review console's API on a running service: who may read and rate, what is kept of it, and what is taken away."""

import hashlib
import json
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from sqlalchemy import create_engine, select

from model_store.bundle import Bundle
from model_store.contract.feedback import STAFF_RATER_PREFIX
from service.access.api_keys import Scope
from service.engine.types import CompletionRequest
from service.records.store import ANONYMOUS_RATER, AuditEvent
from service.records.tables import training_examples
from tests.contract.fake_engine import FakeEngines
from tests.e2e.access_callers import Holder, give_key, page_asks
from tests.e2e.running_service import RunningService, run_fake_service

ACTIONS = tuple(f"review.{action}" for action in ("rate", "correct", "withdraw", "export", "tag", "untag"))
REVIEW = "/v1/review/conversations"


def say_order(bundle: Bundle, request: CompletionRequest) -> str:
    """A reply that names the order and a fact."""
    return "Order <ORDER_ID> takes <DELIVERY_TIME>."


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that takes keys."""
    with run_fake_service(
        tmp_path_factory.mktemp("service"), FakeEngines(say_order), api_key="a key of at least sixteen characters"
    ) as running:
        yield running


@pytest.fixture
def shop(service: RunningService) -> Holder:
    """A tenant of the test's own, who may do everything but erase."""
    return give_key(service, f"shop-{uuid.uuid4().hex[:12]}", (Scope.CHAT, Scope.FEEDBACK, Scope.REVIEW))


@pytest.fixture(scope="module")
def patient_shop(service: RunningService) -> Holder:
    """One tenant for all requests that are refused: who asks for too many keys is taken for a guesser."""
    return give_key(service, "patient", (Scope.CHAT, Scope.REVIEW))


def ask(shop: Holder, text: str = "Where is my order AB-12345?", conversation_id: str = "conv-1") -> dict[str, Any]:
    """A completion of a conversation."""
    return shop.complete(messages=[{"role": "user", "content": text}], metadata={"conversation_id": conversation_id})


def judge(shop: Holder, completion_id: str, **body: object) -> httpx2.Response:
    """A rating by the staff."""
    return shop.ask("POST", f"/v1/review/completions/{completion_id}/feedback", body)


def get(shop: Holder, path: str) -> dict[str, Any]:
    """What a path answers."""
    response = shop.ask("GET", path)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def reply_of(shop: Holder, conversation_id: str = "conv-1") -> dict[str, Any]:
    """The last recorded reply of a conversation as a reviewer gets it."""
    messages = get(shop, f"{REVIEW}/{conversation_id}")["messages"]
    reply: dict[str, Any] = [message["reply"] for message in messages if message["reply"]][-1]
    return reply


def audit(service: RunningService, shop: Holder) -> tuple[AuditEvent, ...]:
    """What the audit knows of a tenant."""
    with service.records() as records:
        return records.list_audit(ACTIONS, limit=50, tenant=shop.key.tenant)


def test_a_reviewer_finds_a_disliked_reply_and_reads_its_conversation(shop: Holder) -> None:
    """Found by its reason, shown whole and masked, with version, thumbs and comment."""
    completion = ask(shop)
    ask(shop, "Thanks", "conv-2")
    down = {"rating": "down", "reasons": ["too_long"], "comment": "I am jane@shop.example"}
    given = {"completion_id": completion["id"], "feedback_token": completion["feedback_token"], **down}
    assert shop.ask("POST", "/v1/feedback", given).status_code == 200
    assert len(get(shop, REVIEW)["data"]) == 2
    found = get(shop, f"{REVIEW}?rating=down&reason=too_long&q=takes&language=en")["data"]
    assert [(one["conversation_id"], one["completion_id"]) for one in found] == [("conv-1", completion["id"])]
    assert (found[0]["question"], found[0]["num_down"]) == ("Where is my order <ORDER_ID>?", 1)
    assert get(shop, f"{REVIEW}?rating=up")["data"] == []
    conversation = get(shop, f"{REVIEW}/conv-1")
    assert [(one["role"], one["content"]) for one in conversation["messages"]] == [
        ("user", "Where is my order <ORDER_ID>?"),
        ("assistant", "Order <ORDER_ID> takes <DELIVERY_TIME>."),
    ]
    reply = conversation["messages"][1]["reply"]
    assert reply["model_digest"] == completion["system_fingerprint"]
    thumb = reply["feedback"][0]
    assert (thumb["rater"], thumb["is_staff"], thumb["comment"]) == (ANONYMOUS_RATER, False, "I am <EMAIL>")
    choices = get(shop, "/v1/review/choices")
    assert choices["versions"] == [{"digest": reply["model_digest"], "num_replies": 2}]
    assert choices["reasons"] == [{"reason": "too_long", "num_ratings": 1}]


def test_a_rating_of_the_staff_is_one_more_raters_and_is_audited(service: RunningService, shop: Holder) -> None:
    """The customer's stays; another key of the tenant is another rater; a withdrawal leaves the customer's alone."""
    completion = ask(shop)
    given = {"completion_id": completion["id"], "feedback_token": completion["feedback_token"], "rating": "up"}
    assert shop.ask("POST", "/v1/feedback", given).status_code == 200
    colleague = give_key(service, shop.key.tenant, (Scope.REVIEW,))
    assert judge(shop, completion["id"], rating="down", reasons=["incorrect"]).json()["is_mine"] is True
    assert judge(colleague, completion["id"], rating="up").status_code == 200
    seen = {given["rater"]: (given["rating"], given["is_mine"]) for given in reply_of(colleague)["feedback"]}
    assert seen == {
        ANONYMOUS_RATER: ("up", False),
        f"{STAFF_RATER_PREFIX}{shop.key.id}": ("down", False),
        f"{STAFF_RATER_PREFIX}{colleague.key.id}": ("up", True),
    }
    assert judge(shop, completion["id"], rating=None).json()["rating"] is None
    assert len(reply_of(shop)["feedback"]) == 2
    events = audit(service, shop)
    assert [(event.actor, event.action) for event in events] == [
        (shop.key.id, "review.withdraw"),
        (colleague.key.id, "review.rate"),
        (shop.key.id, "review.rate"),
    ]
    assert {event.subject for event in events} == {completion["id"]}
    assert events[-1].details == {"rating": "down", "reasons": ["incorrect"]}


def test_a_correction_is_what_training_reads_masked_and_with_its_placeholders(
    service: RunningService, shop: Holder
) -> None:
    """Placeholders of the conversation and facts stay, made-up ones do not; the audit tells of it without its text."""
    completion = ask(shop)
    text = "Sorry! Order <ORDER_ID> is on its way, <NAME>; call +44 20 7946 0123 or jim@shop.example.  "
    stored = judge(shop, completion["id"], rating="down", correction=text).json()
    masked = "Sorry! Order <ORDER_ID> is on its way, ‹NAME›; call <SUPPORT_PHONE> or <EMAIL>."
    assert stored["correction"] == masked
    view = training_examples.c
    engine = create_engine(service.settings.records_url)
    with engine.connect() as connection:
        query = select(view.rater, view.rating, view.correction).where(view.completion_id == completion["id"])
        rows = connection.execute(query).all()
    engine.dispose()
    assert rows == [(f"{STAFF_RATER_PREFIX}{shop.key.id}", "down", masked)]
    assert get(shop, f"{REVIEW}?corrected=true")["data"][0]["corrected"] is True
    event = audit(service, shop)[0]
    assert event.action == "review.correct" and "way" not in json.dumps(event.details)


def test_what_the_staff_has_rated_leaves_the_queue(shop: Holder) -> None:
    """Thumbs down wait there until somebody of the staff has said something."""
    ids = []
    for number in range(3):
        completion = ask(shop, conversation_id=f"conv-{number}")
        body = {"completion_id": completion["id"], "feedback_token": completion["feedback_token"], "rating": "down"}
        assert shop.ask("POST", "/v1/feedback", body).status_code == 200
        ids.append(completion["id"])
    assert [one["completion_id"] for one in get(shop, "/v1/review/queue")["data"]] == ids[::-1]
    first = get(shop, "/v1/review/queue?limit=2")
    rest = get(shop, f"/v1/review/queue?limit=2&cursor={first['next_cursor']}")
    assert [one["completion_id"] for one in first["data"] + rest["data"]] == ids[::-1]
    assert (first["has_more"], rest["has_more"], rest["next_cursor"]) == (True, False, None)
    judge(shop, ids[1], rating="up")
    assert [one["completion_id"] for one in get(shop, "/v1/review/queue")["data"]] == [ids[2], ids[0]]


def test_an_export_holds_what_the_filter_shows_and_is_audited(service: RunningService, shop: Holder) -> None:
    """One conversation a line and a last line that says that these are all; what was searched for is not noted."""
    for number in range(3):
        ask(shop, f"Question {number}", f"conv-{number}")
    response = shop.ask("GET", "/v1/review/export?q=Question 1&language=en")
    assert response.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert [line["object"] for line in lines] == ["review.conversation", "review.export_end"]
    assert lines[0]["id"] == "conv-1"
    assert (lines[-1]["num_conversations"], lines[-1]["is_whole"]) == (1, True)
    whole = [json.loads(line) for line in shop.ask("GET", "/v1/review/export").text.splitlines()]
    assert [line["id"] for line in whole[:-1]] == ["conv-2", "conv-1", "conv-0"]
    event = audit(service, shop)[-1]
    assert (event.action, event.details) == ("review.export", {"language": "en", "has_text": True})


def test_a_tag_is_put_on_found_by_and_taken_off_again(service: RunningService, shop: Holder) -> None:
    """The audit knows who did it, and to which conversation by a digest; digits make no tag."""
    ask(shop)
    ask(shop, "Thanks", "conv-2")
    assert shop.ask("PUT", f"{REVIEW}/conv-1/tags/needs article").json()["tags"] == ["needs article"]
    assert shop.ask("PUT", f"{REVIEW}/conv-1/tags/重要").json()["tags"] == ["needs article", "重要"]
    assert [one["tags"] for one in get(shop, f"{REVIEW}?tag=重要")["data"]] == [["needs article", "重要"]]
    assert get(shop, "/v1/review/choices")["tags"][0] == {"tag": "needs article", "num_conversations": 1}
    assert shop.ask("DELETE", f"{REVIEW}/conv-1/tags/needs article").json()["tags"] == ["重要"]
    assert get(shop, f"{REVIEW}/conv-1")["tags"] == ["重要"]
    for tag in ("ab12345", "-", "a" * 41, "a\nb", "%00"):
        assert shop.ask("PUT", f"{REVIEW}/conv-1/tags/{quote(tag)}").status_code == 400, tag
    assert shop.ask("PUT", f"{REVIEW}/conv-none/tags/urgent").status_code == 404
    events = audit(service, shop)
    assert [event.action for event in events] == ["review.untag", "review.tag", "review.tag"]
    assert events[0].details == {"tag": "needs article"}
    assert {event.subject for event in events} == {hashlib.sha256(b"conv-1").hexdigest()}
    for letters in "bcdefghijklmnopqrstu":
        answer = shop.ask("PUT", f"{REVIEW}/conv-1/tags/{letters}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_many_tags")


def test_another_tenants_conversations_do_not_exist(service: RunningService, shop: Holder) -> None:
    """Not in lists, not to be read, rated or exported: each answer is that of an id that nobody has."""
    completion = ask(shop)
    stranger = give_key(service, f"{shop.key.tenant[:50]}-2", (Scope.REVIEW,))
    for path in (REVIEW, "/v1/review/queue"):
        assert get(stranger, path)["data"] == []
    assert stranger.ask("GET", "/v1/review/export").json()["num_conversations"] == 0
    assert get(stranger, "/v1/review/choices")["versions"] == []
    answers = [
        (stranger.ask("GET", f"{REVIEW}/{name}"), judge(stranger, completion_id, rating="down"))
        for name, completion_id in (("conv-1", completion["id"]), ("conv-none", "chatcmpl-none"))
    ]
    assert [answer.status_code for pair in answers for answer in pair] == [404] * 4
    tagged = [stranger.ask("PUT", f"{REVIEW}/{name}/tags/urgent") for name in ("conv-1", "conv-none")]
    assert [answer.status_code for answer in tagged] == [404, 404] and tagged[0].json() == tagged[1].json()
    assert answers[0][0].json() == answers[1][0].json()
    assert answers[0][1].json() == answers[1][1].json()
    assert reply_of(shop)["feedback"] == []
    assert audit(service, stranger)[0].action == "review.export" and len(audit(service, stranger)) == 1


def test_only_a_key_with_the_scope_may_review(service: RunningService, shop: Holder) -> None:
    """No key: 401. A key for everything else, and a web page's token: 403."""
    completion = ask(shop)
    others = give_key(
        service, shop.key.tenant, (Scope.CHAT, Scope.FEEDBACK, Scope.ADMIN), origins=("https://shop.example",)
    )
    token = others.widget_token()
    routes = [("GET", path) for path in (REVIEW, f"{REVIEW}/conv-1", "/v1/review/queue", "/v1/review/choices")]
    routes += [("PUT", f"{REVIEW}/conv-1/tags/x"), ("DELETE", f"{REVIEW}/conv-1/tags/x")]
    routes += [("GET", "/v1/review/export"), ("POST", f"/v1/review/completions/{completion['id']}/feedback")]
    for method, path in routes:
        body = {"rating": "up"} if method == "POST" else None
        assert service.http.request(method, path, json=body).status_code == 401
        assert others.ask(method, path, body).json()["error"]["code"] == "missing_scope"
        assert page_asks(service, token, "https://shop.example", path, body, method).status_code == 403
    assert audit(service, shop) == ()


@pytest.mark.parametrize(
    "query",
    [
        "rating=sideways",
        "reason=Too%20long",
        "version=xyz",
        "plan=a'b",
        "since=yesterday",
        "since=2026-03-02T00:00:00",
        "q=%00",
        "q=" + "a" * 201,
        "limit=0",
        "limit=101",
        "cursor=AAAA",
        "cursor=%F0%9F%92%A9",
        "cursor=" + "A" * 300,
    ],
)
def test_what_makes_no_sense_is_refused_with_its_name(patient_shop: Holder, query: str) -> None:
    """Never a 500, never everything."""
    for path in (REVIEW, "/v1/review/queue"):
        response = patient_shop.ask("GET", f"{path}?{query}")
        assert response.status_code == 400, response.text
        assert response.json()["error"]["param"] == query.partition("=")[0]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rating": "meh"},
        {"rating": "up", "reasons": ["No Slug"]},
        {"rating": "up", "reasons": ["a"] * 9},
        {"rating": "down", "correction": ""},
        {"rating": "down", "correction": " \n"},
        {"rating": "down", "correction": "x" * 4001},
        {"rating": "down", "comment": "a\x00b"},
    ],
)
def test_a_judgement_out_of_bounds_is_refused_and_not_audited(
    service: RunningService, patient_shop: Holder, body: dict[str, object]
) -> None:
    """Before anything is looked up."""
    assert judge(patient_shop, ask(patient_shop)["id"], **body).status_code == 400
    assert audit(service, patient_shop) == ()


def test_the_page_is_served_under_its_policy(service: RunningService) -> None:
    """To everybody: it holds nothing; what it shows needs the key."""
    response = service.http.get("/review")
    assert response.status_code == 200
    assert "require-trusted-types-for 'script'" in response.headers["content-security-policy"]
    assert "staff/review.js" in response.text
