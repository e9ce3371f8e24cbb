"""The loop of an engine: obey, make a step, tell. Synchronous; whoever calls `run` gives it a thread or a process.

Neither knows how commands come nor where reports go: `engine_thread` and `engine_process` do.
"""

import queue
import traceback
from collections.abc import Callable
from typing import Protocol

from service.engine.errors import EngineError, EngineOverloadedError
from service.engine.running.messages import Cancel, Close, Command, Refused, Report, Stepped
from service.engine.types import CompletionRequest, Delta

Commands = queue.SimpleQueue[Command]
Tell = Callable[[Report], None]
"""Takes what an engine tells, in the engine's own thread."""


class CompletionEngine(Protocol):
    """What the loop asks of an engine; `service.engine.engine.Engine` is the real one."""

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""

    @property
    def num_running(self) -> int:
        """Completions in a slot."""

    @property
    def num_waiting(self) -> int:
        """Completions in the queue."""

    @property
    def max_context(self) -> int:
        """Most tokens of prompt and completion together."""

    @property
    def prefix_cache_bytes(self) -> int:
        """Memory that holds what earlier prompts left."""

    def submit(self, request: CompletionRequest) -> None:
        """Queues a completion."""

    def cancel(self, request_id: str) -> object:
        """Forgets a completion in whatever state it is."""

    def step(self) -> list[Delta]:
        """Makes the next token of every running completion; of one that is alone perhaps several."""

    def close(self) -> None:
        """Frees the model's memory."""


class EngineLoop:
    """Runs one engine until it is told to close, and closes it."""

    def __init__(self, engine: CompletionEngine, commands: Commands, tell: Tell) -> None:
        self._engine = engine
        self._commands = commands
        self._tell = tell
        self._told_load = (0, 0)

    def run(self) -> str | None:
        """Returns after `Close`, or with the traceback of what the engine failed of. Tells Stepped and Refused."""
        try:
            while self._obey_commands():
                self._tell_step(self._engine.step())
        except Exception:  # the engine's outermost loop: whoever waits for a token must hear that none will come
            return traceback.format_exc()
        finally:
            self._engine.close()
        return None

    def _obey_commands(self) -> bool:
        """Does what it is told; waits for it when there is nothing else to do. False: time to close."""
        while True:
            if not self._engine.has_work:
                self._tell_step([])
            try:
                command = self._commands.get(block=not self._engine.has_work)
            except queue.Empty:
                return True
            if isinstance(command, Close):
                return False
            if isinstance(command, Cancel):
                self._engine.cancel(command.request_id)
            else:
                self._submit(command.request)

    def _submit(self, request: CompletionRequest) -> None:
        try:
            self._engine.submit(request)
        except EngineError as error:
            self._tell(Refused(request.request_id, error.code, isinstance(error, EngineOverloadedError)))

    def _tell_step(self, deltas: list[Delta]) -> None:
        """All deltas of a step in one report; none where nothing has changed."""
        load = (self._engine.num_running, self._engine.prefix_cache_bytes)
        if deltas or load != self._told_load:
            self._tell(Stepped(tuple(deltas), *load))
            self._told_load = load
