"""The graph in onnxruntime, with every input, output and cache bound in place.

Feeds the interface that `training.export.onnx_graph` describes; `tests/contract/test_parity.py` holds the two together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_store.contract.manifest import Architecture
from model_store.graphs import GRAPH_ERRORS, open_graph, ort
from service.engine.cpu_limit import num_usable_cpus
from service.engine.errors import ModelUnusableError
from service.engine.kv_cache import PIECE_LENGTH, KVCache
from service.engine.types import EngineOptions

CONTEXT_LENGTH = 2
"""Tokens before the current one that an n-gram can hold."""
NOTHING_BEFORE = (0,) * CONTEXT_LENGTH


@dataclass(frozen=True, slots=True)
class PromptPiece:
    """Up to `PIECE_LENGTH` tokens of one prompt, inside one local chunk."""

    slot: int
    first_position: int
    token_ids: tuple[int, ...]
    previous_ids: tuple[int, ...] = NOTHING_BEFORE
    """The tokens before them, oldest first: two before the message that they go on with, and all of that message.

    0 where the text has not begun.
    """
    is_hashed: bool = False
    """Whether the whole prompt is read by the graph for long ones."""
    begins: bool = True
    """Whether it is the first of its prompt that is read, at position 0 or behind what was found again."""


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """One step's work: a token for each of slots 0 … n-1, then a piece of the prompt in slot n."""

    token_ids: tuple[int, ...]
    positions: tuple[int, ...]
    prompt_piece: PromptPiece | None = None
    previous_ids: tuple[tuple[int, ...], ...] = ()
    """For each token the two before it; only networks with n-gram tables ask for them."""
    draft_ids: tuple[int, ...] = ()
    """Guesses of what follows on the only token, inside its local chunk; not beside a prompt's piece."""


class OrtSession:
    """A loaded graph and its caches. Not thread-safe: one thread runs it."""

    def __init__(self, path: Path, architecture: Architecture, options: EngineOptions) -> None:
        """Loads the graph. Raises ModelUnusableError when onnxruntime refuses it or it is not this architecture's."""
        self._session = load_graph(path, min(options.num_threads, num_usable_cpus()))
        self._architecture = architecture
        self.cache_dtype = self._check_interface(path)
        self.cache = KVCache(architecture, options.num_slots, self.cache_dtype)
        num_tokens = max(options.num_slots, PIECE_LENGTH)
        num_rows = max(options.num_slots, 1 + options.max_draft_tokens)
        self._token_ids = np.zeros(num_tokens, np.int64)
        self._previous_ids = np.zeros((options.num_slots, CONTEXT_LENGTH), np.int64)
        self._message_ids = np.zeros(architecture.max_positions + CONTEXT_LENGTH, np.int64)
        self._last_positions = np.zeros(options.num_slots, np.int32)
        self._output_index = np.zeros(1, np.int64)
        self._every_column = np.arange(num_rows)
        self._logits = np.zeros((num_rows, architecture.vocab_size), np.float32)
        self._bindings: dict[tuple[int, int, int], ort.IOBinding] = {}
        self._piece_bindings: dict[tuple[int, int], ort.IOBinding] = {}
        self._draft_bindings: dict[int, ort.IOBinding] = {}
        self.read_hashed: Callable[[PromptPiece], NDArray[np.float32]] | None = None
        """Who reads the pieces of long prompts, where the architecture hashes: logits [V] of a piece's last token."""

    def run(self, inputs: ModelInputs) -> NDArray[np.float32]:
        """Logits [n, V] of the decoded tokens, plus a last row for the prompt piece's last token when there is one.

        With a draft a row for the token and one for each guess. The array is this session's own and valid until the
        next call.
        """
        if inputs.draft_ids:
            return self._run_draft(inputs)
        num_rows = len(inputs.token_ids)
        if num_rows:
            for slot, position in enumerate(inputs.positions):
                self.cache.begin_position(slot, position)
            self._token_ids[:num_rows] = inputs.token_ids
            if self._architecture.ngram_rows:
                self._previous_ids[:num_rows] = inputs.previous_ids
            self._last_positions[:num_rows] = inputs.positions
            self._output_index[0] = 0
            self._session.run_with_iobinding(self._binding(0, num_rows, 1))
        if inputs.prompt_piece is not None:
            if inputs.prompt_piece.is_hashed:
                assert self.read_hashed is not None
                self._logits[num_rows] = self.read_hashed(inputs.prompt_piece)
            else:
                self._run_piece(inputs.prompt_piece)
            num_rows += 1
        return self._logits[:num_rows]

    def repeats_bits(self, num_tokens: int) -> bool:
        """Whether as many tokens in one call, and fewer, give every bit that they give one by one, on this processor.

        Writes into the first slot, which must not be in use.
        """
        chunk = self._architecture.local_chunk_length
        starts = [start for start in (1, 2 * chunk + 1) if start + num_tokens <= self._architecture.max_positions]
        tokens = tuple(range(self._architecture.vocab_size - num_tokens, self._architecture.vocab_size))
        return num_tokens < chunk and all(self._repeats_bits_at(start, tokens) for start in starts)

    def _repeats_bits_at(self, start: int, tokens: tuple[int, ...]) -> bool:
        text = (*NOTHING_BEFORE, *tokens)
        singles = [
            self.run(ModelInputs((token,), (start + number,), None, (text[number : number + CONTEXT_LENGTH],))).copy()
            for number, token in enumerate(tokens)
        ]
        expected = np.concatenate(singles)
        return all(
            np.array_equal(
                self.run(ModelInputs(tokens[:1], (start,), None, (NOTHING_BEFORE,), tokens[1:length])),
                expected[:length],
            )
            for length in range(2, len(tokens) + 1)
        )

    def _run_draft(self, inputs: ModelInputs) -> NDArray[np.float32]:
        length = 1 + len(inputs.draft_ids)
        self.cache.begin_position(0, inputs.positions[0])
        self._token_ids[:length] = (*inputs.token_ids, *inputs.draft_ids)
        if self._architecture.ngram_rows:
            self._previous_ids[:1] = inputs.previous_ids
        self._last_positions[0] = inputs.positions[0] + length - 1
        self._session.run_with_iobinding(self._draft_binding(length))
        return self._logits[:length]

    def _run_piece(self, piece: PromptPiece) -> None:
        length = len(piece.token_ids)
        self.cache.begin_position(piece.slot, piece.first_position)
        self._token_ids[:length] = piece.token_ids
        self._last_positions[piece.slot] = piece.first_position + length - 1
        self._output_index[0] = length - 1
        binding = self._piece_binding(piece.slot, length)
        if self._architecture.ngram_rows:
            # As long as the message so far, so it is bound afresh.
            is_summed = self._architecture.message_summary
            previous = piece.previous_ids if is_summed else piece.previous_ids[-CONTEXT_LENGTH:]
            self._message_ids[: len(previous)] = previous
            bind_array(binding, "previous_ids", self._message_ids[None, : len(previous)])
        self._session.run_with_iobinding(binding)

    def _binding(self, first_slot: int, num_slots: int, length: int) -> ort.IOBinding:
        """The binding of `num_slots` rows from `first_slot` on and `length` tokens each, made once."""
        key = (first_slot, num_slots, length)
        if key not in self._bindings:
            self._bindings[key] = self._bind(*key)
        return self._bindings[key]

    def _piece_binding(self, slot: int, length: int) -> ort.IOBinding:
        """A prompt piece's own binding, even where it is one token long: its previous tokens are bound anew each time,
        which would leave a decoding step with another prompt's.
        """
        key = (slot, length)
        if key not in self._piece_bindings:
            self._piece_bindings[key] = self._bind(slot, 1, length)
        return self._piece_bindings[key]

    def _draft_binding(self, length: int) -> ort.IOBinding:
        """The binding of `length` tokens in the first slot with logits for each of them, made once."""
        if length not in self._draft_bindings:
            binding = self._bind(0, 1, length)
            bind_array(binding, "output_index", self._every_column[:length])
            bind_array(binding, "logits", self._logits[None, :length], is_output=True)
            self._draft_bindings[length] = binding
        return self._draft_bindings[length]

    def _bind(self, first_slot: int, num_slots: int, length: int) -> ort.IOBinding:
        slots = slice(first_slot, first_slot + num_slots)
        binding = self._session.io_binding()
        bind_array(binding, "token_ids", self._token_ids[: num_slots * length].reshape(num_slots, length))
        bind_array(binding, "last_positions", self._last_positions[slots])
        bind_array(binding, "output_index", self._output_index)
        if self._architecture.ngram_rows:
            bind_array(binding, "previous_ids", self._previous_ids[slots])
        bind_array(binding, "logits", self._logits[slots, None], is_output=True)
        for layer in range(len(self._architecture.attn_layers)):
            for part, caches in (("key", self.cache.keys), ("value", self.cache.values)):
                bind_array(binding, f"past_{part}_{layer}", caches[layer][slots])
                bind_array(binding, f"present_{part}_{layer}", caches[layer][slots], is_output=True)
        return binding

    def _check_interface(self, path: Path) -> np.dtype[np.generic]:
        """The caches' type; raises ModelUnusableError when names or sizes of inputs and outputs are not as expected."""
        shape, num_layers = self._architecture, len(self._architecture.attn_layers)
        lengths = {"local": 2 * shape.local_chunk_length, "lsh": shape.max_positions}
        expected: dict[str, tuple[int, ...]] = {
            f"past_{part}_{layer}": (shape.num_attention_heads, lengths[kind], shape.attention_head_size)
            for layer, kind in enumerate(shape.attn_layers)
            for part in ("key", "value")
        }
        presents = {name.replace("past", "present"): sizes for name, sizes in expected.items()}
        inputs = {entry.name: entry for entry in self._session.get_inputs()}
        outputs = {entry.name: entry for entry in self._session.get_outputs()}
        context = {"previous_ids"} if shape.ngram_rows else set()
        if set(inputs) != {"token_ids", "last_positions", "output_index", *context, *expected}:
            raise ModelUnusableError(
                path=path, problem=f"its inputs are not those of a network with {num_layers} layers"
            )
        if set(outputs) != {"logits", *presents} or outputs["logits"].shape[-1] != shape.vocab_size:
            raise ModelUnusableError(path=path, problem="its outputs do not fit the manifest's architecture")
        if any(tuple(inputs[name].shape[1:]) != sizes for name, sizes in expected.items()):
            raise ModelUnusableError(path=path, problem="its caches do not fit the manifest's architecture")
        is_int8 = inputs["past_key_0"].type == "tensor(int8)"
        return np.dtype(np.int8 if is_int8 else np.float32)


def load_graph(path: Path, num_threads: int) -> ort.InferenceSession:
    """A session of a graph. Raises ModelUnusableError when onnxruntime refuses it."""
    try:
        return open_graph(path, num_threads)
    except GRAPH_ERRORS as error:
        problem = str(error).strip().rstrip(".") or type(error).__name__
        raise ModelUnusableError(path=path, problem=problem) from error


def bind_array(binding: ort.IOBinding, name: str, array: NDArray[np.generic], *, is_output: bool = False) -> None:
    """Binds memory, not a copy: `array` must be contiguous and its base must outlive the binding."""
    bind = binding.bind_output if is_output else binding.bind_input
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
