"""Rows 19, 20, 22 and 23: hostile text, control tokens, what must not be seen, and how many series there are."""

import random
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx2

from model_store.contract.control_tokens import CONTROL_TOKENS, NUM_CONTROL_TOKENS, PLACEHOLDER_IDS
from model_store.contract.entities import EntityMasker, EntityVault
from model_store.contract.tokenizer import Tokenizer, read_backend
from model_store.store import DEFAULT_BUNDLE
from tests.benchmarks.reliability.databases import postgresql
from tests.benchmarks.reliability.finding import Family, Finding, NotRunError, Plan, verdict
from tests.benchmarks.reliability.rows.callers import operations
from tests.benchmarks.reliability.service_process import ServiceProcess, serving
from tests.benchmarks.reliability.talk import CHAT, FEEDBACK, body, listen, thumb
from tests.e2e.test_service_hostile_input import HOSTILE

_MIN_CASES = 20_000
_CASES_AT_ONCE = 400
_MOST_RUNS = 40
_CANARY = "CANARY77"
_JSON = {"content-type": "application/json"}
_NUM_MUTATIONS = 300
"""Of each spelling."""
_STRAY = (" ", "\n", "\u200b", "\u00ad", "|", "<", ">", "\\", "a", "的")
_WIDE = str.maketrans("|<>_:", "｜＜＞＿：")
_BEFORE = ("", "Hello ", "你好", "\n", "<", "{", "</s>")
_AFTER = ("", " please", "。", ">", "|>")
_CHECKS = "status_code_conformance,content_type_conformance,response_schema_conformance"
"""Of answers against the OpenAPI. 5xx are counted by the service itself: 503 is an answer by policy."""


@dataclass(frozen=True)
class _MadeUp:
    """What became of requests that schemathesis made up."""

    num_sent: int
    broken: dict[str, float]
    """Route and 5xx but 503 → how often, by the service's own count."""
    undocumented: list[str]
    """Operations whose answers are not what the OpenAPI says, each with the checks that found it."""
    statuses: dict[str, int]
    """First digit of a status → how often: requests that are all refused would try nothing."""


def measure_hostile_text(plan: Plan) -> Sequence[Finding]:
    """The table of hostile requests on both databases, then requests that schemathesis makes of the OpenAPI."""
    settings = {"key_requests_per_minute": 0, "max_completion_tokens": 4, "wrong_keys_per_minute": 1_000_000}
    with serving(plan.folder / "hostile", **settings) as service:
        on_sqlite = _table(service)
        made_up = _make_up(service, plan.num_cases)
        with service.client() as client:
            goes_on = listen(client, body("Hello")).is_whole
    try:
        with postgresql() as url, serving(plan.folder / "hostile-pg", **settings, database_url=url) as service:
            differ = sum(one != other for one, other in zip(on_sqlite, _table(service), strict=True))
        told = f"{differ} answered otherwise on PostgreSQL"
    except NotRunError as error:
        differ, told = 0, f"PostgreSQL not run, {error}"
    wrong = sum(answer != expected[1:] for answer, expected in zip(on_sqlite, HOSTILE.values(), strict=True))
    broken, undocumented = made_up.broken, made_up.undocumented
    is_whole = made_up.num_sent >= _MIN_CASES and "not run" not in told
    holds = not (wrong or differ or broken or undocumented) and made_up.statuses["2"] > 0 and goes_on
    return [
        Finding(
            19,
            "hostile text, schemathesis",
            "no 5xx but 503; as documented; same on both databases",
            f"{len(HOSTILE)} hostile requests: {wrong} answered wrongly, {told}; {made_up.num_sent} made-up requests: "
            f"{made_up.statuses['2']} granted, {sum(broken.values()):.0f} × 5xx {broken or ''}, {len(undocumented)} "
            f"operations answer otherwise than documented {undocumented or ''}; then "
            + ("it goes on" if goes_on else "IT DOES NOT GO ON"),
            verdict(holds=holds, is_whole=is_whole),
            {
                "table": len(HOSTILE),
                "cases": made_up.num_sent,
                "statuses": made_up.statuses,
                "broken": broken,
                "undocumented": undocumented,
            },
        )
    ]


def _table(service: ServiceProcess) -> list[tuple[int, str]]:
    with service.client() as client:
        answers = [client.post(CHAT, content=content, headers=_JSON) for content, _, _ in HOSTILE.values()]
    return [(answer.status_code, answer.json()["error"]["code"]) for answer in answers]


def _make_up(service: ServiceProcess, wanted: int) -> _MadeUp:
    """Has schemathesis send so many requests. Raises NotRunError where it is not installed."""
    if find_spec("schemathesis") is None:
        raise NotRunError("schemathesis is not installed: pip install -e '.[reliability]'")
    before = service.metric("rejoinder_http_requests_total")
    undocumented: set[str] = set()
    for run in range(_MOST_RUNS):
        sent = int(service.metric("rejoinder_http_requests_total") - before)
        if sent >= wanted or not service.is_running:
            break
        undocumented |= _run_schemathesis(service, max(10, min(_CASES_AT_ONCE, (wanted - sent) // 20)), seed=run)
    sent = int(service.metric("rejoinder_http_requests_total") - before)
    pattern = re.compile(r'^rejoinder_http_requests_total\{route="([^"]*)",status="(\d\d\d)"\} (\S+)$', re.MULTILINE)
    found = pattern.findall(httpx2.get(f"{service.url}/metrics").text)
    statuses = Counter[str]()
    for _, status, number in found:
        statuses[status[0]] += int(float(number))
    is_broken = {f"{route} {status}": float(number) for route, status, number in found if _is_broken(status)}
    return _MadeUp(sent, is_broken, sorted(undocumented), {digit: statuses[digit] for digit in "2345"})


def _is_broken(status: str) -> bool:
    return status.startswith("5") and status != "503"


def _run_schemathesis(service: ServiceProcess, num_examples: int, seed: int) -> set[str]:
    """One run: operations whose answers are not as documented. Its reports are in the row's folder."""
    folder = service.log_file.parent
    junit = folder / f"schemathesis-{seed}.xml"
    program = str(Path(sys.executable).with_name("schemathesis"))
    command = [program, "run", f"{service.url}/openapi.json"]
    command += ["--phases=examples,coverage,fuzzing", f"--checks={_CHECKS}", "--continue-on-failure"]
    command += ["--report=junit", f"--report-junit-path={junit}", "--request-timeout=120"]
    command += [f"--max-examples={num_examples}", f"--seed={seed}", "--workers=1", "--no-color", "--no-shrink"]
    command += ["--suppress-health-check=all", "--generation-database=none", "--warnings=off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    (folder / f"schemathesis-{seed}.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode not in (0, 1):
        raise RuntimeError(f"schemathesis ended with {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
    return {
        f"{case.get('name')}: {failure.get('message')}"
        for case in ElementTree.parse(junit).iter("testcase")
        for failure in (*case.iter("failure"), *case.iter("error"))
    }


def measure_control_tokens(plan: Plan) -> Sequence[Finding]:
    """Spellings of control tokens as people could type them, changed at random, through masker and tokenizer."""
    num_each = plan.count(_NUM_MUTATIONS, 20)
    tokenizer = Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")
    careless = read_backend(DEFAULT_BUNDLE / "tokenizer.json")  # as the library is by itself: the control
    spellings = {
        *CONTROL_TOKENS,
        *(tokenizer.backend.id_to_token(number) or "" for number in range(NUM_CONTROL_TOKENS)),
    }
    rng, masker = random.Random(20), EntityMasker()
    violations = num_dangerous = 0
    for spelling in sorted(spellings):
        for _ in range(num_each):
            text, vault = _mutated(spelling, rng), EntityVault()
            token_ids = tokenizer.encode(masker.mask(text, vault))
            found = {PLACEHOLDER_IDS[placeholder] for placeholder in vault.placeholders}
            violations += any(one < NUM_CONTROL_TOKENS and one not in found for one in token_ids)
            num_dangerous += min(careless.encode(text, add_special_tokens=False).ids) < NUM_CONTROL_TOKENS
    return [
        Finding(
            20,
            "control tokens in text",
            "no control id from user text",
            f"{len(spellings)} spellings × {num_each}: {violations} with a control id; the control, tokenizers by "
            f"itself: {num_dangerous}",
            verdict(holds=violations == 0 < num_dangerous, is_whole=num_each >= _NUM_MUTATIONS),
            {"spellings": len(spellings), "mutations": num_each, "violations": violations, "control": num_dangerous},
        )
    ]


def _mutated(spelling: str, rng: random.Random) -> str:
    """The spelling in its surroundings, changed up to three times at random places."""
    text = spelling
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        place = rng.randrange(len(text) + 1)
        before, after = text[:place], text[place:]
        text = rng.choice(
            (
                before + spelling + after,
                before + rng.choice(_STRAY) + after,
                before + after[1:],
                before + after[:1].swapcase() + after[1:],
                before + after[:1].translate(_WIDE) + after[1:],
                text + text,
            )
        )
    return rng.choice(_BEFORE) + text + rng.choice(_AFTER)


def measure_canaries(plan: Plan) -> Sequence[Finding]:
    """A word sent in every place of every request, good and bad; then logs, metrics and errors are searched."""
    settings = {"log_level": "debug", "key_requests_per_minute": 0, "max_completion_tokens": 8}
    with serving(plan.folder / "canaries", **settings) as service, service.client() as client:
        heard = listen(client, body(f"{_CANARY} is my name", user=_CANARY, metadata={"conversation_id": _CANARY}))
        told = {**thumb(heard), "comment": _CANARY, "correction": _CANARY}
        assert client.post(FEEDBACK, json=told).status_code == 200
        answers = [*_bad_requests(client, told), *_on_every_route(service, client)]
        kept = client.get(f"/v1/conversations/{_CANARY}").text
        _break_tables(service)
        broken = [client.post(FEEDBACK, json={**told, "rating": "down"}),
                  client.post(CHAT, json={**body(f"{_CANARY} again", user=_CANARY), "stream": False})]  # fmt: skip
        metrics = client.get("/metrics").text
        log = service.log_file.read_text(encoding="utf-8", errors="replace")
    log_lines = [text for text in log.splitlines() if _CANARY in text and f'"request_id": "{_CANARY}"' not in text]
    in_errors = [one for one in (*answers, *broken) if one.status_code >= 400 and _CANARY in one.text]
    hits = len(log_lines) + (_CANARY in metrics) + len(in_errors)
    has_failed = all(one.status_code == 503 for one in broken)
    return [
        Finding(
            22,
            "canaries",
            "not in logs, metrics, errors",
            f"{len(answers) + len(broken) + 2} requests, {len(log.splitlines())} lines of log: {len(log_lines)} of "
            f"them, {len(in_errors)} errors, {'in' if _CANARY in metrics else 'not in'} metrics; the controls: "
            f"{'kept' if _CANARY in kept else 'LOST'} in the record, a broken database answers "
            f"{', '.join(str(one.status_code) for one in broken)} (traces: there are none)",
            verdict(holds=hits == 0 and _CANARY in kept and has_failed),
            {
                "hits": hits,
                "lines": [text[:300] for text in log_lines[:3]],
                "errors": [one.text[:300] for one in in_errors[:3]],
            },
        )
    ]


def _bad_requests(client: httpx2.Client, told: dict[str, Any]) -> list[httpx2.Response]:
    """The word for every value and for every name of one, in headers, and in what is no JSON."""
    answers = [client.post(FEEDBACK, json={**told, "rating": _CANARY}), client.get(f"/{_CANARY}?q={_CANARY}")]
    answers += [client.post(FEEDBACK, json={**told, "feedback_token": _CANARY})]
    good = body("Hello")
    for name in [*good, "seed", "stop", "user", "n", "temperature", "metadata", "tools", _CANARY]:
        answers.append(client.post(CHAT, json={**good, name: [_CANARY]}))
        answers.append(client.post(CHAT, json={**good, name: {_CANARY: _CANARY}}))
    headers = {name: _CANARY for name in ("x-request-id", "idempotency-key", "authorization", "x-forwarded-for")}
    answers += [client.get(f"/v1/conversations/{_CANARY}x", headers=headers)]
    return [*answers, client.post(CHAT, content=f'{{"{_CANARY}'.encode(), headers=_JSON)]


def _on_every_route(service: ServiceProcess, client: httpx2.Client) -> list[httpx2.Response]:
    """The word, one letter longer so that nothing of it is found and deleted, for every id, parameter and field."""
    word = f"{_CANARY}x"
    return [
        client.request(method, re.sub(r"\{\w+\}", word, path), params={"q": word, "limit": word}, json=content)
        for method, path in operations(service, None)
        for content in ((None,) if method == "GET" else ({word: word}, {"text": word, "note": word, "rating": word}))
    ]


def _break_tables(service: ServiceProcess) -> None:
    """From here on the database refuses what is written."""
    with sqlite3.connect(service.data_dir / "rejoinder.db") as database:
        for table in ("feedback", "completions"):
            database.execute(f"ALTER TABLE {table} RENAME TO {table}_gone")


def measure_series(plan: Plan) -> Sequence[Finding]:
    """Invented paths, users and model names, some of whom get their answer."""
    number = plan.count(10_000, 300)
    with serving(plan.folder / "series", key_requests_per_minute=0) as service, service.client() as client:
        for is_answered in (True, False):  # what there is anyway, the scrape among it
            _invent(client, f"warm-{is_answered}", is_answered=is_answered)
            _series(client)
        before = _series(client)
        for one in range(number // 4):
            _invent(client, str(one), is_answered=one % 20 == 0)
        new = sorted(_series(client) - before)
    told = f"{number} paths, users, models and conversations: {len(new)} new beside {len(before)} series"
    return [
        Finding(23, "bounded metric series", "number of series bounded", told,
                verdict(holds=not new, is_whole=not plan.is_quick), {"new": new[:20]})
    ]  # fmt: skip


def _invent(client: httpx2.Client, name: str, *, is_answered: bool) -> None:
    """A path, a user, a model and a conversation by this name."""
    client.get(f"/invented/{name}")
    client.get(f"/v1/models/model-{name}")
    client.get(f"/v1/conversations/conversation-{name}")
    model = "rejoinder" if is_answered else f"model-{name}"
    asked = {**body("Hello", user=f"user-{name}", max_tokens=2, temperature=0), "model": model, "stream": False}
    client.post(CHAT, json=asked)


def _series(client: httpx2.Client) -> set[str]:
    lines = client.get("/metrics").text.splitlines()
    return {text.rpartition(" ")[0] for text in lines if not text.startswith("#")}


FAMILIES = (
    Family((19,), "hostile text and made-up requests", measure_hostile_text),
    Family((20,), "control tokens in text", measure_control_tokens),
    Family((22,), "what must not be seen", measure_canaries),
    Family((23,), "metric series", measure_series),
)
