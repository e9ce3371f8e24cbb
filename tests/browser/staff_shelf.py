"""A service with something to see on the staff's pages: three versions, one with a gate report, and rated replies."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from model_store.bundle import write_bundle
from model_store.contract.conversation import Message, Role
from model_store.contract.manifest import MANIFEST_NAME, parse_manifest
from service.records.store import CompletionRecord, FeedbackRecord
from tests.contract.fake_engine import make_chat_bundle
from tests.e2e.running_service import RunningService

HOSTILE = "<img src=x onerror='window.hasFired = true'>"
_FIGURE = {"value": 0.51, "low": 0.46, "high": 0.56}
_SCORECARD = {
    "win_rate": {"value": 0.6, "low": 0.55, "high": 0.65},
    "candidate": {"right_plan": _FIGURE},
    "changes": {"right_plan": {"value": -0.034, "low": -0.06, "high": -0.008, "standard_error": 0.013}},
    "safety": {"num_scenarios": 40, "failed_by_candidate": 4},
}
_GATE = {
    "accepted": False,
    "rules": [
        {"name": "win_rate", "passed": True, "sentence": "The judge prefers it on 60.0% of 376 prompts."},
        {"name": "right_plan", "passed": False, "sentence": f"A loss of 3 points must be ruled out. {HOSTILE}"},
    ],
    "scorecard": _SCORECARD,
}


def publish(service: RunningService, directory: Path, name: str, **changes: object) -> str:
    """Puts a plain version on the shelf; no alias moves."""
    digest = make_chat_bundle(directory / name, name, **changes)
    service.store.publish(directory / name)
    return digest


def publish_gated(service: RunningService, directory: Path, parent: str) -> str:
    """Puts a version on the shelf that learned from thumbs and was refused by its gate."""
    lineage = {"config": "c" * 64, "stages": ["reward_model", "rloo"], "parent": parent, "data_snapshot": "d" * 64}
    make_chat_bundle(
        directory / "gated",
        "gated",
        lineage=lineage,
        created_at="2026-02-02T02:02:02Z",
        metrics={"right_plan": 0.51, "perplexity": 1.25},
    )
    manifest = parse_manifest((directory / "gated" / MANIFEST_NAME).read_bytes(), digest="")
    (directory / "gated" / "gate.json").write_text(json.dumps(_GATE))
    digest = write_bundle(directory / "gated", manifest.model_dump(mode="json", exclude={"files"})).digest
    service.store.publish(directory / "gated")
    return digest


def publish_documented(service: RunningService, directory: Path, page: str) -> str:
    """Puts a version on the shelf that brings a page along."""
    make_chat_bundle(directory / "told", "told", created_at="2026-02-02T02:02:02Z")
    manifest = parse_manifest((directory / "told" / MANIFEST_NAME).read_bytes(), digest="")
    (directory / "told" / "gate.html").write_text(page, encoding="utf-8")
    digest = write_bundle(directory / "told", manifest.model_dump(mode="json", exclude={"files"})).digest
    service.store.publish(directory / "told")
    return digest


def fill(service: RunningService, digest: str) -> None:
    """Twelve days of replies of one version, every second of them rated."""
    record = CompletionRecord(
        id="",
        conversation_id="",
        created_at=datetime.now(UTC),
        model_digest=digest,
        language="en",
        prompt_messages=(Message(Role.USER, "Hello"),),
        completion_text="Hello!",
        completion_token_ids=(),
        token_logprobs=(),
        sampling={"plan": "track_order"},
        finish_reason="stop",
        latency_ms=400.0,
        num_prompt_tokens=3,
        num_completion_tokens=2,
    )
    with service.records() as records:
        for number in range(36):
            completion = replace(
                record,
                id=f"cmpl-{number}",
                conversation_id=f"conv-{number}",
                created_at=record.created_at - timedelta(days=number % 12),
                language="en" if number % 3 else "zh",
                sampling={"plan": "track_order" if number % 2 else "refund"},
                finish_reason="stop" if number % 9 else "handover",
                latency_ms=100.0 * (1 + number % 7),
            )
            records.record_completion(completion)
            if number % 4 < 2:
                vote = FeedbackRecord(completion_id=completion.id, rater=f"rater-{number}", rating="up")
                is_down = number % 8 == 0
                records.record_feedback(replace(vote, rating="down", reasons=("too_long",)) if is_down else vote)
