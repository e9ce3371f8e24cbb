"""The engine: submitted requests in, deltas out, one step at a time. Synchronous and driven by one thread.

No text, no HTTP, no threads: `service.chat` owns the worker thread, the tokenizer and stop strings.
"""

from pathlib import Path

from model_store.contract.manifest import GoldenRun, Manifest
from model_store.graphs import return_free_memory
from model_store.phrases import PhraseBook
from model_store.replies import REPLIES_NAME
from service.engine.admission import Admission
from service.engine.drafting.drafter import Drafter
from service.engine.errors import EngineClosedError, GoldenRunMismatchError, ModelUnusableError
from service.engine.long_prompts.reader import LongReader
from service.engine.ort_session import OrtSession
from service.engine.prefix_cache import PrefixCache
from service.engine.sampler import Sampler, SamplingState
from service.engine.scheduler import LiveCompletion, Scheduler
from service.engine.types import CompletionRequest, Delta, EngineOptions, SamplingParams

MODEL_NAME = "model.onnx"
LONG_MODEL_NAME = "long_prefill.onnx"


class Engine:
    """Makes several completions at once with one model version. Not thread-safe."""

    def __init__(
        self,
        session: OrtSession,
        max_context: int,
        vocab_size: int,
        options: EngineOptions,
        book: PhraseBook | None = None,
    ) -> None:
        """`book` holds the replies that the bundle knows: drafts begin with them, and wordings are kept to them on
        request."""
        self.max_context = max_context
        """Positions that prompt and completion share; a prompt may take all but one."""
        self._vocab_size = vocab_size
        self._session: OrtSession | None = session
        self._sampler = Sampler()
        self._prefix_cache = PrefixCache(session.cache, options.prefix_cache_bytes)
        # A reply may not depend on whether it was drafted, so on a processor where bits would change there are none.
        is_exact = options.max_draft_tokens > 0 and session.repeats_bits(1 + options.max_draft_tokens)
        self.drafter = Drafter(options.max_draft_tokens if is_exact else 0)
        for reply in book.replies if book and self.drafter.max_tokens else ():
            self.drafter.read(reply.tolist())
        self._phrases = book if book and options.knows_phrases else None
        self._scheduler = Scheduler(session.cache, self._prefix_cache, self.drafter, options.num_slots, max_context)
        self._admission = Admission(options, max_context=max_context, vocab_size=vocab_size)

    @classmethod
    def open(cls, bundle_directory: Path, manifest: Manifest, options: EngineOptions) -> "Engine":
        """Loads `model.onnx` of a verified bundle, where it hashes also `long_prefill.onnx`, and allocates the caches.

        Raises ModelUnusableError when the graph or the replies that the bundle knows do not load or are not what the
        manifest says.
        """
        path = bundle_directory / MODEL_NAME
        architecture = manifest.architecture
        session = OrtSession(path, architecture, options)
        if session.cache_dtype != manifest.quantization.kv_cache:
            said, found = manifest.quantization.kv_cache, session.cache_dtype
            raise ModelUnusableError(path=path, problem=f"its caches are {found}, the manifest says {said}")
        if architecture.hashing is not None:
            reader = LongReader(bundle_directory / LONG_MODEL_NAME, architecture, session.cache, options)
            session.read_hashed = reader.read
        book = _read_book(bundle_directory, architecture.vocab_size)
        return cls(session, architecture.max_positions, architecture.vocab_size, options, book)

    @property
    def has_work(self) -> bool:
        """Whether `step` would do anything."""
        return self.num_running + self.num_waiting > 0

    @property
    def num_running(self) -> int:
        """Completions that own a slot, whether their prompt is being read or they decode."""
        return self._scheduler.num_running

    @property
    def num_waiting(self) -> int:
        """Completions in the queue."""
        return self._scheduler.num_waiting

    @property
    def prefix_cache_bytes(self) -> int:
        """Memory that holds keys and values of earlier prompts."""
        return self._prefix_cache.num_bytes

    def submit(self, request: CompletionRequest) -> None:
        """Queues a request. Raises InvalidRequestError, EngineOverloadedError or EngineClosedError."""
        if self._session is None:
            raise EngineClosedError
        self._admission.check(request, self._scheduler.live_ids)
        state = SamplingState(request.sampling, request.prompt_ids, self._vocab_size, self._phrases)
        self._scheduler.add(LiveCompletion(request, state))

    def cancel(self, request_id: str) -> bool:
        """Ends a completion and frees its place at once; no delta follows. False when it is not being made."""
        return self._scheduler.remove(request_id)

    def step(self) -> list[Delta]:
        """Reads at most one piece of one prompt and makes one token for every completion that decodes.

        A completion that is alone gets further tokens, as many as were guessed right. Returns the new tokens, none
        while only a prompt is being read. After an error the engine must be closed.
        """
        if self._session is None:
            raise EngineClosedError
        batch = self._scheduler.schedule()
        logits = self._session.run(batch.inputs)
        if batch.num_drafted:
            (state,) = batch.sampling_states
            tokens = self._sampler.sample_drafted(logits, state, batch.inputs.draft_ids)
        else:
            tokens = self._sampler.sample(logits[: len(batch.sampled)], batch.sampling_states)
        return self._scheduler.postprocess(batch, tokens)

    def close(self) -> None:
        """Lets go of model and caches and forgets unfinished completions. Closing twice is allowed."""
        self._scheduler.clear()
        if self._session is not None:
            self._prefix_cache.release()
            self._session.cache.release()
            self._session.read_hashed = None
            self._session = None
            return_free_memory()


def _read_book(bundle_directory: Path, vocab_size: int) -> PhraseBook:
    try:
        return PhraseBook.load(bundle_directory, vocab_size)
    except ValueError as error:
        raise ModelUnusableError(path=bundle_directory / REPLIES_NAME, problem=str(error).rstrip(".")) from error


def golden_run(engine: Engine, expected: GoldenRun) -> None:
    """Makes the recorded greedy completion once more. Raises GoldenRunMismatchError where the tokens differ.

    Needs an engine without other work: deltas of other completions would be lost. Raises InvalidRequestError for a
    recording that no engine can repeat.
    """
    sampling = SamplingParams(temperature=0, max_tokens=len(expected.completion_ids))
    engine.submit(CompletionRequest("golden-run", expected.prompt_ids, sampling))
    token_ids: list[int] = []
    while engine.has_work:
        token_ids += [delta.token_id for delta in engine.step()]
    for position, (wanted, found) in enumerate(zip(expected.completion_ids, token_ids, strict=False)):
        if wanted != found:
            raise GoldenRunMismatchError(position=position, expected=wanted, actual=found)
    if len(token_ids) < len(expected.completion_ids):
        raise GoldenRunMismatchError(position=len(token_ids), expected="more", actual="the end")
