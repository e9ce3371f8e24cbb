"""Rows 19, 20, 22 and 23: hostile text, control tokens, what must not be seen, and how many series there are."""

import json
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import httpx2

from model_store.contract.control_tokens import CONTROL_TOKENS, NUM_CONTROL_TOKENS, PLACEHOLDER_IDS
from model_store.contract.entities import EntityMasker, EntityVault
from model_store.contract.tokenizer import Tokenizer
from model_store.store import DEFAULT_BUNDLE
from tests.benchmarks.reliability.databases import postgresql
from tests.benchmarks.reliability.finding import Family, Finding, NotRunError, Plan, verdict
from tests.benchmarks.reliability.service_process import ServiceProcess, serving
from tests.benchmarks.reliability.talk import CHAT, FEEDBACK, body, listen, thumb
from tests.e2e.test_service_hostile_input import HOSTILE

_MIN_CASES = 20_000
_CASES_AT_ONCE = 400
_MOST_RUNS = 40
_CANARY = "CANARY77"
_JSON = {"content-type": "application/json"}
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


def measure_hostile_text(plan: Plan) -> Sequence[Finding]:
    """The table of hostile requests on both databases, then requests that schemathesis makes of the OpenAPI."""
    settings = {"key_requests_per_minute": 0, "max_completion_tokens": 4, "wrong_keys_per_minute": 1_000_000}
    with serving(plan.folder / "hostile", **settings) as service:
        on_sqlite = _table(service)
        made_up = _make_up(service, plan.num_cases)
    try:
        with postgresql() as url, serving(plan.folder / "hostile-pg", **settings, database_url=url) as service:
            differ = sum(one != other for one, other in zip(on_sqlite, _table(service), strict=True))
        told = f"{differ} answered otherwise on PostgreSQL"
    except NotRunError as error:
        differ, told = 0, f"PostgreSQL not run, {error}"
    wrong = sum(answer != expected[1:] for answer, expected in zip(on_sqlite, HOSTILE.values(), strict=True))
    broken, undocumented = made_up.broken, made_up.undocumented
    is_whole = made_up.num_sent >= _MIN_CASES and "not run" not in told
    return [
        Finding(
            19,
            "hostile text, schemathesis",
            "no 5xx but 503; as documented; same on both databases",
            f"{len(HOSTILE)} hostile requests: {wrong} answered wrongly, {told}; {made_up.num_sent} made-up requests: "
            f"{sum(broken.values()):.0f} × 5xx {broken or ''}, {len(undocumented)} operations answer otherwise than "
            f"documented {undocumented or ''}".rstrip(),
            verdict(holds=not (wrong or differ or broken or undocumented), is_whole=is_whole),
            {"table": len(HOSTILE), "cases": made_up.num_sent, "broken": broken, "undocumented": undocumented},
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
    pattern = re.compile(r'^rejoinder_http_requests_total\{route="([^"]*)",status="(5\d\d)"\} (\S+)$', re.MULTILINE)
    found = pattern.findall(httpx2.get(f"{service.url}/metrics").text)
    broken = {f"{route} {status}": float(number) for route, status, number in found if status != "503"}
    return _MadeUp(sent, broken, sorted(undocumented))


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
        for failure in case.iter("failure")
    }


def measure_control_tokens(plan: Plan) -> Sequence[Finding]:
    """Spellings of control tokens as people could type them, changed at random, through masker and tokenizer."""
    num_texts = plan.count(10_000, 500)
    tokenizer = Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")
    spellings = [*CONTROL_TOKENS, *(tokenizer.backend.id_to_token(number) for number in range(NUM_CONTROL_TOKENS))]
    rng, masker = random.Random(20), EntityMasker()
    violations = 0
    for number in range(num_texts):
        text, vault = _mutated(spellings[number % len(spellings)], rng), EntityVault()
        token_ids = tokenizer.encode(masker.mask(text, vault))
        found = {PLACEHOLDER_IDS[placeholder] for placeholder in vault.placeholders}
        violations += any(one < NUM_CONTROL_TOKENS and one not in found for one in token_ids)
    return [
        Finding(
            20,
            "control tokens in text",
            "no control id from user text",
            f"{num_texts} texts of {len(set(spellings))} spellings: {violations} with a control id",
            verdict(holds=violations == 0, is_whole=num_texts >= 10_000),
            {"texts": num_texts, "violations": violations},
        )
    ]


def _mutated(spelling: str, rng: random.Random) -> str:
    """The spelling in its surroundings; sometimes doubled, nested, spaced, cut or in other letters."""
    edits = (
        lambda text: text,
        lambda text: text * 2,
        lambda text: text[: len(text) // 2] + text + text[len(text) // 2 :],
        lambda text: " ".join(text),
        lambda text: text.replace("|", "｜").replace("<", "＜"),
        lambda text: text.upper(),
        lambda text: "\u200b".join((text[:1], text[1:])),
        lambda text: text[:-1] + "\n" + text[-1:],
    )
    around = rng.choice(("", "Hello ", "你好", "\n", "<", "{", "</s>"))
    return around + rng.choice(edits)(spelling) + rng.choice(("", " please", "。", ">", "|>"))


def measure_canaries(plan: Plan) -> Sequence[Finding]:
    """A word sent in every place of every request, good and bad; then logs, metrics and errors are searched."""
    settings = {"log_level": "debug", "key_requests_per_minute": 0, "max_completion_tokens": 8}
    errors = []
    with serving(plan.folder / "canaries", **settings) as service, service.client() as client:
        heard = listen(client, body(f"{_CANARY} is my name", user=_CANARY, metadata={"conversation_id": _CANARY}))
        told = {**thumb(heard), "comment": _CANARY, "correction": _CANARY}
        assert client.post(FEEDBACK, json=told).status_code == 200
        errors += [client.post(FEEDBACK, json={**told, "rating": _CANARY}), client.get(f"/{_CANARY}?q={_CANARY}")]
        errors += [client.post(FEEDBACK, json={**told, "feedback_token": _CANARY})]
        good = json.loads(json.dumps(body("Hello")))
        for name in [*good, "seed", "stop", "user", "n", "temperature", "metadata", "tools", _CANARY]:
            errors.append(client.post(CHAT, json={**good, name: [_CANARY]}))
            errors.append(client.post(CHAT, json={**good, name: {_CANARY: _CANARY}}))
        headers = {name: _CANARY for name in ("x-request-id", "idempotency-key", "authorization", "x-forwarded-for")}
        client.get(f"/v1/conversations/{_CANARY}x", headers=headers)
        errors += [client.get(f"/v1/review/conversations?q={_CANARY}&limit={_CANARY}"),
                   client.post(CHAT, content=f'{{"{_CANARY}'.encode(), headers=_JSON)]  # fmt: skip
        metrics = client.get("/metrics").text
        kept = client.get(f"/v1/conversations/{_CANARY}").text
        log = service.log_file.read_text(encoding="utf-8", errors="replace")
    log_lines = [text for text in log.splitlines() if _CANARY in text and f'"request_id": "{_CANARY}"' not in text]
    in_errors = [answer for answer in errors if answer.status_code >= 400 and _CANARY in answer.text]
    hits = len(log_lines) + (_CANARY in metrics) + len(in_errors)
    return [
        Finding(
            22,
            "canaries",
            "not in logs, metrics, errors",
            f"{len(errors) + 4} requests, log at debug: {len(log_lines)} log lines, {len(in_errors)} errors, "
            f"{'in' if _CANARY in metrics else 'not in'} metrics; the control: {'kept' if _CANARY in kept else 'LOST'} "
            "in the record (traces: there are none)",
            verdict(holds=hits == 0 and _CANARY in kept),
            {"hits": hits, "lines": [text[:300] for text in log_lines[:3]]},
        )
    ]


def measure_series(plan: Plan) -> Sequence[Finding]:
    """Invented paths, users and model names."""
    number = plan.count(10_000, 300)
    with serving(plan.folder / "series", key_requests_per_minute=0) as service, service.client() as client:
        for one in range(6):  # what there is anyway
            client.get(f"/warm/{one}")
            client.post(CHAT, json={**body("Hello", user=f"warm-{one}"), "model": f"warm-{one}"})
            client.get(f"/v1/models/warm-{one}")
        before = _num_series(client)
        for one in range(number // 3):
            client.get(f"/invented/{one}")
            client.post(CHAT, json={**body("Hello", user=f"user-{one}"), "model": f"model-{one}"})
            client.get(f"/v1/models/model-{one}")
        after = _num_series(client)
    return [
        Finding(23, "bounded metric series", "number of series bounded",
                f"{number} paths, users and model names: {after - before:+d} series ({after})",
                verdict(holds=after - before <= 0, is_whole=not plan.is_quick), {"delta": after - before})
    ]  # fmt: skip


def _num_series(client: httpx2.Client) -> int:
    return sum(not text.startswith("#") for text in client.get("/metrics").text.splitlines())


FAMILIES = (
    Family((19,), "hostile text and made-up requests", measure_hostile_text),
    Family((20,), "control tokens in text", measure_control_tokens),
    Family((22,), "what must not be seen", measure_canaries),
    Family((23,), "metric series", measure_series),
)
