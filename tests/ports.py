"""Ports for the servers that tests start."""

import itertools
import os
import random
import socket
from collections.abc import Iterator

_PORTS_A_WORKER = 1500
# Below those that the kernel gives out: none is taken between the moment it is found free and the server's start.
_FIRST_PORT = 20_000


def _ports_in_turn() -> Iterator[int]:
    """Ports that no other worker of pytest-xdist looks at, from any one on: another run of the tests has another."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
    ports = list(range(_FIRST_PORT + worker * _PORTS_A_WORKER, _FIRST_PORT + (worker + 1) * _PORTS_A_WORKER))
    start = random.SystemRandom().randrange(_PORTS_A_WORKER)
    return itertools.cycle(ports[start:] + ports[:start])


_ports = _ports_in_turn()


def free_port() -> int:
    """A TCP port of this machine that nobody has now, and none that was given lately. Raises OSError without any."""
    for port in itertools.islice(_ports, _PORTS_A_WORKER):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a closed one may linger
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")
