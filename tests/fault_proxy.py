"""A TCP proxy on this machine that can be told to fail as networks do."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum

from tests.ports import free_port

_BLOCK_BYTES = 16_384
_PARTIAL_BYTES = 2_000
_SLOW_BYTES_A_SECOND = 65_536
_LAST_SECONDS = 5


class Fault(StrEnum):
    """What is wrong with the network."""

    NONE = "none"
    DOWN = "down"
    """Connections are closed at once."""
    SILENT = "silent"
    """Connections are taken, and nothing ever comes back."""
    SLOW = "slow"
    """64 KiB a second come back."""
    PARTIAL = "partial"
    """After 2,000 bytes of an answer the connection breaks."""


class FaultProxy:
    """Passes bytes on to a port of this machine. What is told to it holds for all bytes from then on."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.fault = Fault.NONE
        self.num_connections = 0
        self._target_port = target_port
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def target_url(self) -> str:
        """What lies behind it, by a way that does not fail."""
        return f"http://127.0.0.1:{self._target_port}"

    def fail(self, fault: Fault) -> None:
        """Begins a fault, which breaks the connections that there are; NONE ends it."""
        self.fault = fault
        self._loop.call_soon_threadsafe(self._break_all)

    def start(self) -> None:
        """Listens from now on."""
        self._thread.start()
        self._is_up.wait()

    def close(self) -> None:
        """Breaks what there is and stops."""
        self.fail(Fault.DOWN)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._connect, "127.0.0.1", self.port))
        self._is_up.set()
        self._loop.run_forever()
        server.close()
        self._break_all()
        if tasks := asyncio.all_tasks(self._loop):
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=_LAST_SECONDS))
        self._loop.close()

    def _break_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        self._writers.add(writer)
        try:
            with suppress(OSError):
                if self.fault is Fault.SILENT:
                    await reader.read()
                elif self.fault is not Fault.DOWN:
                    await self._pass_on(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers.add(far_writer)
        asked = asyncio.create_task(_copy(reader, far_writer))
        try:
            await self._answer(far_reader, writer)
        finally:
            asked.cancel()
            self._writers.discard(far_writer)
            far_writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        num_left = _PARTIAL_BYTES
        while block := await reader.read(_BLOCK_BYTES):
            if self.fault is Fault.SLOW:
                await asyncio.sleep(len(block) / _SLOW_BYTES_A_SECOND)
            if self.fault is Fault.PARTIAL:
                block, num_left = block[:num_left], num_left - len(block)
            writer.write(block)
            await writer.drain()
            if num_left <= 0:
                return
        writer.close()
        await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while block := await reader.read(_BLOCK_BYTES):
            writer.write(block)
            await writer.drain()


@contextmanager
def fault_proxy(target_port: int) -> Iterator[FaultProxy]:
    """A listening proxy until the block ends."""
    proxy = FaultProxy(target_port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()
