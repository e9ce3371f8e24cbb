"""An S3 for tests: moto's, with one lock around it, for its own looks and then writes and lets others in between.

`python tests/s3_server.py PORT` serves one; `S3Server` is such a process and what must be set to use it.
"""

import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

_START_SECONDS = 120.0
_SECRET = "a-secret-that-only-tests-know"
_Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


class S3Server:
    """A process with one bucket. Everything in it is in memory and gone when it ends."""

    bucket = "models"

    def __init__(self, port: int) -> None:
        """Starts nothing yet."""
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def place(self) -> str:
        """The address of a store that nobody else uses."""
        return f"s3://{self.bucket}/{uuid4().hex[:12]}"

    def environment(self, url: str | None = None) -> dict[str, str]:
        """What a program must be told to use it, or a proxy at `url` before it."""
        return {
            "AWS_ENDPOINT_URL_S3": url or self.url,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Gives a server that answers, with its bucket made. Raises RuntimeError when it does not start."""
        command = [sys.executable, str(Path(__file__).resolve()), str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_SECONDS
        while not self._has_bucket():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.kill()
                raise RuntimeError("moto does not start: pip install 'moto[server]'")
            time.sleep(0.1)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _has_bucket(self) -> bool:
        try:
            return httpx2.put(f"{self.url}/{self.bucket}", timeout=10).status_code == 200
        except httpx2.TransportError:
            return False


@contextmanager
def serving_s3(port: int) -> Iterator[S3Server]:
    """A running server until the block ends."""
    server = S3Server(port)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _one_at_a_time(application: _Wsgi) -> _Wsgi:
    lock = threading.Lock()

    def serve(environment: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        # Read before the lock is taken, so that a slow sender holds up nobody.
        length = int(environment.get("CONTENT_LENGTH") or 0)
        body = environment["wsgi.input"].read(length)
        if len(body) < length:  # the sender went away; moto would keep what came
            start_response("400 Bad Request", [])
            return []
        environment["wsgi.input"] = io.BytesIO(body)
        with lock:
            return list(application(environment, start_response))

    return serve


def main() -> None:
    """Serves until it is killed."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    application = _one_at_a_time(DomainDispatcherApplication(create_backend_app))
    make_server("127.0.0.1", int(sys.argv[1]), application, threaded=True).serve_forever()


if __name__ == "__main__":
    main()
