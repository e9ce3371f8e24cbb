"""Replies that a bundle knows: the authored ones as token ids. Serving keeps to their phrases, and guesses by them.

A file of its own in the bundle, beside the network; bundles without it serve as well, only not as fast at first. Which
of them have their time in a conversation stands in a second one, and what a customer must have said for some of them in
a third (`reply_fit`).
"""

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from model_store.contract.control_tokens import EOS_ID

REPLIES_NAME = "replies.npy.gz"
ORDER_NAME = "reply_order.npy.gz"
OLDER_NAMES = {REPLIES_NAME: "replies.npy", ORDER_NAME: "reply_order.npy"}
"""Where bundles hold them that were made before they were compressed."""
CONDITIONS_NAME = "reply_conditions.json.gz"
MAX_TOKENS = 700_000
"""One to three megabytes; further replies are left out."""
PERSON_PLAN = "human_agent"
"""The intent of who asks for a person, in every authored pack; a reply's plan when it offers one."""
AFTER_ITS_PLAN = -1
"""In place of a reply: whichever had the same plan, earlier in the conversation."""
AFTER_ANY = -2
"""In place of a reply: any."""

Order = Sequence[tuple[int, int]]
"""(reply, the one that it follows), by their numbers. A reply that follows something is said nowhere else, one that
follows nothing fits anywhere."""

Conditions = Mapping[int, tuple[str, ...]]
"""What a customer must have said, by the number of the reply: one of these (`reply_fit`). No entry: anything."""

_MAX_CONDITION_BYTES = 6 * 2**20
_MAX_ARRAY_BYTES = 8 * MAX_TOKENS + 4096
_CONDITIONS = TypeAdapter(dict[int, tuple[str, ...]])


def save_replies(
    directory: Path, replies: Iterable[tuple[int, ...]], order: Order = (), conditions: Conditions | None = None
) -> None:
    """Writes replies, each with its plan in front and the end of sequence at its end: [tokens], 16 bits if they do.

    What does not fit any more is left out, in the order and the conditions as well.
    """
    kept: list[int] = []
    numbers = {AFTER_ITS_PLAN: AFTER_ITS_PLAN, AFTER_ANY: AFTER_ANY}
    """Of the replies that are kept: theirs before, theirs now."""
    for number, reply in enumerate(replies):
        if len(kept) + len(reply) <= MAX_TOKENS:
            numbers[number] = len(numbers) - 2
            kept += reply
    token_ids = np.asarray(kept, np.int32)
    fits = token_ids.max(initial=0) <= np.iinfo(np.uint16).max
    _save_array(directory / REPLIES_NAME, token_ids.astype(np.uint16) if fits else token_ids)
    if known := sorted({(numbers[pair[0]], numbers[pair[1]]) for pair in order if numbers.keys() >= set(pair)}):
        _save_array(directory / ORDER_NAME, np.asarray(known, np.int32))
    if fitting := {numbers[reply]: when for reply, when in (conditions or {}).items() if reply in numbers}:
        text = json.dumps(fitting, ensure_ascii=False, sort_keys=True)
        (directory / CONDITIONS_NAME).write_bytes(gzip.compress(text.encode(), mtime=0))


def load_replies(directory: Path, vocab_size: int) -> Iterator[tuple[int, ...]]:
    """The replies of a bundle, in their order; none where it has no such file.

    Raises ValueError for a file that is no such array, and for tokens beyond the vocabulary.
    """
    token_ids = _load_array(directory, REPLIES_NAME)
    if token_ids is None:
        return
    if token_ids.dtype not in (np.uint16, np.int32) or token_ids.ndim != 1 or len(token_ids) > MAX_TOKENS:
        raise ValueError(f"{REPLIES_NAME} is not one row of at most {MAX_TOKENS} token ids")
    if len(token_ids) and not 0 <= token_ids.min() <= token_ids.max() < vocab_size:
        raise ValueError(f"{REPLIES_NAME} holds tokens that the vocabulary of {vocab_size} does not")
    start = 0
    for end in np.flatnonzero(token_ids == EOS_ID) + 1:
        yield tuple(token_ids[start:end].tolist())
        start = int(end)


def load_order(directory: Path, num_replies: int) -> tuple[tuple[int, int], ...]:
    """Which reply of a bundle with `num_replies` follows which; nothing where it has no such file.

    Raises ValueError for a file that is no such array, and for replies that there are not.
    """
    order = _load_array(directory, ORDER_NAME)
    if order is None:
        return ()
    if order.dtype != np.int32 or order.ndim != 2 or order.shape[1] != 2 or len(order) > MAX_TOKENS:
        raise ValueError(f"{ORDER_NAME} is no table of pairs of replies")
    after = order[:, 1]
    if len(order) and not (0 <= order[:, 0].min() and AFTER_ANY <= after.min() and order.max() < num_replies):
        raise ValueError(f"{ORDER_NAME} names replies beyond the {num_replies} that there are")
    return tuple((int(reply), int(before)) for reply, before in order)


def _save_array(path: Path, array: NDArray[np.generic]) -> None:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    path.write_bytes(gzip.compress(stream.getvalue(), mtime=0))


def _load_array(directory: Path, name: str) -> NDArray[Any] | None:
    """None where a bundle has no such file. Raises ValueError for one that holds no array, or too large a one."""
    path = directory / name
    if not path.exists():
        path = directory / OLDER_NAMES[name]
        if not path.exists():
            return None
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            data = stream.read(_MAX_ARRAY_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} is not compressed as it should be: {error}") from None
    if len(data) > _MAX_ARRAY_BYTES:
        raise ValueError(f"{path.name} holds more than {_MAX_ARRAY_BYTES} bytes")
    array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return array


def load_conditions(directory: Path, num_replies: int) -> Conditions:
    """What must have been said for a bundle's replies; nothing where it has no such file.

    Raises ValueError for a file that is no such object, and for replies that there are not.
    """
    path = directory / CONDITIONS_NAME
    if not path.exists():
        return {}
    try:
        with gzip.open(path) as stream:
            data = stream.read(_MAX_CONDITION_BYTES + 1)
        conditions = _CONDITIONS.validate_json(data)
    except (OSError, EOFError, zlib.error, ValidationError):
        raise ValueError(f"{CONDITIONS_NAME} is no object of lists of texts by the numbers of replies") from None
    if len(data) > _MAX_CONDITION_BYTES:
        raise ValueError(f"{CONDITIONS_NAME} holds more than {_MAX_CONDITION_BYTES} bytes")
    if conditions and not 0 <= min(conditions) <= max(conditions) < num_replies:
        raise ValueError(f"{CONDITIONS_NAME} names replies beyond the {num_replies} that there are")
    return conditions
