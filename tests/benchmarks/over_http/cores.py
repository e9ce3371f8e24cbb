"""Which cores servers and their clients run on, and what CPU time each takes.

A client that shares its server's core takes time that no server would lose to it elsewhere. So they are kept apart
where there are two cores, and compared by CPU time in any case.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cores:
    """Cores for the servers and the bare engine, which never run at the same time, and for the clients."""

    servers: frozenset[int]
    clients: frozenset[int]

    @classmethod
    def apart(cls) -> "Cores":
        """The first core that may be used for servers, the others for clients; the same where there is only one."""
        first, *others = sorted(os.sched_getaffinity(0))
        return cls(frozenset({first}), frozenset(others or {first}))

    def __str__(self) -> str:
        servers, clients = (", ".join(map(str, sorted(cores))) for cores in (self.servers, self.clients))
        if self.servers == self.clients:
            return f"servers, bare engine and clients share core {servers}: tokens/s hold the clients' work too"
        return f"servers and bare engine on core {servers}, clients on {clients}"


@contextmanager
def running_on(cores: frozenset[int]) -> Iterator[None]:
    """Keeps this thread, and the processes that it starts, on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds_of(pid: int) -> float:
    """CPU time that a process has taken, all its threads together."""
    # Linux: what clock_getcpuclockid(3) gives. /proc counts in hundredths of a second.
    return time.clock_gettime((~pid << 3) | 2)
