"""The tokenizer: byte-level BPE over English and Chinese, with the control-token table in front.

Masked text goes in, ids come out; placeholders become control ids, everything else, whatever it spells, ordinary
subwords. Training a tokenizer is the training job's business (`training.data.subwords`).
"""

import codecs
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer as BackendTokenizer

from model_store.contract.control_tokens import (
    CONTROL_TOKENS,
    FIRST_PLAN_ID,
    NUM_CONTROL_TOKENS,
    PLACEHOLDER_IDS,
    reserved_spelling,
)
from model_store.contract.placeholders import split_masked
from model_store.errors import InvalidTokenizerError


def _byte_alphabet() -> dict[str, int]:
    """The printable stand-in of every byte in byte-level BPE (GPT-2's `bytes_to_unicode`, inverted)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stand_ins = {byte: chr(byte) for byte in printable}
    unprintable = (byte for byte in range(256) if byte not in stand_ins)
    stand_ins.update({byte: chr(256 + shift) for shift, byte in enumerate(unprintable)})
    return {character: byte for byte, character in stand_ins.items()}


_HAN_LEADS = frozenset(range(0xE3, 0xEA))
_PLAN_SHAPE = re.compile(r"<\|plan:(.+)\|>")


def _named_plans(backend: BackendTokenizer) -> dict[str, int]:
    """Plans by name: a vocabulary spells the ids that are in use by name and the rest by number."""
    spellings = (
        (token_id, backend.id_to_token(token_id) or "") for token_id in range(FIRST_PLAN_ID, NUM_CONTROL_TOKENS)
    )
    return {match[1]: token_id for token_id, text in spellings if (match := _PLAN_SHAPE.fullmatch(text))}


class Tokenizer:
    """Turns masked text into token ids and token ids into masked text. Immutable and safe to share between threads."""

    def __init__(self, backend: BackendTokenizer, path: str = "<memory>") -> None:
        """Takes over `backend`. Raises InvalidTokenizerError when its first ids are not the control-token table."""
        self.plans: Mapping[str, int] = _named_plans(backend)
        """Token id of each plan that a reply may open with; empty for a model that does not plan."""
        for token_id, token in enumerate(CONTROL_TOKENS):
            # A vocabulary made before an id got its meaning spells it as reserved; its model has never seen that token.
            spellings = (token, reserved_spelling(token_id))
            if backend.id_to_token(token_id) not in spellings and token_id not in self.plans.values():
                raise InvalidTokenizerError(path=path, problem=f"control token {token} does not have id {token_id}")
        backend.encode_special_tokens = True
        self.backend = backend
        self.vocab_size: int = backend.get_vocab_size()
        self._plan_names = {token_id: name for name, token_id in self.plans.items()}
        alphabet = _byte_alphabet()
        self._token_bytes = [token.encode() for token in CONTROL_TOKENS] + [
            bytes(alphabet[character] for character in backend.id_to_token(token_id) or "")
            for token_id in range(NUM_CONTROL_TOKENS, self.vocab_size)
        ]

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Reads a tokenizers JSON file. Raises InvalidTokenizerError when it is none or breaks the table."""
        return cls(read_backend(path), str(path))

    @property
    def opening_ids(self) -> frozenset[int]:
        """Tokens that a completion must open with; empty where any token may come first."""
        return frozenset(self._plan_names)

    def plan_of(self, token_ids: Sequence[int]) -> str | None:
        """Name of the plan that a completion opens with, or None."""
        return self._plan_names.get(token_ids[0]) if token_ids else None

    def encode(self, masked_text: str) -> list[int]:
        """Token ids of masked text; placeholders become their control ids, never anything else does."""
        token_ids: list[int] = []
        for segment in split_masked(masked_text):
            if segment.is_placeholder:
                token_ids.append(PLACEHOLDER_IDS[segment.text])
            else:
                token_ids.extend(self.backend.encode(segment.text, add_special_tokens=False).ids)
        return token_ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` for many texts."""
        return [self.encode(text) for text in texts]

    @cached_property
    def han_ids(self) -> frozenset[int]:
        """Tokens that hold a Han character or begin one: those with a byte that in UTF-8 opens U+3000 to U+9FFF."""
        tokens = enumerate(self._token_bytes[NUM_CONTROL_TOKENS:], NUM_CONTROL_TOKENS)
        return frozenset(token_id for token_id, spelling in tokens if not _HAN_LEADS.isdisjoint(spelling))

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that one token stands for; control tokens give their spelling."""
        return self._token_bytes[token_id]

    def decode(self, token_ids: Iterable[int]) -> str:
        """Masked text of token ids. Structural control tokens vanish; broken UTF-8 becomes U+FFFD."""
        decoder = IncrementalDecoder(self)
        return "".join([decoder.feed(token_id) for token_id in token_ids]) + decoder.flush()


def read_backend(path: Path) -> BackendTokenizer:
    """Reads a tokenizers JSON file of any vocabulary. Raises InvalidTokenizerError when it is none."""
    try:
        return BackendTokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception for every kind of bad file
        raise InvalidTokenizerError(path=path, problem=str(error)) from error


class IncrementalDecoder:
    """Masked text of a completion while it is being made: a character appears once all its bytes are there."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token_id: int) -> str:
        """The text that became complete with this token; often empty inside a Chinese character."""
        if token_id >= NUM_CONTROL_TOKENS:
            return self._utf8.decode(self._tokenizer.token_bytes(token_id))
        broken_tail = self.flush()
        is_placeholder = CONTROL_TOKENS[token_id] in PLACEHOLDER_IDS
        return broken_tail + (CONTROL_TOKENS[token_id] if is_placeholder else "")

    def flush(self) -> str:
        """What is left when the completion ends inside a character: U+FFFD, or nothing."""
        tail = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return tail
