"""The model router: follows the aliases and decides which loaded version answers a conversation.

`stable` answers; while a canary is on, `candidate` answers its share of the conversations. A new version is verified,
opened and tried out beside the running ones, then takes its place in one assignment on the event loop. The old one
finishes what it has begun and closes. A version that fails is refused until the alias moves.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from model_store.backends.protocol import Alias
from model_store.bundle import Bundle
from model_store.contract.safety.reply_check import AuthoredSentences
from model_store.contract.tokenizer import Tokenizer
from model_store.errors import AliasNotFoundError, InvalidTokenizerError, StoreError, StoreUnavailableError
from model_store.intents.matters import KnownReplies
from model_store.store import AliasState, ModelStore, Release
from service.chat.engine_worker import EngineWorker
from service.engine.errors import EngineError
from service.engine.running.engine_loop import CompletionEngine
from service.engine.running.engine_thread import EngineStarter
from service.errors import ModelNotFoundError, ModelUnavailableError
from service.telemetry import Telemetry

MODEL_ALIAS = "rejoinder"
TOKENIZER_NAME = "tokenizer.json"
_MIN_DIGEST_CHARS = 8
_HASH_RANGE = 2**64

_log = structlog.get_logger(__name__)

EngineOpener = Callable[[Bundle], CompletionEngine]
"""Opens the engine of a verified bundle and tries it out. Raises EngineError when it may not serve people."""

EnginePlanner = Callable[[Bundle], Sequence[EngineStarter]]
"""What starts the engines that shall serve a verified bundle beside that one."""


class Authored(NamedTuple):
    """What a version's authors said."""

    sentences: AuthoredSentences = AuthoredSentences()
    """What the reply check need not hold back."""
    replies: KnownReplies = KnownReplies()
    """By which the bot knows what it has said before."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A version that can answer: one digest, one tokenizer, one engine."""

    digest: str
    name: str
    created_at: str
    tokenizer: Tokenizer
    worker: EngineWorker
    authored: Authored = field(default_factory=Authored)
    reads_long: bool = False
    """Whether it was trained on long conversations, and is shown all that it has room for."""


class ModelRouter:
    """Knows the loaded models. All methods run on the event loop; only opening a version happens elsewhere."""

    def __init__(
        self,
        store: ModelStore,
        open_engine: EngineOpener,
        num_slots: int,
        canary_share: float,
        telemetry: Telemetry,
        plan_further: EnginePlanner = lambda bundle: (),
    ) -> None:
        """Each engine makes `num_slots` completions at once; a candidate answers `canary_share` of conversations."""
        self._store = store
        self._open_engine = open_engine
        self._plan_further = plan_further
        self._num_slots = num_slots
        self._canary_share = canary_share
        self._telemetry = telemetry
        self._models: dict[Alias, LoadedModel] = {}
        self._settled: dict[Alias, AliasState] = {}
        """Where each alias was when it was last dealt with, whether its version was taken up or refused."""
        self._retiring: dict[LoadedModel, asyncio.Task[None]] = {}
        self._told: tuple[str, ...] = ()
        """What was logged of aliases that somebody has put back."""
        telemetry.watch_load(
            is_ready=lambda: self.is_ready,
            num_slots=lambda: sum(model.worker.num_slots for model in set(self._models.values())),
            num_running=lambda: sum(model.worker.num_running for model in self._alive),
            num_waiting=lambda: sum(model.worker.num_waiting for model in self._alive),
            prefix_cache_bytes=lambda: sum(model.worker.prefix_cache_bytes for model in self._alive),
        )
        telemetry.watch_engines(
            num_running=lambda: sum(model.worker.num_engines for model in set(self._models.values())),
            num_missing=lambda: sum(model.worker.num_missing for model in set(self._models.values())),
        )

    @property
    def _alive(self) -> set[LoadedModel]:
        return {*self._retiring, *self._models.values()}

    @property
    def is_ready(self) -> bool:
        """Whether a model can answer now."""
        return Alias.STABLE in self._healthy()

    @property
    def models(self) -> list[LoadedModel]:
        """The versions that answer now, the stable one first; none where that one cannot."""
        healthy = self._healthy()
        return list(healthy.values()) if Alias.STABLE in healthy else []

    def get(self, name: str, conversation_key: str | None = None) -> LoadedModel:
        """The model that goes by `name`: the alias, a name in a manifest, or 8 or more digits of a digest.

        The alias and the stable version's name mean the stable version, or the candidate for its share of
        conversations: the same one for every turn that comes with the same key. Raises ModelUnavailableError when none
        is loaded, ModelNotFoundError when no loaded one is called so.
        """
        models = self.models
        if not models:
            raise ModelUnavailableError()
        stable, *candidates = models
        if name in (MODEL_ALIAS, stable.name):
            for candidate in candidates:
                if conversation_key and is_in_canary(conversation_key, candidate.digest, self._canary_share):
                    return candidate
            return stable
        for model in models:
            if name == model.name or (len(name) >= _MIN_DIGEST_CHARS and model.digest.startswith(name)):
                return model
        raise ModelNotFoundError(param="model")

    async def follow(self, poll_seconds: float) -> None:
        """Polls the aliases until cancelled."""
        while True:
            await asyncio.sleep(poll_seconds)
            await self.poll()

    async def poll(self) -> None:
        """Looks the aliases up and takes new versions up. Bad versions and a store that is away are only told of."""
        try:
            release, last_run = await asyncio.to_thread(lambda: (self._store.release(), self._store.last_run()))
        except StoreError as error:
            await self._go_without(error)
            return
        if last_run is not None:
            self._telemetry.training_ended(last_run)
        if await self._follow(release, self._store):
            self._telemetry.model_store_read()

    async def _go_without(self, error: StoreError) -> None:
        """Tells that the store does not say what serves people, and goes on with what did."""
        if isinstance(error, AliasNotFoundError) and not self._settled:  # nothing was published yet: it is there, empty
            self._telemetry.model_store_read()
            return
        # An alias that was there is not taken away: a volume that is not mounted looks like this.
        _log.warning("alias_lookup_failed", code=error.code, problem=str(error))
        self._telemetry.model_store_failed(error.code)
        if isinstance(error, StoreUnavailableError) and not self.is_ready:
            await self._serve_mirror()

    async def _serve_mirror(self) -> None:
        """Takes up what served last, while nothing can answer and the store is away."""
        mirror = self._store.mirror()
        if mirror is None:
            return
        try:
            release = await asyncio.to_thread(mirror.release)
        except AliasNotFoundError:
            return
        except StoreError as error:
            _log.warning("mirror_lookup_failed", code=error.code, problem=str(error))
            return
        _log.warning("model_store_away", remedy="the versions that served last are served from their copies")
        await self._follow(release, mirror)

    async def _follow(self, release: Release, store: ModelStore) -> bool:
        """Brings in what a store says serves people; whether the store had all of it."""
        self._tell(release)
        is_whole = await self._settle(Alias.STABLE, release.stable, store)
        candidate = release.candidate if self._canary_share > 0 else None
        if candidate is not None:
            is_whole = await self._settle(Alias.CANDIDATE, candidate, store) and is_whole
        elif self._settled.pop(Alias.CANDIDATE, None) is not None:
            self._place(Alias.CANDIDATE, None)
            _log.info("canary_ended", stable=release.stable.digest)
        return is_whole

    async def close(self) -> None:
        """Closes every engine after its last completion."""
        for alias in list(self._models):
            self._place(alias, None)
        await asyncio.gather(*self._retiring.values())

    def _healthy(self) -> dict[Alias, LoadedModel]:
        """The models that can answer, that of `stable` first."""
        models = ((alias, self._models.get(alias)) for alias in Alias)
        return {alias: model for alias, model in models if model is not None and not model.worker.has_failed}

    async def _settle(self, alias: Alias, state: AliasState, store: ModelStore) -> bool:
        """Brings an alias's version in from a store; one that is in already, by either alias, is not opened again.

        Whether that is done with: False where the store did not give the version away, which the next poll tries again.
        """
        present = self._models.get(alias)
        is_broken = present is not None and not present.worker.is_whole
        if state == self._settled.get(alias) and not is_broken:
            return True
        healthy = self._healthy().values()
        ready = [model for model in healthy if model.digest == state.digest and model.worker.is_whole]
        try:
            model = ready[0] if ready else await self._load(state.digest, store)
        except StoreUnavailableError as error:
            # Not the version's fault, so it is not refused.
            _log.warning("model_store_unavailable", problem=str(error))
            self._telemetry.model_store_failed(error.code)
            return False
        except (StoreError, EngineError) as error:  # the version that runs goes on
            _log.error("model_refused", alias=alias, digest=state.digest, code=error.code, problem=str(error))
            self._telemetry.model_refused(state.digest, error.code)
            self._settled[alias] = state
            if alias is Alias.CANDIDATE:  # what ran as candidate is none any more
                self._place(alias, None)
            return True
        self._settled[alias] = state
        self._place(alias, model)
        await self._remember(alias, state)
        _log.info("alias_taken_up", alias=alias, digest=state.digest, generation=state.generation)
        return True

    def _tell(self, release: Release) -> None:
        """Logs and counts aliases that went back; once, not at every poll."""
        told = tuple(map(str, release.problems))
        if told != self._told:
            for problem in release.problems:
                _log.error("alias_went_back", code=problem.code, problem=str(problem))
                self._telemetry.model_load_failures.labels(problem.code).inc()
        self._told = told

    async def _remember(self, alias: Alias, state: AliasState) -> None:
        """So that nobody can put the alias back behind this; a disk that refuses is no reason not to answer."""
        try:
            await asyncio.to_thread(self._store.take_up, alias, state)
        except StoreError as error:
            _log.error("generation_not_remembered", code=error.code, problem=str(error))

    async def _load(self, digest: str, store: ModelStore) -> LoadedModel:
        bundle, tokenizer, engine = await asyncio.to_thread(open_version, store, self._open_engine, digest)
        manifest = bundle.manifest
        self._telemetry.model_loaded(digest, manifest.name)
        told = self._telemetry.prompt_read, self._telemetry.drafted
        worker = EngineWorker(engine, self._num_slots, *told, further=self._plan_further(bundle))
        authored = await asyncio.to_thread(read_authored, bundle, tokenizer)
        reads_long = manifest.architecture.hashing is not None
        return LoadedModel(digest, manifest.name, manifest.created_at, tokenizer, worker, authored, reads_long)

    def _place(self, alias: Alias, model: LoadedModel | None) -> None:
        """Lets a model, or none, answer by an alias. Retires the one before, unless the other alias has it."""
        previous = self._models.pop(alias, None)
        if model is not None:
            self._models[alias] = model
        if previous is not None and previous not in self._models.values():
            previous.worker.retire()
            self._retiring[previous] = asyncio.get_running_loop().create_task(self._bury(previous))
        aliases = {model.digest: alias.value for alias, model in self._models.items()}
        share = self._canary_share if Alias.CANDIDATE in self._models else 0.0
        self._telemetry.release_changed(aliases, share)

    async def _bury(self, model: LoadedModel) -> None:
        await model.worker.wait_closed()
        del self._retiring[model]
        if model.digest not in {alive.digest for alive in self._alive}:
            self._telemetry.model_closed(model.digest, model.name)
        _log.info("model_closed", digest=model.digest)


def open_version(
    store: ModelStore, open_engine: EngineOpener, digest: str
) -> tuple[Bundle, Tokenizer, CompletionEngine]:
    """Verifies and opens a version; blocks. Raises StoreError and EngineError."""
    bundle = store.open(digest)
    path = bundle.path(TOKENIZER_NAME)
    tokenizer = Tokenizer.load(path)
    num_embeddings = bundle.manifest.architecture.vocab_size
    if tokenizer.vocab_size > num_embeddings:
        problem = f"it has {tokenizer.vocab_size} tokens, the model knows {num_embeddings}"
        raise InvalidTokenizerError(path=path, problem=problem)
    return bundle, tokenizer, open_engine(bundle)


def read_authored(bundle: Bundle, tokenizer: Tokenizer) -> Authored:
    """The replies that come with a version that has been opened; blocks."""
    known = KnownReplies.load(bundle.directory, bundle.manifest.architecture.vocab_size, tokenizer)
    return Authored(AuthoredSentences(known.texts), known)


def is_in_canary(conversation_key: str, candidate_digest: str, share: float) -> bool:
    """Whether a conversation is one of the candidate's: drawn by hash, so every turn and every replica agrees.

    Another candidate gets other conversations, and a larger share keeps those of a smaller one.
    """
    digest = hashlib.sha256(f"{candidate_digest}\n{conversation_key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * _HASH_RANGE
