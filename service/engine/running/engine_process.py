"""An engine that runs in a process of its own, which is started again when it dies.

A new program, not a fork: onnxruntime's threads do not survive one. What the process does: `child`.
"""

import queue
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import service
from service.engine.running.engine_loop import Tell
from service.engine.running.messages import (
    MAX_MESSAGE_BYTES,
    Cancel,
    Close,
    Closed,
    EngineSpec,
    Lost,
    Message,
    Ready,
    Refused,
    Stepped,
    Submit,
    decode,
    encode,
)
from service.engine.types import CompletionRequest

CLOSE_SECONDS = 5.0
"""Time that a process has to end by itself."""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 60.0
"""Before a new start; twice as long after each, until a process has lasted for the longest."""
_COMMAND = (sys.executable, "-m", "service.engine.running.child")
_HOME = Path(service.__file__).parents[1]
"""From here Python finds this package, however it was installed."""


class EngineProcess:
    """Keeps a process alive from a thread of its own, and passes on what it tells."""

    def __init__(self, spec: EngineSpec, tell: Tell) -> None:
        """Returns at once. Tells Ready when the process takes completions, Lost when it died, and Ready when another
        one does; Closed only after `close`."""
        self._spec = spec
        self._tell = tell
        self._life: _Life | None = None
        self._is_closing = threading.Event()
        self.pid: int | None = None
        """Of the last process."""
        threading.Thread(target=self._keep_alive, name="engine process", daemon=True).start()

    def submit(self, request: CompletionRequest) -> None:
        """See `RunningEngine.submit`. Between two processes nobody hears it, and it is lost with the first one's."""
        self._say(Submit(request))

    def cancel(self, request_id: str) -> None:
        """See `RunningEngine.cancel`."""
        self._say(Cancel(request_id))

    def close(self) -> None:
        """See `RunningEngine.close`. A process that does not end in time is killed."""
        if not self._is_closing.is_set():
            self._is_closing.set()
            if life := self._life:
                life.close()

    def _say(self, command: Submit | Cancel) -> None:
        if life := self._life:
            life.say(command)

    def _keep_alive(self) -> None:
        pause = 0.0
        while not self._is_closing.wait(pause):
            started = time.monotonic()
            failure = self._live()
            if not self._is_closing.is_set():
                self._tell(Lost(failure))
            has_lasted = time.monotonic() - started >= MAX_PAUSE_SECONDS
            pause = min(2 * pause, MAX_PAUSE_SECONDS) if pause and not has_lasted else FIRST_PAUSE_SECONDS
        self._tell(Closed())

    def _live(self) -> str:
        """One process from its start to its end; what it died of."""
        try:
            life = _Life(self._spec)
        except OSError as error:
            return f"it did not start: {error}"
        self._life, self.pid = life, life.process.pid
        if self._is_closing.is_set():  # since before `close` could see it
            life.close()
        try:
            failure = self._pass_on(life)
        finally:
            self._life = None
            life.end()
        return failure or f"it ended without a word, with exit code {life.process.returncode}"

    def _pass_on(self, life: "_Life") -> str | None:
        """Returns what the process says that it failed of; None where it says nothing any more."""
        try:
            while True:
                report = life.hear()
                if isinstance(report, Closed):
                    return report.failure
                if isinstance(report, Ready | Stepped | Refused):
                    self._tell(report)
        except (EOFError, OSError):
            return None
        except ValueError as error:
            life.process.kill()
            return f"it said what nobody understands: {error}"


class _Life:
    """One process, and the socket to it. Who says something never waits; who hears does."""

    def __init__(self, spec: EngineSpec) -> None:
        """Starts it. Raises OSError."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            # In a session of its own a terminal's Ctrl-C reaches the service alone, which lets replies end first.
            self.process = subprocess.Popen(
                _COMMAND, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, cwd=_HOME, start_new_session=True
            )
            self._connection = Connection(ours.detach())
        self._outbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._sender = threading.Thread(target=self._send, name="engine process sender", daemon=True)
        self._killer = threading.Timer(CLOSE_SECONDS, self.process.kill)
        self._killer.daemon = True
        self.say(spec)
        self._sender.start()

    def say(self, message: Message) -> None:
        """Puts a message behind those that wait to be sent."""
        self._outbox.put(message)

    def hear(self) -> Message:
        """The next message. Raises EOFError, OSError, and ValueError for what is none."""
        return decode(self._connection.recv_bytes(MAX_MESSAGE_BYTES))

    def close(self) -> None:
        """Asks it to end; what does not is killed after a while."""
        self.say(Close())
        with suppress(RuntimeError):  # it has been asked before
            self._killer.start()

    def end(self) -> None:
        """Waits for its end, which has begun, and takes away what is left of it."""
        try:
            self.process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._killer.cancel()
        self._outbox.put(None)
        self._sender.join()
        self._connection.close()

    def _send(self) -> None:
        with suppress(OSError):  # who hears notices, too
            while (message := self._outbox.get()) is not None:
                self._connection.send_bytes(encode(message))
