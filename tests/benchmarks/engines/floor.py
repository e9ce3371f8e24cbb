"""The floor under a decoded token: every 8-bit weight read once and multiplied, and nothing else (`gemv.c`).

No attention, no norms, no sampling, no Python between the matrices. Compiled here with the system's C compiler, which
makes it VNNI instructions on processors that have them.
"""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np

from tests.benchmarks.engines.contender import Contender, NotInstalledError, Timing, now, since
from tests.benchmarks.engines.shapes import Shape, matrix_sizes, num_weights

NAME = "floor: int8 GEMV"
_SOURCE = Path(__file__).with_name("gemv.c")
_FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")
_VECTOR_BYTES = 64


class FloorRunner:
    """One pass over the weights a step."""

    def __init__(self, shape: Shape, folder: Path) -> None:
        sizes = matrix_sizes(shape.architecture)
        random = np.random.default_rng(0)
        self._weights = random.integers(-127, 128, num_weights(sizes) + _VECTOR_BYTES, np.int8)
        self._input = random.integers(0, 256, max(inputs for _, inputs in sizes) + _VECTOR_BYTES, np.uint8)
        self._output = np.zeros(max(outputs for outputs, _ in sizes), np.int32)
        self._sizes = np.array(sizes, np.int64)
        self._multiply = _compiled(folder).gemv_all

    def start(self, num_streams: int, context: int) -> None:
        """Nothing to read."""

    def decode(self, num_steps: int) -> Timing:
        """The same matrices every time, as in decoding: what fits into a cache stays there."""
        arrays = (self._weights, self._input, self._output, self._sizes)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
        num_matrices = ctypes.c_long(len(self._sizes))
        started = now()
        for _ in range(num_steps):
            self._multiply(*pointers, num_matrices)
        return since(started, num_steps)

    def prefill(self, length: int, seed: int) -> Timing:
        """Not defined: a prompt is bound by arithmetic, not by reading weights."""
        raise NotImplementedError

    def product(self, row: int) -> tuple[int, int]:
        """Output `row` of the last matrix, and what it should be."""
        columns = int(self._sizes[-1][1])
        last = self._weights[num_weights([(int(n), int(k)) for n, k in self._sizes[:-1]]) :]
        expected = last[row * columns :][:columns].astype(np.int64) @ self._input[:columns].astype(np.int64)
        return int(self._output[row]), int(expected)

    def close(self) -> None:
        """Nothing to free."""


def _compiled(folder: Path) -> ctypes.CDLL:
    """Raises NotInstalledError where there is no C compiler or it fails."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise NotInstalledError("a C compiler (`cc`)")
    library = folder / "gemv.so"
    built = subprocess.run(
        [compiler, *_FLAGS, "-o", str(library), str(_SOURCE)], capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        raise NotInstalledError(f"a C compiler that takes {' '.join(_FLAGS)}: {built.stderr.strip()[-200:]}")
    return ctypes.CDLL(str(library))


CONTENDER = Contender(
    NAME,
    "all matrices' weights as int8, read once a token by a C loop (VNNI where there is any)",
    FloorRunner,
    1.0,
    1,
    False,
)
