"""Starts the two servers as processes of their own, and says how much memory they hold."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

_START_SECONDS = 120.0
_STOP_SECONDS = 30.0
_LLAMA_CONTEXT = 1024


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers on a port of this machine."""

    port: int
    pid: int

    @property
    def resident_megabytes(self) -> float:
        """Memory that is in use now, shared libraries included."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        return int(found.group(1)) / 1024 if found else 0.0


@contextmanager
def running_service(folder: Path, num_slots: int, num_engines: int = 1) -> Iterator[Server]:
    """The service with the model that ships and an empty data directory in `folder`.

    All but the first of its engines may still be starting; each has `num_slots`.
    """
    environment = {
        "SERVICE_NUM_ENGINES": str(num_engines),
        "SERVICE_HOST": "127.0.0.1",
        "SERVICE_DATA_DIR": str(folder / "data"),
        "SERVICE_NUM_SLOTS": str(num_slots),
        "SERVICE_LOG_LEVEL": "error",
    }
    with _running(["service", "serve"], environment, "SERVICE_PORT", "/readyz", folder / "service.log") as server:
        yield server


@contextmanager
def running_llama(folder: Path, model: Path) -> Iterator[Server]:
    """llama-cpp-python's server. It serves one request at a time; unless told so, a new one would cut the other off."""
    settings = {
        "model": str(model),
        "n_ctx": str(_LLAMA_CONTEXT),
        "n_threads": "1",
        "n_threads_batch": "1",
        "logits_all": "false",
        "interrupt_requests": "false",
    }
    arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
    with _running(["llama_cpp.server", *arguments], {}, "PORT", "/v1/models", folder / "llama.log") as server:
        yield server


@contextmanager
def _running(
    module: Sequence[str], environment: Mapping[str, str], port_variable: str, path: str, log_file: Path
) -> Iterator[Server]:
    """Raises RuntimeError, with the end of its log, when it does not answer at `path` in two minutes."""
    port = _free_port()
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment, port_variable: str(port)}
    with log_file.open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", *module], env=variables, stdout=log, stderr=log)
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}{path}", process, log_file)
        yield Server(port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log_file: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log_file.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the server did not become ready; its log ends with:\n{tail}")
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
