"""A fake of the engine that follows the same interface: it says what its script says, one token a step.

Held to the real engine's behaviour by `test_engine_port`.
"""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import Tokenizer as BackendTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from model_store.bundle import Bundle, write_bundle
from model_store.contract.control_tokens import CONTROL_TOKENS, EOS_ID
from model_store.contract.tokenizer import Tokenizer
from service.engine.errors import EngineClosedError, EngineOverloadedError, InvalidPromptError, ModelUnusableError
from service.engine.types import CompletionRequest, Delta, EngineOptions, FinishReason
from tests.bundles import manifest_fields
from training.data.subwords import name_plans

Script = Callable[[CompletionRequest], Sequence[int]]
"""The token ids of a completion, end-of-sequence included where the model shall stop by itself."""

_CORPUS = (
    "Hello! How can I help you with your order today? I forgot my password. You can reset it on the account page.",
    "Please send your order number and I will look after the refund. The parcel is on its way to you.",
    "我忘记了我的账户密码。您好，请问有什么可以帮您？您可以在密码页面重设。订单正在路上。",
)


class FakeEngine:
    """Completes by script. `step_seconds` is how long a step takes; set `hold` to let no step make tokens."""

    def __init__(
        self, script: Script, options: EngineOptions, *, max_context: int = 512, step_seconds: float = 0.0
    ) -> None:
        self.max_context = max_context
        self.step_seconds = step_seconds
        self.hold = threading.Event()
        self.fails_at_step: int | None = None
        self.num_steps = 0
        self.is_closed = False
        self.requests: list[CompletionRequest] = []
        self._script = script
        self._options = options
        self._waiting: list[str] = []
        self._running: list[str] = []
        self._live: dict[str, tuple[CompletionRequest, list[int]]] = {}
        """Requests with what they have still to say."""

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._live)

    @property
    def num_running(self) -> int:
        """Completions in a slot."""
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        """Completions in the queue."""
        return len(self._waiting)

    @property
    def prefix_cache_bytes(self) -> int:
        """It keeps nothing."""
        return 0

    def submit(self, request: CompletionRequest) -> None:
        """Queues a request. Raises InvalidPromptError, EngineOverloadedError or EngineClosedError."""
        if self.is_closed:
            raise EngineClosedError
        if not request.prompt_ids or len(request.prompt_ids) >= self.max_context:
            raise InvalidPromptError(problem=f"it has {len(request.prompt_ids)} tokens")
        if len(self._live) >= self._options.num_slots + self._options.queue_length:
            raise EngineOverloadedError(num_slots=self._options.num_slots, queue_length=self._options.queue_length)
        self.requests.append(request)
        self._live[request.request_id] = (request, list(self._script(request))[: request.sampling.max_tokens])
        self._waiting.append(request.request_id)

    def cancel(self, request_id: str) -> bool:
        """Ends a completion and frees its place at once."""
        if request_id not in self._live:
            return False
        del self._live[request_id]
        (self._running if request_id in self._running else self._waiting).remove(request_id)
        return True

    def step(self) -> list[Delta]:
        """One token for every completion in a slot."""
        if self.is_closed:
            raise EngineClosedError
        time.sleep(self.step_seconds)
        self.num_steps += 1
        if self.num_steps == self.fails_at_step:
            raise RuntimeError("the fake engine was told to fail")
        while self._waiting and len(self._running) < self._options.num_slots:
            self._running.append(self._waiting.pop(0))
        if self.hold.is_set():
            time.sleep(0.001)
            return []
        return [self._next_delta(request_id) for request_id in list(self._running)]

    def close(self) -> None:
        """Forgets everything."""
        self.is_closed = True
        self._live.clear()
        self._waiting.clear()
        self._running.clear()

    def _next_delta(self, request_id: str) -> Delta:
        request, token_ids = self._live[request_id]
        token_id = token_ids.pop(0)
        finish_reason: FinishReason | None = None
        if token_id == EOS_ID:
            finish_reason = "stop"
        elif not token_ids:
            finish_reason = "length"
        if finish_reason:
            self.cancel(request_id)
        sampling = request.sampling
        num_rivals = sampling.num_opening_logprobs if token_id in sampling.opening_token_ids else 0
        num_rivals = max(sampling.num_top_logprobs, num_rivals)
        rivals = tuple((token_id + shift, -0.5 - shift) for shift in range(num_rivals))
        return Delta(request_id, token_id, -0.5, -0.25, rivals, finish_reason)


def train_tokenizer(path: Path) -> Tokenizer:
    """A real, very small tokenizer that follows the control-token table."""
    backend = BackendTokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=list(CONTROL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_CORPUS, trainer)
    backend.save(str(path))
    return Tokenizer.load(path)


def make_chat_bundle(directory: Path, name: str = "tiny", plans: Sequence[str] = (), **changes: object) -> str:
    """Writes a bundle whose tokenizer is real and whose graph only a fake engine opens; gives its digest."""
    directory.mkdir(parents=True)
    tokenizer = train_tokenizer(directory / "tokenizer.json")
    if plans:
        name_plans(tokenizer.backend, plans).save(str(directory / "tokenizer.json"))
    (directory / "model.onnx").write_bytes(b"weights of no network " * 100)
    fields = manifest_fields(name, **changes)
    fields["architecture"] = {**dict(fields["architecture"]), "vocab_size": tokenizer.vocab_size}  # type: ignore[call-overload]
    return write_bundle(directory, fields).digest


class FakeEngines:
    """Opens fake engines and remembers them. A bundle named `refused-…` does not pass its trial."""

    def __init__(self, say: Callable[[Bundle, CompletionRequest], str], num_slots: int = 4) -> None:
        """`say` gives the masked text of a completion; it opens with the first plan allowed, if there are any."""
        self._say = say
        self._options = EngineOptions(num_slots=num_slots)
        self.opened: list[FakeEngine] = []
        self.step_seconds = 0.0

    def __call__(self, bundle: Bundle) -> FakeEngine:
        """An engine for a verified bundle. Raises ModelUnusableError."""
        if bundle.manifest.name.startswith("refused-"):
            raise ModelUnusableError(path=bundle.directory, problem="it was made to be refused")
        tokenizer = Tokenizer.load(bundle.path("tokenizer.json"))

        def script(request: CompletionRequest) -> list[int]:
            openings = sorted(request.sampling.opening_token_ids)[:1]
            return [*openings, *tokenizer.encode(self._say(bundle, request)), EOS_ID]

        self.opened.append(FakeEngine(script, self._options, step_seconds=self.step_seconds))
        return self.opened[-1]
