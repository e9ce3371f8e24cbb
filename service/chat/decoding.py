"""From token ids to the words that a person reads, while they are being made.

Four filters in a row, each holding back what is not decided yet: bytes to characters, the reply check, placeholders to
values, and the search for stop strings.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from model_store.contract.control_tokens import CONTROL_TOKENS, EOS_ID, NUM_CONTROL_TOKENS
from model_store.contract.placeholders import ALL_PLACEHOLDERS
from model_store.contract.safety.reply_check import ReplyCheck
from model_store.contract.tokenizer import IncrementalDecoder, Tokenizer
from model_store.contract.unmasking import Resolver, StreamUnmasker
from service.engine.types import Delta

UNSAFE_CHARACTERS = re.compile(r"[\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Lone surrogates and control characters: not taken from clients, and replaced where a model's bytes spell them."""
_REPLACEMENT = "\ufffd"


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token as a person reads it, its log-probability under the model, and its rivals'."""

    text: str
    utf8: bytes
    logprob: float
    rivals: tuple["TokenLogprob", ...] = ()


class StopMatcher:
    """Cuts a text that arrives in pieces before the first stop string."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(stop)
        self._held = ""
        self.has_stopped = False

    def feed(self, piece: str) -> str:
        """The text that can be shown now: nothing that may turn out to be part of a stop string."""
        if self.has_stopped:
            return ""
        if not self._stop:  # most requests name none
            return piece
        text = self._held + piece
        ends = [position for stop in self._stop if (position := text.find(stop)) >= 0]
        if ends:
            self.has_stopped = True
            self._held = ""
            return text[: min(ends)]
        num_held = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - num_held :]
        return text[: len(text) - num_held]

    def flush(self) -> str:
        """What was held back when the text ended; it did not become a stop string."""
        held, self._held = self._held, ""
        return held


class CompletionDecoder:
    """Follows one completion: what was sampled, what is stored of it, and what a person sees."""

    def __init__(
        self, tokenizer: Tokenizer, resolve: Resolver, stop: Sequence[str] = (), check: ReplyCheck | None = None
    ) -> None:
        """Without a check everything passes."""
        self._check = check
        self._tokenizer = tokenizer
        self._resolve = resolve
        self._decoder = IncrementalDecoder(tokenizer)
        self._unmasker = StreamUnmasker(resolve)
        self._matcher = StopMatcher(stop)
        self._stop = tuple(stop)
        self._masked_pieces: list[str] = []
        self.token_ids: list[int] = []
        self.sampling_logprobs: list[float] = []

    @property
    def has_stopped(self) -> bool:
        """Whether a stop string has been found; what follows is not shown."""
        return self._matcher.has_stopped

    @property
    def is_broken_off(self) -> bool:
        """Whether the reply check has found something that must not be shown; nor is anything behind it."""
        return self._check is not None and self._check.finding is not None

    @property
    def masked_text(self) -> str:
        """The completion as it is stored: placeholders instead of values, cut like the text that was shown."""
        text = "".join(self._masked_pieces)
        ends = [position for stop in self._stop if (position := text.find(stop)) >= 0]
        return text[: min(ends)] if ends and self.has_stopped else text

    def feed(self, delta: Delta) -> str:
        """The text that can be shown after this token; all that was held back once the completion ends."""
        self.token_ids.append(delta.token_id)
        self.sampling_logprobs.append(delta.sampling_logprob)
        masked = "" if delta.token_id == EOS_ID else self._decoder.feed(delta.token_id)
        is_last = delta.finish_reason is not None
        shown = self._show(masked + self._decoder.flush() if is_last else masked, is_last=is_last)
        if not is_last and not self.is_broken_off:
            return shown
        return shown + self._matcher.feed(self._unmasker.flush()) + self._matcher.flush()

    def logprob(self, delta: Delta) -> TokenLogprob | None:
        """The delta's token with its log-probability; None for plan and end, which no one reads."""
        if delta.token_id == EOS_ID or delta.token_id in self._tokenizer.opening_ids:
            return None
        rivals = tuple(self._describe(token_id, logprob) for token_id, logprob in delta.top_logprobs)
        return self._describe(delta.token_id, delta.logprob, rivals)

    def _show(self, masked: str, *, is_last: bool = False) -> str:
        masked = UNSAFE_CHARACTERS.sub(_REPLACEMENT, masked)
        if self._check is not None:
            masked = self._check.feed(masked) + (self._check.flush() if is_last else "")
        self._masked_pieces.append(masked)
        return self._matcher.feed(self._unmasker.feed(masked))

    def _describe(self, token_id: int, logprob: float, rivals: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        """Placeholders are shown as what they stand for, so that the tokens still add up to the text."""
        if token_id < NUM_CONTROL_TOKENS and CONTROL_TOKENS[token_id] in ALL_PLACEHOLDERS:
            text = self._resolve(CONTROL_TOKENS[token_id])
            return TokenLogprob(text, text.encode(), logprob, rivals)
        utf8 = self._tokenizer.token_bytes(token_id)
        return TokenLogprob(utf8.decode(errors="replace"), utf8, logprob, rivals)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
