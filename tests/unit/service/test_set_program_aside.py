"""What the garbage collector has to look at while people are served."""

import subprocess
import sys

_COUNT_WHAT_IS_LOOKED_AT = """
import gc, weakref
import service.cli
from service.http_server import set_program_aside

class Version:
    pass

def open_version():
    version = Version()
    version.engine = [version]
    return weakref.ref(version)

gc.disable()
before_start = open_version()
num_before = len(gc.get_objects())
set_program_aside()
served = open_version()
print(num_before, gc.get_freeze_count(), len(gc.get_objects()), before_start() is None, served() is None, end=" ")
gc.collect()
print(served() is None)
"""


def test_the_program_is_set_aside_and_what_comes_later_is_still_freed() -> None:
    """In a process of its own, since it is for the whole process: garbage from before goes first, a cycle later too."""
    command = [sys.executable, "-c", _COUNT_WHAT_IS_LOOKED_AT]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    *counts, was_freed_before, is_freed_at_once, is_freed_by_collection = done.stdout.split()
    num_before, num_aside, num_left = map(int, counts)
    assert num_aside > 0.8 * num_before and num_left < 0.05 * num_before
    assert (was_freed_before, is_freed_at_once, is_freed_by_collection) == ("True", "False", "True")
