"""Memory that is free is the system's again, wherever it lies."""

import ctypes
import re
import subprocess
import sys
from pathlib import Path

import pytest

from model_store.graphs import return_free_memory

_NUM_BLOCKS, _BLOCK_BYTES = 1000, 100_000
"""Blocks small enough for glibc to keep them in its heap."""
_COUNT_BLOCKS_OF_THEIR_OWN = """
import ctypes, sys
from model_store.graphs import keep_heap_small

class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Mallinfo
if sys.argv[1] == "small":
    keep_heap_small()
large = bytes(20_000_000)
del large
before = mallinfo().hblks
kept = [bytes(1_000_000) for _ in range(10)]
print(mallinfo().hblks - before)
"""


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


@pytest.mark.parametrize(("heap", "num_blocks"), [("small", 10), ("usual", 0)])
def test_in_a_small_heap_a_megabyte_lies_by_itself_also_after_a_larger_block_was_freed(
    heap: str, num_blocks: int
) -> None:
    """What lies by itself is the system's again when it is freed. By itself glibc moves such blocks into its heap."""
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("the C library is not glibc from 2.33 on, which can be asked")
    command = [sys.executable, "-c", _COUNT_BLOCKS_OF_THEIR_OWN, heap]
    counted = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(counted.stdout) == num_blocks
