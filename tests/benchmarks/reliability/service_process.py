"""The service as people run it, `python -m service serve`, in a process of its own that can be killed and looked at."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

START_SECONDS = 300.0
_STOP_SECONDS = 60.0
_ANSWER_SECONDS = 120.0


class ServiceProcess:
    """One data directory and the process that serves it, one after the other where it is killed."""

    def __init__(self, folder: Path, **settings: object) -> None:
        """`settings` are the service's, without their prefix. Nothing is started yet."""
        folder.mkdir(parents=True, exist_ok=True)
        self.data_dir = folder / "data"
        self.log_file = folder / "service.log"
        self.port = free_port()
        given = {"data_dir": self.data_dir, "log_level": "warning", **settings, "host": "127.0.0.1", "port": self.port}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SERVICE_")}
        self._environment = {
            **inherited,
            "OMP_NUM_THREADS": "1",
            **{f"SERVICE_{name.upper()}": str(value) for name, value in given.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def resident_megabytes(self) -> float:
        """Memory that is in use now, shared libraries included."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        return int(found.group(1)) / 1024 if found else 0.0

    @property
    def num_descriptors(self) -> int:
        """Files and sockets that are open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def start(self) -> float:
        """Starts it and gives the seconds until it is ready. Raises RuntimeError with the end of its log."""
        began = time.monotonic()
        with self.log_file.open("ab") as log:
            command = [sys.executable, "-m", "service", "serve"]
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        while not self._is_ready():
            if not self.is_running or time.monotonic() > began + START_SECONDS:
                tail = self.log_file.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the service did not become ready; its log ends with:\n{tail}")
            time.sleep(0.02)
        return time.monotonic() - began

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def signal(self) -> None:
        """SIGTERM, as Kubernetes sends it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = _STOP_SECONDS) -> int | None:
        """The exit code; None where it has not ended by then."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def client(self, **headers: str) -> httpx2.Client:
        """A client with patience."""
        return httpx2.Client(base_url=self.url, timeout=_ANSWER_SECONDS, headers=headers)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that have these labels."""
        total = 0.0
        for text in httpx2.get(f"{self.url}/metrics", timeout=_ANSWER_SECONDS).text.splitlines():
            series, _, value = text.rpartition(" ")
            if series.partition("{")[0] == name and all(f'{key}="{label}"' in series for key, label in labels.items()):
                total += float(value)
        return total

    def _is_ready(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False


@contextmanager
def serving(folder: Path, **settings: object) -> Iterator[ServiceProcess]:
    """A ready service until the block ends."""
    service = ServiceProcess(folder, **settings)
    try:
        service.start()
        yield service
    finally:
        service.kill()


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
