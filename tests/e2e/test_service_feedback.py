"""Thumbs over HTTP: given, changed, taken back; and never without the right to."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from model_store.contract.feedback import MAX_COMMENT_CHARS
from service.records.feedback_tokens import FeedbackTokenSigner
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import FEEDBACK_SECRET, RunningService, run_fake_service, say_hello


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service whose feedback tokens are good for two seconds."""
    directory = tmp_path_factory.mktemp("service")
    with run_fake_service(directory, FakeEngines(say_hello), feedback_token_max_age_seconds=2) as running:
        yield running


def complete(service: RunningService, user: str | None = None) -> dict[str, str]:
    """A completion's id and feedback token."""
    body: dict[str, Any] = {"model": "rejoinder", "messages": [{"role": "user", "content": "Hello"}], "user": user}
    completion = service.http.post("/v1/chat/completions", json=body).json()
    return {"completion_id": completion["id"], "feedback_token": completion["feedback_token"]}


def num_standing(service: RunningService) -> int:
    """Ratings that stand in the store."""
    with service.records() as records:
        return sum(records.count_feedback())


def test_a_thumb_is_stored_changed_and_withdrawn(service: RunningService) -> None:
    """One row throughout: the last word counts, null takes back what was said with it."""
    right = complete(service)
    before = num_standing(service)
    down = service.http.post("/v1/feedback", json={**right, "rating": "down", "reasons": ["mechanical"]}).json()
    up = service.http.post("/v1/feedback", json={**right, "rating": "up", "comment": "better now"}).json()
    assert num_standing(service) == before + 1
    gone = service.http.post("/v1/feedback", json={**right, "rating": None}).json()
    assert (down["object"], down["rating"], down["reasons"]) == ("feedback", "down", ["mechanical"])
    assert (up["rating"], up["reasons"], up["comment"]) == ("up", [], "better now")
    assert up["created_at"] == down["created_at"] < up["updated_at"]
    assert (gone["rating"], gone["comment"]) == (None, None) and gone["withdrawn_at"]
    assert num_standing(service) == before


def test_comment_and_correction_are_masked_before_they_are_stored(service: RunningService) -> None:
    """The answer is the stored record, so it shows what was kept: no address, no order number."""
    said = {"comment": "write to jane@example.com", "correction": "Order A1B2-77345 can be sent back within 30 days."}
    stored = service.http.post("/v1/feedback", json={**complete(service), "rating": "down", **said}).json()
    assert stored["comment"] == "write to <EMAIL>"
    assert stored["correction"] == "Order <ORDER_ID> can be sent back within <RETURN_WINDOW>."


def test_feedback_counts_in_the_metrics(service: RunningService) -> None:
    """By rating, withdrawals included."""
    right = complete(service)
    before = service.metric("rejoinder_feedback_total").get('{rating="up"}', 0)
    service.http.post("/v1/feedback", json={**right, "rating": "up"})
    assert service.metric("rejoinder_feedback_total")['{rating="up"}'] == before + 1


def test_a_token_does_not_fit_another_completion(service: RunningService) -> None:
    """Swapped tokens are refused both ways."""
    one, other = complete(service), complete(service)
    swapped = {"completion_id": one["completion_id"], "feedback_token": other["feedback_token"], "rating": "up"}
    refuse(service, swapped, 403, "invalid_feedback_token")


def test_a_forged_token_is_refused(service: RunningService) -> None:
    """Another key, a changed character, another rater's name."""
    right = complete(service)
    completion_id, token = right["completion_id"], right["feedback_token"]
    foreign = FeedbackTokenSigner(["a key that nobody has"], 60).issue(completion_id, "anonymous")
    changed = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]
    for forged in (foreign, changed, "x", "."):
        body = {"completion_id": completion_id, "feedback_token": forged, "rating": "up"}
        refuse(service, body, 403, "invalid_feedback_token")


def test_an_old_token_is_refused_as_expired(service: RunningService) -> None:
    """After two seconds here; the code differs from a forged one's."""
    right = complete(service)
    time.sleep(3.1)
    refuse(service, {**right, "rating": "up"}, 403, "expired_feedback_token")


def test_a_completion_that_was_never_made_cannot_be_rated(service: RunningService) -> None:
    """Even with a genuine token: the record is not there."""
    token = FeedbackTokenSigner([FEEDBACK_SECRET], 60).issue("chatcmpl-none", "anonymous")
    body = {"completion_id": "chatcmpl-none", "feedback_token": token, "rating": "up"}
    refuse(service, body, 404, "completion_not_found")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"rating": "meh"}, "invalid_value"),
        ({"rating": 1}, "invalid_value"),
        ({"rating": ...}, "missing_parameter"),
        ({"reasons": ["Not A Slug"]}, "invalid_value"),
        ({"reasons": ["a"] * 9}, "invalid_value"),
        ({"comment": "x" * (MAX_COMMENT_CHARS + 1)}, "invalid_value"),
        ({"comment": "a\x00b"}, "unsafe_text"),
        ({"correction": 7}, "invalid_value"),
        ({"completion_id": "a b"}, "invalid_value"),
        ({"feedback_token": "é"}, "invalid_value"),
        ({"feedback_token": None}, "invalid_value"),
    ],
    ids=str,
)
def test_malformed_feedback_is_refused(service: RunningService, changes: dict[str, object], code: str) -> None:
    """A 400 with a stable code, and nothing stored."""
    fields = {**complete(service), "rating": "up", **changes}
    refuse(service, {name: value for name, value in fields.items() if value is not ...}, 400, code)


def test_a_secret_made_at_the_first_start_outlives_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A token issued before the restart is good after it; only the owner can read the key."""
    directory = tmp_path_factory.mktemp("restart")
    with run_fake_service(directory, FakeEngines(say_hello), feedback_secret=None) as service:
        right = complete(service)
    key = directory / "data" / "secret.key"
    assert key.stat().st_mode & 0o777 == 0o600 and len(key.read_text()) == 64
    (directory / "bundle").rename(directory / "earlier")
    with run_fake_service(directory, FakeEngines(say_hello), feedback_secret=None) as service:
        assert service.http.post("/v1/feedback", json={**right, "rating": "up"}).status_code == 200


def refuse(service: RunningService, body: Mapping[str, object], status: int, code: str) -> None:
    """Asserts the refusal, and that no rating was stored."""
    before = num_standing(service)
    response = service.http.post("/v1/feedback", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code), error
    assert num_standing(service) == before
