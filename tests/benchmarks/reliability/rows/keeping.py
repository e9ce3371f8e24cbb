"""Rows 24 and 25: what is erased is gone, and nothing is fetched from addresses that are none of ours."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.benchmarks.reliability.finding import Family, Finding, NotRunError, Plan, verdict
from tests.benchmarks.reliability.service_process import free_port, serving
from tests.benchmarks.reliability.talk import CHAT, FEEDBACK, body, listen, thumb

_CANARY = "ERASEDHORSE"
_TRACED_SECONDS = 240
_CONNECT = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"
"""Sends nothing: the control of what strace sees."""
_ADDRESSES = (
    "http://169.254.169.254/latest/meta-data",
    "https://evil.example/models",
    "s3://bucket/../other",
    "s3://bucket/models?endpoint=http://169.254.169.254",
    "s3://bucket/models#x",
    "file:///etc",
    "ftp://evil.example/models",
    "models/../../etc",
    "models?x=1",
    "models%2f..%2fetc",
)


def measure_erasure(plan: Plan) -> Sequence[Finding]:
    """A conversation with a word that nobody else says is erased; then every byte of the data directory is searched."""
    with serving(plan.folder / "erasure") as service, service.client() as client:
        kept = {"conversation_id": "stays"}
        stays = listen(client, body("Hello", max_tokens=8, metadata=kept))
        client.post(FEEDBACK, json=thumb(stays))
        said = body(f"My word is {_CANARY}", max_tokens=8, metadata={"conversation_id": "goes"})
        listen(client, said)
        service.signal()  # so that the first turn lies in the database's pages, and the second one in its log
        service.wait()
        service.start()
        heard = listen(client, said, {"idempotency-key": "erasure"})
        told = {**thumb(heard), "comment": _CANARY, "correction": _CANARY}
        assert client.post(FEEDBACK, json=told, headers={"idempotency-key": "vote"}).status_code == 200
        was_there = _files_with(service.data_dir)
        answer = client.delete("/v1/conversations/goes")
        hits = _files_with(service.data_dir)
        environment = {**os.environ, "SERVICE_DATA_DIR": str(service.data_dir)}
        command = [sys.executable, "-m", "service", "export"]
        export = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        again = client.post(CHAT, json={**said, "stream": False}).status_code
        hits += _files_with(service.data_dir)
    hits += ["export"] * (_CANARY in export)
    is_named = "model_versions" in answer.json()
    has_control = "stays" in export
    holds = bool(was_there) and not hits and again == 410 and answer.status_code == 200 and is_named and has_control
    return [
        Finding(
            24,
            "erasure",
            "no byte in tables, WAL, exports; tombstone holds",
            f"before: in {', '.join(was_there) or 'nothing'}; after: in {', '.join(hits) or 'nothing'}; "
            f"said again: {again}; versions concerned are {'' if is_named else 'NOT '}named",
            verdict(holds=holds),
            {"hits": hits},
        )
    ]


def _files_with(folder: Path) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file() and "versions" not in path.parts]
    return [path.name for path in files if _CANARY.encode() in path.read_bytes()]


def measure_addresses(plan: Plan) -> Sequence[Finding]:
    """The service is started with each of them under strace, which sees what it connects to."""
    if shutil.which("strace") is None:
        raise NotRunError("no strace, which sees what is connected to: apt install strace")
    _, control = _traced([sys.executable, "-c", _CONNECT], {}, plan.folder / "address-control")
    if not control:
        raise NotRunError("strace does not see a connection that is there")
    addresses = _ADDRESSES[: plan.count(len(_ADDRESSES), 2)]
    started, outbound = list[str](), 0
    for number, address in enumerate(addresses):
        folder = plan.folder / f"address-{number}"
        settings = {
            "SERVICE_MODEL_STORE": address,
            "SERVICE_DATA_DIR": str(folder),
            "SERVICE_PORT": str(free_port()),
        }
        complaint, num_connections = _traced([sys.executable, "-m", "service", "serve"], settings, folder)
        outbound += num_connections
        if complaint is None or "model_store" not in complaint:
            started.append(address)
    return [
        Finding(
            25,
            "store address abuse",
            "refused at start; outbound = 0",
            f"{len(addresses)} addresses: {len(started)} not refused {started or ''}, {outbound} connections; the "
            f"control: {control}",
            verdict(holds=not started and outbound == 0, is_whole=not plan.is_quick),
            {"not_refused": started, "outbound": outbound, "addresses": json.dumps(addresses)},
        )
    ]


def _traced(command: list[str], settings: dict[str, str], folder: Path) -> tuple[str | None, int]:
    """What a program that gives up says, None where it does not; and how often it connected to another machine."""
    folder.mkdir(parents=True)
    trace = folder / "trace"
    # A machine that reports to nobody under test must not hide who reports elsewhere.
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    traced = ["strace", "-f", "-qq", "-e", "trace=connect", "-o", str(trace), *command]
    said: str | None = None
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            traced,
            env={**environment, **settings},
            capture_output=True,
            text=True,
            timeout=_TRACED_SECONDS,
            check=False,
        )
        said = done.stderr if done.returncode == 1 else None
    return said, len(re.findall("sa_family=AF_INET", trace.read_text(errors="replace")))


FAMILIES = (
    Family((24,), "what is erased", measure_erasure),
    Family((25,), "addresses of stores", measure_addresses),
)
