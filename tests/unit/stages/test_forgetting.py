"""Forgetting: what runs have kept of erased conversations goes, and the version that learned from it is named."""

import json
from pathlib import Path

import pytest

from model_store.erasures import ErasedConversation, ErasureList, conversation_digest
from training.errors import WorkspaceError
from training.forgetting import NOTE_NAME, forget
from training.workspace import Workspace

AT = "2026-06-01T00:00:00.000000Z"
ERASED = ErasureList([ErasedConversation("default", conversation_digest("conv-1"), AT)])


def fill(root: Path, *results: str, names: tuple[str, ...] = ("conv-1", "conv-2")) -> Workspace:
    """A workspace with rows of these conversations in every file that a run makes."""
    workspace = Workspace(root)
    rows = [{"conversation_id": name, "created_at": "2026-01-01", "text": f"canary of {name}"} for name in names]
    for file in ("snapshot.jsonl", "examples.jsonl", "turns.jsonl"):
        workspace.write_text(file, "".join(json.dumps(row) + "\n" for row in rows))
    quotes = [json.dumps({"prompt": row["text"]}) + "\n" for row in rows]
    workspace.write_text("held_out_replies.jsonl", "".join(quotes))
    workspace.write_text("gate.html", "".join(quotes))
    (root / "report").mkdir()
    workspace.write_text("report/reward_model.txt", "".join(quotes))
    workspace.write_text("policy.checkpoint.pt", "weights")
    for name in ("inputs", "snapshot", *results):
        workspace.save_result(name, {"digest": "d" * 64, "accepted": False, "num_rows": 2, "data_snapshot": "s"})
    return workspace


def test_no_file_of_a_run_holds_a_byte_of_what_was_erased(tmp_path: Path) -> None:
    """What nobody erased stays; the version is named; the note says what was done; a second time finds nothing."""
    fill(tmp_path / "published", "curate", "publish")
    fill(tmp_path / "untouched", "publish", names=("conv-2",))
    (run,) = forget(tmp_path, ERASED)
    assert (run.workspace, run.num_rows, run.version) == (str(tmp_path / "published"), 3, "d" * 64)
    assert not run.is_restarted and json.loads((tmp_path / "published" / NOTE_NAME).read_text())["num_rows"] == 3
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"canary of conv-1" in path.read_bytes() for path in files)
    for file in ("snapshot.jsonl", "examples.jsonl", "turns.jsonl"):
        assert "canary of conv-2" in (tmp_path / "published" / file).read_text()
    assert "canary of conv-2" in (tmp_path / "untouched" / "gate.html").read_text()
    assert forget(tmp_path, ERASED) == []


def test_a_run_that_had_not_ended_begins_again_after_its_snapshot(tmp_path: Path) -> None:
    """It would go on with what it has learned already; a refused one is over."""
    workspace = fill(tmp_path / "open", "curate", "reward_model")
    refused = fill(tmp_path / "refused", "curate", "gate")
    assert [(run.is_restarted, run.version) for run in forget(tmp_path, ERASED)] == [(True, None), (False, None)]
    assert workspace.result("curate") is None and workspace.result("reward_model") is None
    assert not workspace.path("policy.checkpoint.pt").exists()
    snapshot = workspace.result("snapshot") or {}
    assert snapshot["num_rows"] == 1 and len(snapshot["data_snapshot"]) == 64
    assert refused.result("curate") is not None


def test_a_workspace_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Better than a silent half."""
    fill(tmp_path / "broken").write_text("examples.jsonl", "not JSON\n")
    with pytest.raises(WorkspaceError, match="broken"):
        forget(tmp_path, ERASED)
