"""Memory that is free is the system's again, wherever it lies."""

import ctypes
import re
from pathlib import Path

import pytest

from model_store.graphs import return_free_memory

_NUM_BLOCKS, _BLOCK_BYTES = 1000, 100_000
"""Blocks small enough for glibc to keep them in its heap."""


def _resident_megabytes() -> float:
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return int(found.group(1)) / 1024


def test_free_memory_between_what_is_in_use_is_given_back() -> None:
    """A block in use above 100 MB of free ones keeps glibc from giving them back by itself."""
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("the C library is not glibc, which has to be told")
    blocks = [b"x" * _BLOCK_BYTES for _ in range(_NUM_BLOCKS)]
    blocks = blocks[-1:]
    before = _resident_megabytes()
    return_free_memory()
    assert before - _resident_megabytes() > 60
    assert len(blocks) == 1
