"""The version lender: a model that answers now, or one from the shelf that is opened for a while to be asked something.

What serves people is asked beside them, in one of its places. Of others two at most are open, each with one slot, and
they close when nobody has asked for a while: memory and processor stay the customers'.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from model_store.store import ModelStore
from service.chat.engine_worker import EngineWorker
from service.chat.model_router import EngineOpener, LoadedModel, ModelRouter, open_version, read_authored
from service.engine.errors import EngineError
from service.errors import OverloadedError, VersionUnusableError

NUM_SLOTS = 1
"""Of an engine that is opened only to be asked."""
MAX_OPEN = 2
MAX_WAITING = 4
_IDLE_SECONDS = 120.0

_log = structlog.get_logger(__name__)


class VersionLender:
    """Lends two versions at a time to one asker. Lives on the event loop."""

    def __init__(
        self, store: ModelStore, router: ModelRouter, open_engine: EngineOpener, *, idle_seconds: float = _IDLE_SECONDS
    ) -> None:
        """`open_engine` opens engines of `NUM_SLOTS`; they close after `idle_seconds` without an asker."""
        self._store = store
        self._router = router
        self._open_engine = open_engine
        self._idle_seconds = idle_seconds
        self._open: dict[str, LoadedModel] = {}
        """Opened here, by digest."""
        self._turn = asyncio.Lock()
        self._num_waiting = 0
        self._closing: asyncio.TimerHandle | None = None

    @property
    def num_open(self) -> int:
        """Versions that are open only to be asked."""
        return len(self._open)

    @asynccontextmanager
    async def lend(self, first: str, second: str) -> AsyncIterator[tuple[LoadedModel, LoadedModel]]:
        """Both versions until the block ends; other askers wait.

        Raises OverloadedError where too many wait, VersionUnusableError, and what `ModelStore.open` raises.
        """
        if self._num_waiting >= MAX_WAITING:
            raise OverloadedError(capacity=MAX_WAITING)
        self._num_waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._num_waiting -= 1
        try:
            self._stay_open()
            yield await self._borrow(first, keep=second), await self._borrow(second, keep=first)
        finally:
            self._closing = asyncio.get_running_loop().call_later(self._idle_seconds, self._retire_all)
            self._turn.release()

    async def close(self) -> None:
        """Closes what was opened here."""
        self._stay_open()
        models = list(self._open.values())
        self._retire_all()
        await asyncio.gather(*(model.worker.wait_closed() for model in models))

    async def _borrow(self, digest: str, *, keep: str) -> LoadedModel:
        serving = {model.digest: model for model in self._router.models}
        if digest in serving:
            return serving[digest]
        model = self._open.get(digest)
        if model is None or model.worker.has_failed:
            await self._make_room(digest, keep)
            model = self._open[digest] = await self._load(digest)
        return model

    async def _make_room(self, digest: str, keep: str) -> None:
        """Closes what neither side asks for; waits until its memory is free."""
        for name in [name for name in self._open if name == digest or name != keep]:
            model = self._open.pop(name)
            model.worker.retire()
            await model.worker.wait_closed()

    async def _load(self, digest: str) -> LoadedModel:
        try:
            bundle, tokenizer, engine = await asyncio.to_thread(open_version, self._store, self._open_engine, digest)
        except EngineError as error:
            _log.error("version_not_lent", digest=digest, code=error.code, problem=str(error))
            raise VersionUnusableError(digest=digest) from error
        manifest = bundle.manifest
        _log.info("version_opened_to_be_asked", digest=digest)
        authored = await asyncio.to_thread(read_authored, bundle, tokenizer)
        worker = EngineWorker(engine, NUM_SLOTS)
        reads_long = manifest.architecture.hashing is not None
        return LoadedModel(digest, manifest.name, manifest.created_at, tokenizer, worker, authored, reads_long)

    def _stay_open(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None

    def _retire_all(self) -> None:
        for model in self._open.values():
            model.worker.retire()
        self._open.clear()
