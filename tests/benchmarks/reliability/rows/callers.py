"""Rows 16 to 18: feedback tokens that are not genuine, other tenants' ids on every route, and guessed keys."""

import itertools
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import httpx2

from service.access.api_keys import Scope, make_key
from service.access.key_store import KeyStore
from service.records.feedback_tokens import FeedbackTokenSigner
from tests.benchmarks.reliability.finding import Family, Finding, Plan, verdict
from tests.benchmarks.reliability.service_process import ServiceProcess, serving
from tests.benchmarks.reliability.talk import FEEDBACK, body, listen, thumb

_OPERATOR = "operators-own-key-of-some-length"
_CANARY = "SECRETHORSE"
_NUMBERS = itertools.count()
_KEY_SEEN_WITHIN_SECONDS = 120.0


def measure_tokens(plan: Plan) -> Sequence[Finding]:
    """Every letter of a token changed, tokens of other completions and of other secrets, and one sent again."""
    with serving(plan.folder / "tokens", key_requests_per_minute=0) as service, service.client() as client:
        one, two = (listen(client, body(max_tokens=8, seed=seed)) for seed in (1, 2))
        right = thumb(one)
        forged = list(_forged(one.completion_id, right["feedback_token"], two.feedback_token))
        statuses = Counter(
            client.post(FEEDBACK, json={**right, "feedback_token": token}).status_code for token in forged
        )
        accepted = sum(number for status, number in statuses.items() if status < 400)
        first = client.post(FEEDBACK, json=right)
        again = client.post(FEEDBACK, json=right)
        same = {name: first.json()[name] for name in ("completion_id", "created_at")}
        is_same_row = {name: again.json()[name] for name in same} == same and _num_votes(service) == 1
    holds = accepted == 0 and is_same_row and first.status_code == 200
    return [
        Finding(
            16,
            "forged feedback tokens",
            "accepted = 0; replay = same row",
            f"{len(forged)} forged or swapped: {accepted} accepted; sent again: "
            + ("the same row" if is_same_row else "another row"),
            verdict(holds=holds),
            {"forged": len(forged), "accepted": accepted, "statuses": dict(statuses)},
        )
    ]


def _forged(completion_id: str, token: str, other: str) -> Iterator[str]:
    yield from (token[:index] + ("A" if letter != "A" else "B") + token[index + 1 :] for index, letter in
                enumerate(token) if letter != "." and index != len(token) - 1)  # fmt: skip
    yield from (token[:length] for length in range(1, len(token), 7))
    yield from (other, token + "A", token.swapcase(), ".".join(reversed(token.split("."))), "x" * 1024)
    pieces = (token.split("."), other.split("."))
    yield from (".".join(mixed) for mixed in itertools.product(*zip(*pieces, strict=True)) if ".".join(mixed) != token)
    yield FeedbackTokenSigner(["another service's secret"], 3600).issue(completion_id, "anonymous")


def _num_votes(service: ServiceProcess) -> int:
    with sqlite3.connect(service.data_dir / "rejoinder.db") as connection:
        return int(connection.execute("SELECT count(*) FROM feedback").fetchone()[0])


def measure_tenants(plan: Plan) -> Sequence[Finding]:
    """Every operation of the OpenAPI by another tenant, by nobody, by a revoked key and by keys of one scope."""
    with serving(plan.folder / "tenants", api_key=_OPERATOR, key_requests_per_minute=0) as service:
        keys = _Keys(service)
        owner, stranger = (keys.give(tenant) for tenant in ("acme", "bolt"))
        revoked = keys.give("acme", is_revoked=True)
        narrow = {scope: keys.give("acme", (scope,)) for scope in Scope}
        with _as(service, owner) as client:
            text = f"My word is {_CANARY}"
            heard = listen(client, body(text, max_tokens=8, metadata={"conversation_id": "acme-talk"}))
        ids = {"conversation_id": "acme-talk", "completion_id": heard.completion_id, "tag": "urgent"}
        unknown = {**ids, "conversation_id": "nobodys-talk", "completion_id": "chatcmpl-nobodys"}
        told = thumb(heard) | {"reasons": []}
        found = operations(service, owner)
        leaks, asked = list[str](), 0
        for method, path in found:
            requests = [_request(method, path, names, told) for names in (ids, unknown)]
            answers = [_send(service, stranger, request) for request in requests]
            asked += 2
            if _outcome(answers[0]) != _outcome(answers[1]) or _CANARY in answers[0].text or "acme" in answers[0].text:
                leaks.append(f"{method} {path}: another tenant")
            for who, key in (("nobody", None), ("a revoked key", revoked)):
                asked += 1
                if _send(service, key, requests[0]).status_code != 401:
                    leaks.append(f"{method} {path}: {who}")
            allowed = [scope for scope, key in narrow.items() if _send(service, key, requests[1]).status_code != 403]
            asked += len(narrow)
            if len(allowed) > 1:
                leaks.append(f"{method} {path}: open to {', '.join(allowed)}")
    return [
        Finding(
            17,
            "other tenants' ids",
            "the 404 of an unknown id; leaks = 0 of N",
            f"{len(leaks)} leaks of {asked} requests to {len(found)} operations {'; '.join(leaks[:3])}".strip(),
            verdict(holds=not leaks),
            {"leaks": leaks, "requests": asked},
        )
    ]


class _Keys:
    """Makes keys in a running service's database, as the command does."""

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service

    def give(self, tenant: str, scopes: Sequence[Scope] = tuple(Scope), *, is_revoked: bool = False) -> str:
        """A key that the service knows already, or has known."""
        text, key = make_key(tenant, "", scopes)
        store = KeyStore.open(f"sqlite:///{self._service.data_dir / 'rejoinder.db'}")
        store.add(key)
        self._wait(text, is_good=True)
        if is_revoked:
            store.revoke(key.id)
            self._wait(text, is_good=False)
        store.close()
        return text

    def _wait(self, text: str, *, is_good: bool) -> None:
        """The service reads its keys anew every few seconds. A 429 says nothing about the key."""
        deadline = time.monotonic() + _KEY_SEEN_WITHIN_SECONDS
        with self._service.client(authorization=f"Bearer {text}") as client:
            while time.monotonic() < deadline:
                number = next(_NUMBERS)
                address = {"x-forwarded-for": f"192.0.{number // 256 % 256}.{number % 256}"}
                status = client.get("/v1/models/x", headers=address).status_code
                if status != 429 and (status != 401) == is_good:
                    return
                time.sleep(0.1)
        raise RuntimeError("the service does not see the key")


def _as(service: ServiceProcess, key: str | None) -> httpx2.Client:
    return service.client(**({"authorization": f"Bearer {key}"} if key else {}))


def operations(service: ServiceProcess, key: str | None) -> list[tuple[str, str]]:
    """Method and path of all that the OpenAPI tells of, what deletes last."""
    with _as(service, key) as client:
        paths = client.get("/openapi.json").json()["paths"]
    found = [(method.upper(), path) for path, methods in paths.items() if path.startswith("/v1/") for method in methods]
    return sorted(found, key=lambda operation: operation[0] == "DELETE")


def _request(method: str, path: str, names: dict[str, str], told: dict[str, Any]) -> tuple[str, str, object]:
    """A request that is well made, so that what decides is who asks."""
    filled = path
    for name, value in names.items():
        filled = filled.replace("{" + name + "}", value)
    content: object = None
    if path == "/v1/feedback":
        content = {**told, "completion_id": names["completion_id"]}
    elif path.endswith("/feedback"):
        content = {"rating": "up"}
    elif path == "/v1/chat/completions":
        content = body("Hello", max_tokens=4, conversation_id=names["conversation_id"])
    elif method == "POST":
        content = {}
    return method, filled, content


def _send(service: ServiceProcess, key: str | None, request: tuple[str, str, object]) -> httpx2.Response:
    method, path, content = request
    number = next(_NUMBERS)  # each from an address of its own, as a trusted proxy tells: this row is not about guessing
    with _as(service, key) as client:
        address = {"x-forwarded-for": f"198.18.{number // 256 % 256}.{number % 256}"}
        return client.request(method, path, json=content, headers=address)


def _outcome(answer: httpx2.Response) -> tuple[int, object]:
    """Status and error; of a success only the status: it may hold times."""
    try:
        return answer.status_code, answer.json().get("error")
    except (json.JSONDecodeError, AttributeError):
        return answer.status_code, None


def measure_guessing(plan: Plan) -> Sequence[Finding]:
    """Keys that are nearly right, from one address and from many; and what is kept of the right ones."""
    num_guesses = plan.count(1000, 100)
    with serving(plan.folder / "guessing", api_key=_OPERATOR, wrong_keys_per_minute=20) as service:
        right = _Keys(service).give("acme")
        answers = []
        with service.client() as client:
            for number in range(num_guesses):
                guesses = (f"{right[:-2]}{number % 100:02d}", f"rj_live_{number:043d}", f"{_OPERATOR[:-1]}{number}")
                if (guess := guesses[number % 3]) == right:
                    continue
                headers = {"authorization": f"Bearer {guess}"}
                if number % 2:
                    headers["x-forwarded-for"] = f"198.51.{number // 256}.{number % 256}"
                answers.append((number % 2, client.get("/v1/models", headers=headers)))
        kept = b"".join(path.read_bytes() for path in service.data_dir.glob("rejoinder.db*"))
    accepted = sum(answer.status_code not in (401, 429) for _, answer in answers)
    uniform = len({answer.text for _, answer in answers if answer.status_code == 401}) == 1
    limited = sum(answer.status_code == 429 for is_other, answer in answers if not is_other)
    is_hashed = right.encode() not in kept and _OPERATOR.encode() not in kept
    return [
        Finding(
            18,
            "API-key guessing",
            "uniform 401, limited per origin, stored hashed",
            f"{num_guesses} guesses: {accepted} accepted, {limited} of those from one address met 429, "
            f"{'one' if uniform else 'several'} 401 body, keys {'not ' * is_hashed}found in the database",
            verdict(holds=accepted == 0 and uniform and limited > 0 and is_hashed, is_whole=not plan.is_quick),
            {"accepted": accepted, "limited": limited},
        )
    ]


FAMILIES = (
    Family((16,), "feedback tokens that are not genuine", measure_tokens),
    Family((17,), "other tenants' ids on every route", measure_tenants),
    Family((18,), "guessed keys", measure_guessing),
)
