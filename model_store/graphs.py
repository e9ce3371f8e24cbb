"""Opening an ONNX graph for CPUs: how many threads, and what onnxruntime raises for a file that it cannot run; and what
is to be done after closing one.

The one place that imports onnxruntime: whoever needs more of it takes `ort` from here.
"""

import ctypes
import os
from pathlib import Path

# Its builds for Linux from 1.29 on tell Microsoft of each process and model and keep an identifier on disk. It looks
# for this once, when it is imported; `ort.disable_telemetry_events()` comes too late.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

__all__ = ["GRAPH_ERRORS", "keep_heap_small", "open_graph", "ort", "return_free_memory"]

# <malloc.h>
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_MMAP_BYTES = 128 * 1024
"""glibc's own, as long as it has not raised it: setting it keeps it from doing so."""
_NUM_ARENAS = 2

GRAPH_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.ModelLoadCanceled,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


def open_graph(path: Path, num_threads: int) -> ort.InferenceSession:
    """A session whose threads sleep while they wait. Raises one of GRAPH_ERRORS, which share no root of their own."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def keep_heap_small() -> None:
    """Keeps glibc from holding on to more with each version that comes and goes; for a process's start.

    By itself it takes an arena for almost every thread and, once a large block was freed, blocks of up to 32 MiB into
    its heap, where others soon lie between them (mallopt(3)). Does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _NUM_ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)


def return_free_memory() -> None:
    """Gives the system back what closed graphs have left; does nothing where the C library is not glibc.

    By itself glibc keeps pages between others that are in use: each version that is taken up would leave some.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
