"""The model router: follows the alias `stable` and decides which loaded version answers a request.

A new version is verified, opened and tried out beside the running one, then takes its place in one assignment on the
event loop. The old one finishes what it has begun and closes. A version that fails is refused until the alias moves.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from model_store.backends.protocol import Alias
from model_store.bundle import Bundle
from model_store.contract.tokenizer import Tokenizer
from model_store.errors import AliasNotFoundError, InvalidTokenizerError, StoreError, StoreUnavailableError
from model_store.store import ModelStore
from service.chat.engine_worker import CompletionEngine, EngineWorker
from service.engine.errors import EngineError
from service.errors import ModelNotFoundError, ModelUnavailableError
from service.telemetry import Telemetry

MODEL_ALIAS = "rejoinder"
TOKENIZER_NAME = "tokenizer.json"
_MIN_DIGEST_CHARS = 8

_log = structlog.get_logger(__name__)

EngineOpener = Callable[[Bundle], CompletionEngine]
"""Opens the engine of a verified bundle and tries it out. Raises EngineError when it may not serve people."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A version that can answer: one digest, one tokenizer, one engine."""

    digest: str
    name: str
    created_at: str
    tokenizer: Tokenizer
    worker: EngineWorker


class ModelRouter:
    """Knows the current model. All methods run on the event loop; only opening a version happens elsewhere."""

    def __init__(self, store: ModelStore, open_engine: EngineOpener, num_slots: int, telemetry: Telemetry) -> None:
        self._store = store
        self._open_engine = open_engine
        self._num_slots = num_slots
        self._telemetry = telemetry
        self._settled_generation: int | None = None
        self._retiring: dict[LoadedModel, asyncio.Task[None]] = {}
        self.current: LoadedModel | None = None
        telemetry.watch_load(
            lambda: sum(model.worker.num_running for model in self._alive),
            lambda: sum(model.worker.num_waiting for model in self._alive),
        )

    @property
    def _alive(self) -> tuple[LoadedModel, ...]:
        return (*self._retiring, *((self.current,) if self.current else ()))

    @property
    def is_ready(self) -> bool:
        """Whether a model can answer now."""
        return self.current is not None and not self.current.worker.has_failed

    def get(self, name: str) -> LoadedModel:
        """The model that goes by `name`: the alias, the name in its manifest, or 8 or more digits of its digest.

        Raises ModelUnavailableError when none is loaded, ModelNotFoundError when the loaded one is called otherwise.
        """
        if self.current is None or not self.is_ready:
            raise ModelUnavailableError()
        is_digest = len(name) >= _MIN_DIGEST_CHARS and self.current.digest.startswith(name)
        if name not in (MODEL_ALIAS, self.current.name) and not is_digest:
            raise ModelNotFoundError(param="model")
        return self.current

    async def follow(self, poll_seconds: float) -> None:
        """Polls the alias until cancelled."""
        while True:
            await asyncio.sleep(poll_seconds)
            await self.poll()

    async def poll(self) -> None:
        """Looks the alias up once and takes a new version up. Bad versions and a store that is away are only logged."""
        try:
            digest, generation = await asyncio.to_thread(self._store.resolve, Alias.STABLE)
        except AliasNotFoundError:
            return
        except StoreError as error:
            _log.warning("alias_lookup_failed", code=error.code, problem=str(error))
            return
        has_failed = self.current is not None and self.current.worker.has_failed
        if generation == self._settled_generation and not has_failed:
            return
        if self.current is None or self.current.digest != digest or has_failed:
            await self._take_up(digest, generation)
        else:
            self._settled_generation = generation

    async def close(self) -> None:
        """Closes every engine after its last completion."""
        if self.current is not None:
            self._retire(self.current)
            self.current = None
        await asyncio.gather(*self._retiring.values())

    async def _take_up(self, digest: str, generation: int) -> None:
        try:
            bundle, tokenizer, engine = await asyncio.to_thread(self._open, digest)
        except StoreUnavailableError as error:
            # Not the version's fault, so it is not refused: the next poll tries again.
            _log.warning("model_store_unavailable", problem=str(error))
            return
        except Exception as error:  # whatever is wrong with a version, the one that runs goes on
            code = error.code if isinstance(error, StoreError | EngineError) else "model_load_failed"
            _log.error("model_refused", digest=digest, code=code, problem=str(error))
            self._telemetry.model_refused(digest, code)
            self._settled_generation = generation
            return
        manifest = bundle.manifest
        worker = EngineWorker(engine, self._num_slots)
        previous = self.current
        self.current = LoadedModel(digest, manifest.name, manifest.created_at, tokenizer, worker)
        self._settled_generation = generation
        self._telemetry.model_loaded(digest, manifest.name)
        _log.info("model_loaded", digest=digest, name=manifest.name, generation=generation)
        if previous is not None:
            self._retire(previous)

    def _open(self, digest: str) -> tuple[Bundle, Tokenizer, CompletionEngine]:
        """In a thread: verifies and opens a version."""
        bundle = self._store.open(digest)
        path = bundle.path(TOKENIZER_NAME)
        tokenizer = Tokenizer.load(path)
        num_embeddings = bundle.manifest.architecture.vocab_size
        if tokenizer.vocab_size > num_embeddings:
            problem = f"it has {tokenizer.vocab_size} tokens, the model knows {num_embeddings}"
            raise InvalidTokenizerError(path=path, problem=problem)
        return bundle, tokenizer, self._open_engine(bundle)

    def _retire(self, model: LoadedModel) -> None:
        model.worker.retire()
        self._retiring[model] = asyncio.get_running_loop().create_task(self._bury(model))

    async def _bury(self, model: LoadedModel) -> None:
        await model.worker.wait_closed()
        del self._retiring[model]
        if self.current is None or self.current.digest != model.digest:
            self._telemetry.model_closed(model.digest, model.name)
        _log.info("model_closed", digest=model.digest)
