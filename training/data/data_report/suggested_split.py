"""A split of 90, 5 and 5 per cent in which no group of rows is torn.

Groups stay where they are as far as the shares allow; a group that lies in several splits goes to training as a whole,
since training has seen a part of it. Groups larger than a held-out split go to training, too.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

_HELD_OUT_SHARE = 0.05
_MAX_MOVES = 1_000


class SuggestedSplit(BaseModel):
    """Where every row should go."""

    model_config = ConfigDict(frozen=True)

    num_groups: int
    largest_group: int
    num_torn_groups: int
    """Groups whose rows lie in several splits now: their held-out rows are no fair test."""
    sizes: Mapping[str, int]
    num_moves: int
    moves: Mapping[str, str]
    """Row id → split, of rows that should change; the first thousand."""


def suggest_split(groups: Sequence[Sequence[int]], ids: Sequence[str], splits: Sequence[str | None]) -> SuggestedSplit:
    """The split of rows by their groups; `ids` and present `splits` are by row. The same input gives the same split."""
    found = ["train"] * len(ids)
    quota = round(_HELD_OUT_SHARE * len(ids)) or (1 if len(groups) > 2 else 0)
    now = [frozenset(splits[row] for row in group) for group in groups]
    free = {index for index, present in enumerate(now) if len(present) == 1}
    digests = [hashlib.sha1(ids[group[0]].encode(errors="replace"), usedforsecurity=False).digest() for group in groups]
    for split in ("test", "dev"):
        room = quota
        for index in sorted(free, key=lambda index: (_distance(now[index], split), digests[index])):
            if len(groups[index]) <= room:
                room -= len(groups[index])
                free.discard(index)
                for row in groups[index]:
                    found[row] = split
    moves = {ids[row]: split for row, split in enumerate(found) if split != splits[row]}
    return SuggestedSplit(
        num_groups=len(groups),
        largest_group=max(map(len, groups), default=0),
        num_torn_groups=sum(len(present) > 1 for present in now),
        sizes={split: Counter(found)[split] for split in ("train", "dev", "test")},
        num_moves=sum(split != present for split, present in zip(found, splits, strict=True)),
        moves=dict(list(moves.items())[:_MAX_MOVES]),
    )


def _distance(present: frozenset[str | None], split: str) -> int:
    """Groups of the split itself come first, then those without one, those of training, and others' held-out ones."""
    if split in present:
        return 0
    return 1 if None in present else 2 if "train" in present else 3
