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
    plan_probabilities: np.ndarray | None = None
    """[num plans]: a teacher's opinion of the plan, for a customer's message that is nobody's."""
    plan_is_given: bool = False
    """Whether the plan is there to be worded, not to be learned: it does not follow from the messages."""


class Window(NamedTuple):
    """`token_ids` and `kinds` [S], and a teacher's opinion of the plan that comes next [num plans] or None."""

    token_ids: np.ndarray
    kinds: np.ndarray
    plan_probabilities: np.ndarray | None


@dataclass(frozen=True)
class WindowSet:
    """Windows of one source, end to end: `token_ids` [N], `kinds` [N], and where each window starts [W + 1].

    `plan_probabilities` [K, num plans] float16 are a teacher's; `teacher_rows` [W] int32 says which row is a
    window's, -1 none.
    """

    token_ids: np.ndarray
    kinds: np.ndarray
    offsets: np.ndarray
    plan_probabilities: np.ndarray
    teacher_rows: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def length(self, index: int) -> int:
        """Tokens of one window."""
        return int(self.offsets[index + 1] - self.offsets[index])

    def window(self, index: int) -> Window:
        """One window."""
        part = slice(self.offsets[index], self.offsets[index + 1])
        row = int(self.teacher_rows[index])
        return Window(self.token_ids[part], self.kinds[part], self.plan_probabilities[row] if row >= 0 else None)

    def save(self, path: Path) -> None:
        """Writes an .npz file."""
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "WindowSet":
        """Reads an .npz file."""
        with np.load(path) as data:
            return cls(**data)


def cut_windows(conversations: Iterable[PlannedConversation], tokenizer: Tokenizer, max_tokens: int) -> WindowSet:
    """Windows of whole messages, each at most `max_tokens` long; a longer message is cut at its end."""
    cutter = _WindowCutter(tokenizer, max_tokens)
    for conversation in conversations:
        cutter.add(conversation)
    taught = cutter.plan_probabilities
    return WindowSet(
        np.array(cutter.token_ids, np.uint16),
        np.array(cutter.kinds, np.uint8),
        np.array(cutter.offsets, np.int64),
        np.stack(taught).astype(np.float16) if taught else np.zeros((0, 0), np.float16),
        np.array(cutter.teacher_rows, np.int32),
    )


class _WindowCutter:
    """The windows so far, and the one that is open."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self.token_ids: list[int] = []
        self.kinds: list[int] = []
        self.offsets = [0]
        self.plan_probabilities: list[np.ndarray] = []
        self.teacher_rows: list[int] = []

    def add(self, conversation: PlannedConversation) -> None:
        """Cuts one conversation; a plan and a teacher's opinion belong to its last window."""
        *earlier, last = conversation.messages
        for message in earlier:
            self._append(_message_tokens(message, None, self._tokenizer))
        if conversation.plan_probabilities is None:
            ids, kinds = _message_tokens(last, conversation.plan, self._tokenizer)
            if conversation.plan_is_given:
                kinds = [STRUCTURE if kind == PLAN else kind for kind in kinds]
            self._append((ids, kinds))
        else:
            self._append(_opening_tokens(last, self._tokenizer, self._max_tokens - 1))
        self._close(conversation.plan_probabilities)

    def _append(self, tokens: tuple[list[int], list[int]]) -> None:
        ids, kinds = (part[: self._max_tokens - 1] for part in tokens)
        start = self.offsets[-1]
        if len(self.token_ids) > start and len(self.token_ids) - start + len(ids) > self._max_tokens:
            self._close()
        if len(self.token_ids) == self.offsets[-1]:
            self.token_ids.append(BOS_ID)
            self.kinds.append(STRUCTURE)
        self.token_ids += ids
        self.kinds += kinds

    def _close(self, plan_probabilities: np.ndarray | None = None) -> None:
        """Keeps the open window if there is something to learn from it."""
        start = self.offsets[-1]
        if plan_probabilities is None and max(self.kinds[start:], default=STRUCTURE) < SPEAKER:
            del self.token_ids[start:], self.kinds[start:]
            return
        self.offsets.append(len(self.token_ids))
        self.teacher_rows.append(-1 if plan_probabilities is None else len(self.plan_probabilities))
        if plan_probabilities is not None:
            self.plan_probabilities.append(plan_probabilities)


def _message_tokens(message: Message, plan: str | None, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Ids and kinds of a message; a customer's with a plan ends with the plan."""
    is_open = message.role is Role.USER and plan is not None
    rendered = render([message], tokenizer, for_completion=is_open, plan=plan)
    kind = SPEAKER if message.role is Role.ASSISTANT else LISTENER
    kinds = [STRUCTURE if speaker is None else kind for speaker in rendered.speakers]
    if (plan_id := tokenizer.plans.get(plan or "")) is not None:
        kinds[rendered.token_ids.index(plan_id)] = PLAN
    return list(rendered.token_ids[1:]), kinds[1:]


def _opening_tokens(message: Message, tokenizer: Tokenizer, max_tokens: int) -> tuple[list[int], list[int]]:
    """A message whose words nobody said, up to where the reply opens: nothing to predict but the plan."""
    rendered = render([message], tokenizer, for_completion=True).token_ids[1:]
    closing = len(render([Message(Role.USER, "")], tokenizer, for_completion=True).token_ids) - 1
    ids = [*rendered[: max_tokens - closing], *rendered[max(max_tokens, len(rendered)) - closing :]]
    return ids, [STRUCTURE] * len(ids)


@dataclass(frozen=True)
class Batch:
    """Right-padded windows: `token_ids` [B, S] int64 and `kinds` [B, S] uint8.

    `plan_probabilities` [M, num plans] float32 are a teacher's for the reply that opens after position `openings` [M]
    of rows `teacher_rows` [M].
    """

    token_ids: Tensor
    kinds: Tensor
    plan_probabilities: Tensor
    teacher_rows: Tensor
    openings: Tensor


def padded_length(length: int) -> int:
    """Lengths that batches are padded to: multiples of 16 up to 64, of 64 above (the local chunk)."""
    step = 16 if length <= 64 else 64
    return (length + step - 1) // step * step


def pad_batch(windows: Sequence[Window]) -> Batch:
    """Windows as one right-padded batch."""
    width = padded_length(max(len(window.token_ids) for window in windows))
    token_ids = torch.full((len(windows), width), PAD_ID, dtype=torch.long)
    kinds = torch.zeros((len(windows), width), dtype=torch.uint8)
    for row, window in enumerate(windows):
        token_ids[row, : len(window.token_ids)] = torch.from_numpy(window.token_ids.astype(np.int64))
        kinds[row, : len(window.kinds)] = torch.from_numpy(window.kinds)
    taught = [
        (row, len(window.kinds) - 1, torch.from_numpy(window.plan_probabilities.astype(np.float32)))
        for row, window in enumerate(windows)
        if window.plan_probabilities is not None
    ]
    rows, openings = ([entry[part] for entry in taught] for part in (0, 1))
    probabilities = torch.stack([entry[2] for entry in taught]) if taught else torch.zeros(0, 0)
    return Batch(token_ids, kinds, probabilities, torch.tensor(rows).long(), torch.tensor(openings).long())


def tempered_shares(
    sources: Mapping[str, WindowSet], shares: Mapping[str, float], temperature: float | None
) -> dict[str, float]:
    """Shares times tokens to the power 1 / temperature, adding up to 1; as given without a temperature.

    So large sources stay larger without drowning small ones (Devlin et al. 2019, multilingual BERT; Arivazhagan et al.
    1907.05019). Sources without windows are left out.
    """
    if temperature is None:
        return dict(shares)
    sizes = {name: len(sources[name].token_ids) for name in shares if len(sources.get(name, ())) > 0}
    weights = {name: shares[name] * size ** (1 / temperature) for name, size in sizes.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


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
