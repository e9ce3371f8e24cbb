"""Backups: made beside a running service, and a service starts on one as if nothing had happened."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import FEEDBACK_SECRET, RunningService, run_fake_service, run_service, say_hello

BODY: dict[str, Any] = {"model": "rejoinder", "messages": [{"role": "user", "content": "Hello"}]}
ROOT = Path(__file__).resolve().parents[2]


def back_up(data_dir: Path, directory: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", "backup", "--directory", str(directory), *options]
    environment = {**os.environ, "DATA_DIR": str(data_dir), **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def ask(service: RunningService) -> dict[str, Any]:
    with service.http as client:
        reply: dict[str, Any] = client.post("/v1/chat/completions", json=BODY).json()
    return reply


def test_a_service_starts_on_a_backup_with_all_that_was_acknowledged(tmp_path: Path) -> None:
    """Completions up to the backup are there, its version serves, and a feedback token from before is good."""
    engines = FakeEngines(say_hello)
    with run_fake_service(tmp_path, engines) as service:
        reply = ask(service)
        stop = threading.Event()
        talker = threading.Thread(target=lambda: [ask(service) for _ in iter(stop.is_set, True)])
        talker.start()
        done = back_up(service.settings.data_dir, tmp_path / "backups")
        stop.set()
        talker.join()
        assert done.returncode == 0, done.stderr
        digest = service.store.resolve("stable").digest
    backup = Path(done.stdout.strip())
    assert not list((tmp_path / "backups").glob("*.draft"))
    restored = restore(backup, tmp_path / "restored")
    with run_service(restored, engines, tmp_path / "nowhere") as service:
        assert service.store.resolve("stable").digest == digest
        with service.records() as records:
            assert records.get_completion(reply["id"]).completion_text
        about = {"completion_id": reply["id"], "feedback_token": reply["feedback_token"], "rating": "up"}
        with service.http as client:
            assert client.post("/v1/feedback", json=about).status_code == 200


def restore(backup: Path, data_dir: Path) -> Path:
    """As docs/operating.md has it: the backup, and the list that lies beside the backups."""
    shutil.copytree(backup, data_dir)
    shutil.copy(backup.parent / "erasures.jsonl", data_dir)
    return data_dir


def test_what_was_erased_after_a_backup_does_not_come_back_with_it(tmp_path: Path) -> None:
    """It is erased again before anybody is served, to the last byte; what nobody erased is there."""
    engines = FakeEngines(say_hello)
    with run_fake_service(tmp_path, engines) as service, service.http as client:
        kept = ask(service)
        body = {**BODY, "messages": [{"role": "user", "content": "a canary sings"}]}
        erased = client.post("/v1/chat/completions", json=body).json()
        first = back_up(service.settings.data_dir, tmp_path / "backups")
        answer = client.delete(f"/v1/conversations/{erased['conversation_id']}").json()
        assert answer["deleted"] and answer["exports"] == []
        time.sleep(1.1)  # backups are named by the second
        assert back_up(service.settings.data_dir, tmp_path / "backups").returncode == 0
    backup = Path(first.stdout.strip())
    assert b"a canary sings" in (backup / "rejoinder.db").read_bytes()
    restored = restore(backup, tmp_path / "restored")
    with run_service(restored, engines, tmp_path / "nowhere") as service, service.http as client:
        assert client.get(f"/v1/conversations/{erased['conversation_id']}").status_code == 404
        assert client.get(f"/v1/conversations/{kept['conversation_id']}").status_code == 200
        files = [path for path in restored.iterdir() if path.name.startswith("rejoinder.db")]
        assert files and not any(b"a canary sings" in path.read_bytes() for path in files)


def test_only_the_newest_backups_are_kept_and_nothing_else_is_touched(tmp_path: Path) -> None:
    """Names that no backup has are left alone; what a killed backup left is swept away."""
    (tmp_path / "data").mkdir()
    sqlite3.connect(tmp_path / "data" / "rejoinder.db").close()
    backups = tmp_path / "backups"
    for name in ("20250101T000000Z", "20250102T000000Z", "20250103T000000Z.draft", "mine"):
        (backups / name).mkdir(parents=True)
    done = back_up(tmp_path / "data", backups, "--keep", "2")
    assert done.returncode == 0, done.stderr
    made = Path(done.stdout.strip()).name
    assert re.fullmatch(r"\d{8}T\d{6}Z", made)
    lists = {"erasures.jsonl", "erasures.jsonl.lock"}
    assert {path.name for path in backups.iterdir()} == {"20250102T000000Z", made, "mine", *lists}


def test_a_backup_without_a_database_fails_by_name_and_leaves_nothing(tmp_path: Path) -> None:
    """No empty database is made, neither there nor in a backup."""
    done = back_up(tmp_path / "nowhere", tmp_path / "backups")
    assert done.returncode == 1 and "unable to open database file" in done.stderr
    assert not (tmp_path / "nowhere").exists()
    assert not [path for path in (tmp_path / "backups").iterdir() if not path.name.endswith(".draft")]


def test_a_dump_of_postgresql_is_moved_into_the_backup(tmp_path: Path) -> None:
    """Without one the command says what is missing."""
    url = "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret.key").write_text(FEEDBACK_SECRET, encoding="utf-8")
    done = back_up(tmp_path / "data", tmp_path / "backups", SERVICE_DATABASE_URL=url)
    assert done.returncode == 1 and "--database-dump" in done.stderr and "secret@" not in done.stderr
    dump = tmp_path / "incoming.dump"
    dump.write_bytes(b"PGDMP")
    done = back_up(tmp_path / "data", tmp_path / "backups", "--database-dump", str(dump), SERVICE_DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    backup = Path(done.stdout.strip())
    assert {path.name: path.read_bytes() for path in backup.iterdir() if path.name != "backup.json"} == {
        "database.dump": b"PGDMP",
        "secret.key": FEEDBACK_SECRET.encode(),
    }
    assert not dump.exists()
