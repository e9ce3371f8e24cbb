"""How much of the machine is free, for a row whose figures are times: beside other work they say nothing."""

import subprocess
import sys
from functools import cache

_NUM_CORES = 2
_MIN_FREE = 1.6
_SPIN = (
    "import time\n"
    "began, busy = time.perf_counter(), time.process_time()\n"
    "while time.perf_counter() < began + 1: pass\n"
    "print((time.process_time() - busy) / (time.perf_counter() - began))"
)


@cache
def free_cores() -> float:
    """Core seconds a second that two busy processes get together: nearly 2 where clients and service find a core each.

    Measured once, before the first row that asks.
    """
    spinners = [subprocess.Popen([sys.executable, "-c", _SPIN], stdout=subprocess.PIPE) for _ in range(_NUM_CORES)]
    return sum(float(spinner.communicate()[0]) for spinner in spinners)


def is_quiet() -> bool:
    """Whether times can be judged."""
    return free_cores() >= _MIN_FREE


def remark() -> str:
    """For a row's measured text: empty on a quiet machine."""
    return "" if is_quiet() else f"; times not judged: {free_cores():.2f} of {_NUM_CORES} cores were free"
