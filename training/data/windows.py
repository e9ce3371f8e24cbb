"""Windows: conversations as token ids, cut at message boundaries, and batches of them with as little padding as
possible.

Ids and speakers come from the chat template, so what training sees is what serving renders.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model_store.contract.chat_template import render
from model_store.contract.control_tokens import BOS_ID, PAD_ID
from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer

STRUCTURE, LISTENER, SPEAKER, PLAN = range(4)
"""Whose token it is: nobody's, the customer's (or the system's), the assistant's; the assistant's plan."""

_POOL_WINDOWS = 600


class PlannedConversation(NamedTuple):
    """A conversation's messages, and the plan of its last reply where that is known.

    Where the last message is the customer's, the plan is all there is of the reply: choosing it is learned from a third
    of the tokens.
    """

    messages: Sequence[Message]
    plan: str | None = None


@dataclass(frozen=True)
class WindowSet:
    """Windows of one source, end to end: `token_ids` [N], `kinds` [N], and where each window starts [W + 1]."""

    token_ids: np.ndarray
    kinds: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def length(self, index: int) -> int:
        """Tokens of one window."""
        return int(self.offsets[index + 1] - self.offsets[index])

    def window(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and kinds of one window."""
        part = slice(self.offsets[index], self.offsets[index + 1])
        return self.token_ids[part], self.kinds[part]

    def save(self, path: Path) -> None:
        """Writes an .npz file."""
        np.savez(path, token_ids=self.token_ids, kinds=self.kinds, offsets=self.offsets)

    @classmethod
    def load(cls, path: Path) -> "WindowSet":
        """Reads an .npz file."""
        with np.load(path) as data:
            return cls(data["token_ids"], data["kinds"], data["offsets"])


def cut_windows(conversations: Iterable[PlannedConversation], tokenizer: Tokenizer, max_tokens: int) -> WindowSet:
    """Windows of whole messages, each at most `max_tokens` long; a longer message is cut at its end."""
    token_ids: list[int] = []
    kinds: list[int] = []
    offsets = [0]

    def close() -> None:
        if max(kinds[offsets[-1] :], default=STRUCTURE) >= SPEAKER:
            offsets.append(len(token_ids))
        else:
            del token_ids[offsets[-1] :], kinds[offsets[-1] :]

    for messages, plan in conversations:
        plans = [*[None] * (len(messages) - 1), plan]
        for message, message_plan in zip(messages, plans, strict=True):
            ids, message_kinds = _message_tokens(message, message_plan, tokenizer, max_tokens - 1)
            if len(token_ids) > offsets[-1] and len(token_ids) - offsets[-1] + len(ids) > max_tokens:
                close()
            if len(token_ids) == offsets[-1]:
                token_ids.append(BOS_ID)
                kinds.append(STRUCTURE)
            token_ids += ids
            kinds += message_kinds
        close()
    return WindowSet(np.array(token_ids, np.uint16), np.array(kinds, np.uint8), np.array(offsets, np.int64))


def _message_tokens(
    message: Message, plan: str | None, tokenizer: Tokenizer, max_tokens: int
) -> tuple[list[int], list[int]]:
    is_open = message.role is Role.USER and plan is not None
    rendered = render([message], tokenizer, for_completion=is_open, plan=plan)
    kind = SPEAKER if message.role is Role.ASSISTANT else LISTENER
    kinds = [STRUCTURE if speaker is None else kind for speaker in rendered.speakers]
    if (plan_id := tokenizer.plans.get(plan or "")) is not None:
        kinds[rendered.token_ids.index(plan_id)] = PLAN
    return list(rendered.token_ids[1 : max_tokens + 1]), kinds[1 : max_tokens + 1]


@dataclass(frozen=True)
class Batch:
    """Right-padded windows: `token_ids` [B, S] int64 and `kinds` [B, S] uint8."""

    token_ids: Tensor
    kinds: Tensor


def padded_length(length: int) -> int:
    """Lengths that batches are padded to: multiples of 16 up to 64, of 64 above (the local chunk)."""
    step = 16 if length <= 64 else 64
    return (length + step - 1) // step * step


def pad_batch(windows: Sequence[tuple[np.ndarray, np.ndarray]]) -> Batch:
    """Windows as one right-padded batch."""
    width = padded_length(max(len(ids) for ids, _ in windows))
    token_ids = torch.full((len(windows), width), PAD_ID, dtype=torch.long)
    kinds = torch.zeros((len(windows), width), dtype=torch.uint8)
    for row, (ids, row_kinds) in enumerate(windows):
        token_ids[row, : len(ids)] = torch.from_numpy(ids.astype(np.int64))
        kinds[row, : len(ids)] = torch.from_numpy(row_kinds)
    return Batch(token_ids, kinds)


class BatchStream:
    """An endless, seeded stream of batches mixed from several sources by token share.

    Which windows come in batch n depends on nothing but seed and n, so a resumed run skips to where it was.
    """

    def __init__(
        self, sources: Mapping[str, WindowSet], shares: Mapping[str, float], *, batch_tokens: int, seed: int
    ) -> None:
        """`shares` of sources without windows are ignored; the rest is scaled up."""
        self._sources = [(sources[name], share) for name, share in shares.items() if len(sources.get(name, ())) > 0]
        self._batch_tokens = batch_tokens
        self._random = random.Random(seed)
        self._order: list[list[int]] = [[] for _ in self._sources]

    def batches(self, *, skip: int = 0) -> Iterator[Batch]:
        """Batches from number `skip` on."""
        number = 0
        while True:
            for members in self._pool():
                if number >= skip:
                    yield pad_batch([self._sources[source][0].window(index) for source, index in members])
                number += 1

    def _pool(self) -> list[list[tuple[int, int]]]:
        """A few hundred windows, grouped into batches of like length, in random order."""
        weights = [share / (len(windows.token_ids) / len(windows)) for windows, share in self._sources]
        drawn = self._random.choices(range(len(self._sources)), weights, k=_POOL_WINDOWS)
        members = [(source, self._next_window(source)) for source in drawn]
        members.sort(key=lambda member: self._sources[member[0]][0].length(member[1]), reverse=True)
        batches: list[list[tuple[int, int]]] = []
        for member in members:
            width = padded_length(self._sources[batches[-1][0][0]][0].length(batches[-1][0][1])) if batches else 0
            if batches and width * (len(batches[-1]) + 1) <= self._batch_tokens:
                batches[-1].append(member)
            else:
                batches.append([member])
        self._random.shuffle(batches)
        return batches

    def _next_window(self, source: int) -> int:
        if not self._order[source]:
            self._order[source] = self._random.sample(
                range(len(self._sources[source][0])), len(self._sources[source][0])
            )
        return self._order[source].pop()
