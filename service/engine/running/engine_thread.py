"""An engine that runs in a thread of this process, and what every running engine can be told."""

import threading
from collections.abc import Callable
from typing import Protocol

from service.engine.running.engine_loop import Commands, CompletionEngine, EngineLoop, Tell
from service.engine.running.messages import Cancel, Close, Closed, Submit
from service.engine.types import CompletionRequest


class RunningEngine(Protocol):
    """An engine that runs. Nothing here waits; what comes of it is told."""

    def submit(self, request: CompletionRequest) -> None:
        """Starts a completion."""

    def cancel(self, request_id: str) -> None:
        """Stops a completion; deltas that are on their way may still come."""

    def close(self) -> None:
        """Ends the engine, and tells Closed when that is done. Closing twice is allowed."""


EngineStarter = Callable[[Tell], RunningEngine]
"""Starts an engine that tells from its own thread what becomes of it."""


class EngineThread:
    """Runs an engine that is open. Takes it over and closes it in the end."""

    def __init__(self, engine: CompletionEngine, tell: Tell) -> None:
        """Tells no Ready: the engine takes completions at once. One that fails is closed for good."""
        self._commands: Commands = Commands()
        self._tell = tell
        self._loop = EngineLoop(engine, self._commands, tell)
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    def submit(self, request: CompletionRequest) -> None:
        """See `RunningEngine.submit`."""
        self._commands.put(Submit(request))

    def cancel(self, request_id: str) -> None:
        """See `RunningEngine.cancel`."""
        self._commands.put(Cancel(request_id))

    def close(self) -> None:
        """See `RunningEngine.close`."""
        self._commands.put(Close())

    def _run(self) -> None:
        self._tell(Closed(self._loop.run()))
