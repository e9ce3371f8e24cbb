"""Replies that a bundle knows: the authored ones as token ids. Serving keeps to their phrases, and guesses by them.

A file of its own in the bundle, beside the network; bundles without it serve as well, only not as fast at first.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from model_store.contract.control_tokens import EOS_ID

REPLIES_NAME = "replies.npy"
MAX_TOKENS = 500_000
"""One or two megabytes; further replies are left out."""


def save_replies(directory: Path, replies: Iterable[tuple[int, ...]]) -> None:
    """Writes replies, each with its plan in front and the end of sequence at its end: [tokens], 16 bits if they do."""
    kept: list[int] = []
    for reply in replies:
        if len(kept) + len(reply) <= MAX_TOKENS:
            kept += reply
    token_ids = np.asarray(kept, np.int32)
    fits = token_ids.max(initial=0) <= np.iinfo(np.uint16).max
    np.save(directory / REPLIES_NAME, token_ids.astype(np.uint16) if fits else token_ids, allow_pickle=False)


def load_replies(directory: Path, vocab_size: int) -> Iterator[tuple[int, ...]]:
    """The replies of a bundle, in their order; none where it has no such file.

    Raises ValueError for a file that is no such array, and for tokens beyond the vocabulary.
    """
    path = directory / REPLIES_NAME
    if not path.exists():
        return
    with path.open("rb") as stream:
        token_ids = np.lib.format.read_array(stream, allow_pickle=False)
    if token_ids.dtype not in (np.uint16, np.int32) or token_ids.ndim != 1 or len(token_ids) > MAX_TOKENS:
        raise ValueError(f"{REPLIES_NAME} is not one row of at most {MAX_TOKENS} token ids")
    if len(token_ids) and not 0 <= token_ids.min() <= token_ids.max() < vocab_size:
        raise ValueError(f"{REPLIES_NAME} holds tokens that the vocabulary of {vocab_size} does not")
    start = 0
    for end in np.flatnonzero(token_ids == EOS_ID) + 1:
        yield tuple(token_ids[start:end].tolist())
        start = int(end)
