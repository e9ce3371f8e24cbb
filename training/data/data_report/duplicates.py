"""Duplicates among conversations: the same letters and digits, or nearly the same ones.

Near duplicates share four fifths of their runs of four characters, estimated by MinHash with banding (Broder 1997;
Leskovec et al., Mining of Massive Datasets, 3.3-3.4): 64 hashes in 16 bands. Groups join duplicates and one customer's
rows: a group must not be torn between splits.
"""

import hashlib
import re

import numpy as np
from numpy.typing import NDArray

_SHINGLE = 4
_MAX_CHARS = 4_000
_NUM_BANDS = 16
_BAND_SIZE = 4
_MIN_SIMILARITY = 0.8
_MAX_COMPARED = 8
"""Earlier texts of a band's bucket that a text is compared with."""
MAX_NEAR_TEXTS = 100_000
"""Different texts among which near duplicates are sought; later ones are compared for equality only."""

_NO_LETTERS = re.compile(r"[\W_]+")
_Signature = NDArray[np.uint64]


class Groups:
    """Rows that belong together (union-find); rows are numbered from 0 in the order in which they are added."""

    def __init__(self) -> None:
        self._parents: list[int] = []

    def add(self) -> int:
        """The number of a new row, alone in its group."""
        self._parents.append(len(self._parents))
        return len(self._parents) - 1

    def join(self, first: int, second: int) -> None:
        """Makes one group of two rows' groups."""
        roots = sorted((self._root(first), self._root(second)))
        self._parents[roots[1]] = roots[0]

    def members(self) -> list[list[int]]:
        """The rows of every group, groups in the order of their first rows."""
        found: dict[int, list[int]] = {}
        for row in range(len(self._parents)):
            found.setdefault(self._root(row), []).append(row)
        return list(found.values())

    def _root(self, row: int) -> int:
        while self._parents[row] != row:
            self._parents[row] = self._parents[self._parents[row]]
            row = self._parents[row]
        return row


class DuplicateFinder:
    """Says of every text whether an earlier one is equal or nearly so, and joins the two rows."""

    def __init__(self, groups: Groups, *, min_similarity: float = _MIN_SIMILARITY) -> None:
        self._min_similarity = min_similarity
        generator = np.random.default_rng(0)
        odd = generator.integers(0, 1 << 63, size=(_NUM_BANDS * _BAND_SIZE, 1), dtype=np.uint64) * 2 + 1
        self._factors = odd.astype(np.uint64)
        self._groups = groups
        self._rows_by_digest: dict[bytes, int] = {}
        self._buckets: dict[int, list[int]] = {}
        self._signatures: dict[int, _Signature] = {}
        self.num_exact = 0
        self.num_near = 0

    def add(self, row: int, text: str) -> None:
        """Compares a row's text with all earlier ones; spacing, punctuation and case do not count."""
        normal = _NO_LETTERS.sub("", text.casefold())
        digest = hashlib.sha256(normal.encode(errors="replace")).digest()[:16]
        earlier = self._rows_by_digest.setdefault(digest, row)
        if earlier != row:
            self.num_exact += 1
            self._groups.join(earlier, row)
        elif len(self._signatures) < MAX_NEAR_TEXTS and normal:
            self._compare(row, self._signature(normal))

    def _compare(self, row: int, signature: _Signature) -> None:
        keys = [hash((band, part.tobytes())) for band, part in enumerate(np.split(signature, _NUM_BANDS))]
        candidates = {earlier for key in keys for earlier in self._buckets.get(key, ())}
        alike = [
            earlier for earlier in candidates if np.mean(self._signatures[earlier] == signature) >= self._min_similarity
        ]
        for earlier in alike:
            self._groups.join(earlier, row)
        self.num_near += bool(alike)
        self._signatures[row] = signature
        for key in keys:
            bucket = self._buckets.setdefault(key, [])
            if len(bucket) < _MAX_COMPARED:
                bucket.append(row)

    def _signature(self, normal: str) -> _Signature:
        """The least of each hash over the text's runs of characters, as [number of hashes]."""
        codes = np.frombuffer(normal[:_MAX_CHARS].encode("utf-32-le", errors="replace"), np.uint32).astype(np.uint64)
        width = min(_SHINGLE, len(codes))
        runs = np.zeros(len(codes) - width + 1, np.uint64)
        for offset in range(width):
            runs = runs * np.uint64(0x9E3779B97F4A7C15) + codes[offset : offset + len(runs)]
        # The upper half of a product with an odd number is a good hash of all bits (Dietzfelbinger et al. 1997).
        hashes = (np.unique(runs) * self._factors) >> np.uint64(32)
        least: _Signature = hashes.min(axis=1)
        return least
