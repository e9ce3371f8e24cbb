"""Runs the service's image as it is meant to run, and asks it a question.

With a read-only root, no capabilities, uid 10001 and no shell in reach: no daemon is needed for that, it is done
here in name spaces of this machine (`unshare`, which needs root) on the unpacked archive. It does not test limits
of memory, nor a network of its own.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

_START_SECONDS = 180.0
_STOP_SECONDS = 40.0
_HOST_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Of what runs before the root is changed; the service itself is run by its whole path."""
_SHELLS = ("bin/sh", "bin/bash", "bin/dash")
_SCRIPT = """
set -e
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
for shell in $SHELLS; do if [ -e "$ROOT/$shell" ]; then mount --bind /dev/null "$ROOT/$shell"; fi; done
mount -t tmpfs -o mode=1777 tmp "$ROOT/tmp"
mount -t tmpfs -o mode=0750,uid=10001,gid=10001 data "$ROOT/data"
mount -t proc proc "$ROOT/proc"
mount --bind /dev "$ROOT/dev"
mount -o remount,bind,ro "$ROOT"
cd "$ROOT/app"
exec setpriv --no-new-privs --bounding-set=-all,+sys_chroot,+setuid,+setgid --inh-caps=-all \
  chroot --userspec=10001:10001 "$ROOT" \
  /opt/venv/bin/python -c 'import os, sys; os.chdir("/app"); os.execv(sys.argv[1], sys.argv[1:])' \
  /opt/venv/bin/python -m service serve
"""


def try_service(archive: Path, output: Path) -> dict[str, object]:
    """Serves, asks, and stops by SIGTERM; gives what was measured. Raises RuntimeError when it does not answer."""
    if os.geteuid() != 0:
        return {"tried": "no: without a daemon this needs root; `docker run` the image"}
    with tempfile.TemporaryDirectory(dir=output) as folder:
        root = Path(folder) / "root"
        environment = _unpack(archive, root)
        port, key = _free_port(), secrets.token_urlsafe(32)
        environment |= {"PORT": str(port), "HOST": "127.0.0.1", "SERVICE_API_KEY": key}
        environment |= {"ROOT": str(root), "SHELLS": " ".join(_SHELLS), "PATH": _HOST_PATH}
        started = time.monotonic()
        with (output / "service.log").open("wb") as log:
            command = ["unshare", "--mount", "--fork", "--kill-child", "bash", "-c", _SCRIPT]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_until_ready(port, process, output / "service.log")
            seconds = time.monotonic() - started
            return {"ready_seconds": round(seconds, 1), "reply": _ask(port, key)} | _stop(process)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _unpack(archive: Path, root: Path) -> dict[str, str]:
    """Lays the layers over each other and gives the image's environment."""
    with tarfile.open(archive) as outer, tempfile.TemporaryDirectory(dir=root.parent) as folder:
        outer.extractall(folder, filter="fully_trusted")
        (manifest,) = json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
        config = json.loads((Path(folder) / manifest["Config"]).read_text(encoding="utf-8"))["config"]
        for layer in manifest["Layers"]:
            with tarfile.open(Path(folder) / layer) as inner:
                inner.extractall(root, filter="fully_trusted")
    for place in ("tmp", "data", "proc", "dev"):
        (root / place).mkdir(exist_ok=True)
    return dict(line.split("=", 1) for line in config["Env"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=3)
            return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"it did not become ready: {log.read_text(errors='replace')[-2000:]}") from None
            time.sleep(0.2)


def _ask(port: int, key: str) -> str:
    body = {"model": "rejoinder", "messages": [{"role": "user", "content": "I forgot my password"}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])


def _stop(process: "subprocess.Popen[bytes]") -> dict[str, object]:
    """SIGTERM to the service itself, as a cluster sends it; it must end by itself."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
    status = Path(f"/proc/{children[0]}/status").read_text(encoding="utf-8")
    user, capabilities = (
        next(line.split()[1] for line in status.splitlines() if line.startswith(name)) for name in ("Uid:", "CapEff:")
    )
    started = time.monotonic()
    os.kill(int(children[0]), signal.SIGTERM)
    code = process.wait(_STOP_SECONDS)
    figures = {"stop_seconds": round(time.monotonic() - started, 1), "exit_code": code}
    return {"uid": int(user), "capabilities": int(capabilities, 16), **figures}
