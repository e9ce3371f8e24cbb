"""A Llama of the same shape in llama.cpp, through llama-cpp-python's low-level calls: one thread, greedy."""

import ctypes
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.engines.contender import Contender, NotInstalledError, Timing, now, since
from tests.benchmarks.engines.llama_file import FORMATS, write_llama
from tests.benchmarks.engines.shapes import Shape, llama_shape

CONTEXT_A_STREAM = 512
_PIECE = 512


def import_llama_cpp() -> Any:
    """The module, silenced. Raises NotInstalledError."""
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        problem = "llama-cpp-python; `make bench` builds it where there are cmake and a C++ compiler"
        raise NotInstalledError(problem) from error
    _silence(llama_cpp)
    return llama_cpp


class LlamaRunner:
    """`llama_decode` over a batch with one token a stream."""

    def __init__(self, shape: Shape, folder: Path, *, weights: str) -> None:
        self._llama = import_llama_cpp()
        self._shape = shape
        path = folder / f"{shape.name}-{weights}.gguf"
        write_llama(path, llama_shape(shape.architecture), weights)
        parameters = self._llama.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self._model = self._llama.llama_model_load_from_file(str(path).encode(), parameters)
        self._context = None
        self._batch = _BatchArrays(self._llama, _PIECE)

    def start(self, num_streams: int, context: int) -> None:
        """A context for that many sequences, each with its prompt read."""
        self._open(num_streams)
        for stream in range(num_streams):
            self._read(stream, self._shape.prompt(context, seed=stream))
        self._next_ids = np.full(num_streams, self._most_probable(1)[0])
        self._position = context

    def decode(self, num_steps: int) -> Timing:
        """One call a step."""
        num_streams = len(self._next_ids)
        streams = np.arange(num_streams)
        started = now()
        for _ in range(num_steps):
            self._batch.fill(self._next_ids, np.full(num_streams, self._position), streams, has_logits=True)
            self._decode()
            self._next_ids = self._most_probable(num_streams)
            self._position += 1
        return since(started, num_steps * num_streams)

    def prefill(self, length: int, seed: int) -> Timing:
        """The prompt in one call."""
        self._open(1)
        prompt = self._shape.prompt(length, seed)
        started = now()
        self._read(0, prompt)
        self._most_probable(1)
        return since(started, length)

    def close(self) -> None:
        """Frees context and model."""
        if self._context is not None:
            self._llama.llama_free(self._context)
        self._batch.free()
        self._llama.llama_model_free(self._model)

    def _open(self, num_streams: int) -> None:
        if self._context is not None:
            self._llama.llama_free(self._context)
        parameters = self._llama.llama_context_default_params()
        parameters.n_ctx = CONTEXT_A_STREAM * num_streams
        parameters.n_batch = parameters.n_ubatch = _PIECE
        parameters.n_threads = parameters.n_threads_batch = 1
        parameters.n_seq_max = num_streams
        self._context = self._llama.llama_init_from_model(self._model, parameters)

    def _read(self, stream: int, prompt: tuple[int, ...]) -> None:
        length = len(prompt)
        self._batch.fill(np.array(prompt), np.arange(length), np.full(length, stream), has_logits=False)
        self._batch.want_last_logits()
        self._decode()

    def _decode(self) -> None:
        code = self._llama.llama_decode(self._context, self._batch.value)
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code}")

    def _most_probable(self, num_rows: int) -> np.ndarray:
        logits = self._llama.llama_get_logits(self._context)
        shape = (num_rows, self._shape.architecture.vocab_size)
        token_ids: np.ndarray = np.ctypeslib.as_array(logits, shape).argmax(axis=1)
        return token_ids


class _BatchArrays:
    """llama.cpp's batch, filled through numpy views: element by element ctypes would take longer than the network."""

    def __init__(self, llama_cpp: Any, size: int) -> None:
        self._llama = llama_cpp
        self.value = llama_cpp.llama_batch_init(size, 0, 1)
        self._tokens = np.ctypeslib.as_array(self.value.token, (size,))
        self._positions = np.ctypeslib.as_array(self.value.pos, (size,))
        self._num_streams = np.ctypeslib.as_array(self.value.n_seq_id, (size,))
        self._has_logits = np.ctypeslib.as_array(self.value.logits, (size,))
        self._num_streams[:] = 1
        # One array of stream numbers an entry, allocated together or not: each is looked up once.
        self._streams = [self.value.seq_id[index] for index in range(size)]

    def fill(self, token_ids: np.ndarray, positions: np.ndarray, streams: np.ndarray, *, has_logits: bool) -> None:
        """Makes these tokens the batch."""
        length = len(token_ids)
        self.value.n_tokens = length
        self._tokens[:length], self._positions[:length] = token_ids, positions
        self._has_logits[:length] = has_logits
        for entry, stream in zip(self._streams, streams.tolist(), strict=False):
            entry[0] = stream

    def want_last_logits(self) -> None:
        """Asks for the last token's logits as well."""
        self._has_logits[self.value.n_tokens - 1] = 1

    def free(self) -> None:
        """Gives the memory back."""
        self._llama.llama_batch_free(self.value)


def _silence(llama_cpp: Any) -> None:
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    _KEPT.append(quiet)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))


_KEPT: list[Any] = []
"""What C code holds a pointer to."""
NAME = "llama.cpp {}"
CONTENDERS = tuple(
    Contender(
        NAME.format(weights),
        f"a Llama of the same shape with random weights, {weights}, float16 caches",
        partial(LlamaRunner, weights=weights),
    )
    for weights in FORMATS
)
