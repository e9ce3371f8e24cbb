"""`python -m service.engine.running.child`: the loop of an engine, in a process of its own. People do not start it.

Standard input is a socket to `engine_process` in the service. What it says ends with the service, however that ends,
and with it this process.
"""

import os
import signal
import sys
import threading
from multiprocessing.connection import Connection

from model_store.bundle import open_bundle
from model_store.errors import CodedError
from model_store.graphs import keep_heap_small
from service.engine.running.engine_loop import Commands, EngineLoop
from service.engine.running.messages import (
    MAX_MESSAGE_BYTES,
    Cancel,
    Close,
    Closed,
    EngineSpec,
    Ready,
    Report,
    Submit,
    decode,
    encode,
)
from service.engine.running.opening import open_engine


def main() -> None:
    """Opens the engine that it is told to, and runs it until it is told to close."""
    # Whoever stops the service may stop all its processes at once; completions still have their time to end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    keep_heap_small()
    service = Connection(os.dup(sys.stdin.fileno()))
    spec = decode(service.recv_bytes(MAX_MESSAGE_BYTES))
    assert isinstance(spec, EngineSpec)
    commands: Commands = Commands()
    threading.Thread(target=_listen, args=(service, commands), daemon=True).start()
    _tell(service, Closed(_serve(service, spec, commands)))


def _serve(service: Connection, spec: EngineSpec, commands: Commands) -> str | None:
    """What the engine failed of, None where it was told to close."""
    try:
        engine = open_engine(open_bundle(spec.directory, spec.digest), spec.options)
    except CodedError as error:
        return f"{error.code}: {error}"
    _tell(service, Ready())
    return EngineLoop(engine, commands, lambda report: _tell(service, report)).run()


def _listen(service: Connection, commands: Commands) -> None:
    """Passes on what the service says; from the beginning, so that it is noticed when the service is gone."""
    try:
        while True:
            command = decode(service.recv_bytes(MAX_MESSAGE_BYTES))
            assert isinstance(command, Submit | Cancel | Close)
            commands.put(command)
    except (EOFError, OSError):
        os._exit(0)  # in the midst of a step, too: nobody waits for its tokens any more


def _tell(service: Connection, report: Report) -> None:
    try:
        service.send_bytes(encode(report))
    except OSError:  # the service is gone
        os._exit(0)


if __name__ == "__main__":
    main()
