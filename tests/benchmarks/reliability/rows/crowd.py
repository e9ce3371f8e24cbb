"""Rows 4 to 7: more people than places, people who leave, an ending, and senders without haste."""

import asyncio
import json
import socket
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.benchmarks.over_http.cores import Cores, running_on
from tests.benchmarks.reliability.finding import Family, Finding, Plan, percentile, verdict
from tests.benchmarks.reliability.machine import is_quiet, remark
from tests.benchmarks.reliability.service_process import ServiceProcess, serving
from tests.benchmarks.reliability.talk import ASKS, CHAT, Heard, body, listen

_SLOTS = 8
_PLACES = 3 * _SLOTS
_MIN_GOODPUT = {4: 0.95, 10: 0.90}
_MAX_FREED_SECONDS = 0.25
_MOST_FINISHED = 0.25
"""Of the choices of those who leave, the share that may end by itself first."""
_STUCK_SECONDS = 30.0
_EXIT_SECONDS = 60.0
"""After the grace period; then it hangs."""
_OPEN = {"key_requests_per_minute": 0}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    is_whole: bool
    seconds: float


async def _ask(port: int, number: int) -> _Answer:
    """One stream over a socket of its own, as cheap for the client as can be: it shares the machine."""
    content = json.dumps(body(ASKS[number % len(ASKS)], max_tokens=64, seed=number)).encode()
    began = time.perf_counter()
    status, data = 0, b""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(_head(len(content)) + content)
            data = await reader.read(-1)
            status = int(data[9:12] or 0)
        finally:
            writer.close()
    except OSError:
        pass
    return _Answer(status, b"data: [DONE]" in data, time.perf_counter() - began)


def _head(length: int) -> bytes:
    return (
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
        f"content-length: {length}\r\n\r\n"
    ).encode()


async def _closed_loop(port: int, seconds: float) -> list[_Answer]:
    """As many clients as there are places, each asking again as soon as it has its answer."""
    deadline, answers = time.perf_counter() + seconds, list[_Answer]()

    async def client(number: int) -> None:
        while time.perf_counter() < deadline:
            answers.append(await _ask(port, number))
            number += _PLACES

    await asyncio.gather(*map(client, range(_PLACES)))
    return answers


async def _open_loop(port: int, per_second: float, seconds: float) -> list[_Answer]:
    """Arrivals at a rate, whatever becomes of those before."""
    began, tasks = time.perf_counter(), list[asyncio.Task[_Answer]]()
    while (now := time.perf_counter() - began) < seconds:
        while len(tasks) < now * per_second:
            tasks.append(asyncio.create_task(_ask(port, len(tasks))))
        await asyncio.sleep(0.002)
    return list(await asyncio.gather(*tasks))


def measure_overload(plan: Plan) -> Sequence[Finding]:
    """Saturation is a closed loop that keeps slots and queue full; then open loops of 4 and 10 times its rate.

    The service has one core and its clients another, in all of them: what clients take for asking ten times as often is
    not the service's loss.
    """
    cores = Cores.apart()
    seconds = float(plan.count(20, 5))
    is_quiet()  # before there is a load of one's own
    with (
        running_on(cores.servers),
        serving(plan.folder / "overload", num_slots=_SLOTS, **_OPEN) as service,
        running_on(cores.clients),
    ):
        asyncio.run(_closed_loop(service.port, seconds / 4))
        began = time.perf_counter()
        full = asyncio.run(_closed_loop(service.port, seconds))
        rate = sum(answer.is_whole for answer in full) / (time.perf_counter() - began)
        memory = service.resident_megabytes
        waits = [answer.seconds for answer in full if answer.is_whole]
        told, figures, holds = [], {"saturation_per_second": round(rate, 2)}, True
        for factor, least in _MIN_GOODPUT.items():
            began = time.perf_counter()
            answers = asyncio.run(_open_loop(service.port, factor * rate, seconds))
            whole = [answer.seconds for answer in answers if answer.is_whole]
            refused = [answer.seconds for answer in answers if answer.status in (429, 503)]
            ratios = {
                "goodput": len(whole) / (time.perf_counter() - began) / rate,
                "accepted_p99": percentile(whole, 0.99) / percentile(waits, 0.99),
                "refusal_p99": percentile(refused, 0.99) / statistics.median(waits),
                "memory": service.resident_megabytes / memory,
            }
            lost = len(answers) - len(whole) - len(refused)
            is_fast = ratios["goodput"] >= least and ratios["accepted_p99"] <= 2 and ratios["refusal_p99"] <= 0.1
            holds = holds and lost == 0 and ratios["memory"] <= 1.25 and (is_fast or not is_quiet())
            figures |= {f"{name}_{factor}x": round(value, 3) for name, value in ratios.items()}
            told.append(f"{factor}×: " + " / ".join(f"{value:.2f}" for value in ratios.values()) + f", {lost} lost")
    required = "goodput ≥ .95/.90, p99 ≤ 2, refusal ≤ .1, memory ≤ 1.25"
    return [
        Finding(4, "overload, open loop", required, "; ".join(told) + remark(),
                verdict(holds=holds, is_whole=is_quiet() and not plan.is_quick), figures)
    ]  # fmt: skip


def measure_leaving(plan: Plan) -> Sequence[Finding]:
    """Who leaves takes all slots (n = 8), so that a step is slow and a reply does not end by itself meanwhile."""
    rounds = plan.count(20, 3)
    is_quiet()  # before there is a load of one's own
    freed: list[float] = []
    num_finished = 0
    with serving(plan.folder / "leaving", num_slots=_SLOTS, **_OPEN) as service:
        for number in range(rounds):
            for state in ("prefill", "decode", "queued"):
                for is_stream in (True, False):
                    freed.append(_leave(service, state, is_stream=is_stream, seed=number))
        # Of each three leavers one waited behind somebody who left as well. Some choices end within the steps before
        # their reader is missed; were nobody missed, all would.
        num_finished = int(service.metric("rejoinder_completions_total"))
    p99 = percentile(freed, 0.99)
    num_stuck = sum(seconds >= _STUCK_SECONDS for seconds in freed)
    is_cut = num_finished < _SLOTS * len(freed) * _MOST_FINISHED
    holds = num_stuck == 0 and is_cut and (p99 <= _MAX_FREED_SECONDS or not is_quiet())
    return [
        Finding(
            5,
            "client disconnects",
            "slot free within 2 steps and 250 ms",
            f"{len(freed)} left in prefill, decode and queue: places free after {1000 * p99:.0f} ms (p99); "
            f"{num_stuck} never, {num_finished} choices of {_SLOTS * len(freed)} ended by themselves first{remark()}",
            verdict(holds=holds, is_whole=is_quiet() and not plan.is_quick),
            {"freed_ms_p99": round(1000 * p99, 1), "stuck": num_stuck, "ended_first": num_finished},
        )
    ]


def _leave(service: ServiceProcess, state: str, *, is_stream: bool, seed: int) -> float:
    """Sends a request, leaves in that state, and gives the seconds until nothing runs or waits of it."""
    request = body(ASKS[seed % len(ASKS)], n=_SLOTS, seed=seed, temperature=1.2)
    other = _send(service, {**request, "stream": True}) if state == "queued" else None
    if other is not None:
        _until(lambda: _num(service, "running") > 0)
    leaver = _send(service, {**request, "stream": is_stream})
    name = "waiting" if state == "queued" else "running"
    _until(lambda: _num(service, name) > 0, seconds=2)
    if state == "decode":
        time.sleep(0.05)
    left_at = time.perf_counter()
    leaver.close()
    _until(lambda: _num(service, name) == 0, seconds=_STUCK_SECONDS)
    seconds = time.perf_counter() - left_at
    if other is not None:
        other.close()
    _until(lambda: _num(service, "running") + _num(service, "waiting") == 0, seconds=30)
    return seconds


def _num(service: ServiceProcess, what: str) -> float:
    return service.metric(f"rejoinder_requests_{what}")


def _until(is_true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.perf_counter() + seconds
    while not is_true() and time.perf_counter() < deadline:
        time.sleep(0.002)


def _send(service: ServiceProcess, request: object) -> socket.socket:
    content = json.dumps(request).encode()
    connection = socket.create_connection(("127.0.0.1", service.port))
    connection.sendall(_head(len(content)) + content)
    return connection


def measure_ending(plan: Plan) -> Sequence[Finding]:
    """SIGTERM under 50 streams: once with time for them to end, once without any."""
    num_streams = plan.count(50, 12)
    is_quiet()  # before there is a load of one's own
    told, endless, holds = [], 0, True
    for grace in (20, 0):
        heard, code, seconds = _end(plan.folder / f"ending-{grace}", grace, num_streams)
        bad = sum(one.num_ends != 1 for one in heard if one.status == 200)
        endless += bad
        holds = holds and bad == 0 and code == 0 and (seconds <= grace + 5 or not is_quiet())
        cut = sum(one.error_code is not None for one in heard)
        told.append(f"grace {grace} s: {len(heard)} streams, {cut} told of the end, {bad} without one, {seconds:.1f} s")
    return [
        Finding(6, "SIGTERM with 50 streams", "0 without terminal event; exit within grace", "; ".join(told) + remark(),
                verdict(holds=holds, is_whole=is_quiet() and not plan.is_quick), {"without_terminal_event": endless})
    ]  # fmt: skip


def _end(folder: Path, grace: int, num_streams: int) -> tuple[list[Heard], int | None, float]:
    """What the streams heard, the exit code, and the seconds from SIGTERM until then."""
    service = ServiceProcess(folder, num_slots=-(-num_streams // 3) + 1, drain_seconds=grace, **_OPEN)
    service.start()
    try:
        with service.client() as client, ThreadPoolExecutor(num_streams) as pool:
            streams = [pool.submit(_listen, client, n) for n in range(num_streams)]
            _until(lambda: _num(service, "running") > 1, seconds=10)
            service.signal()
            began = time.perf_counter()
            code = service.wait(grace + _EXIT_SECONDS)
            return [stream.result() for stream in streams], code, time.perf_counter() - began
    finally:
        service.kill()


def _listen(client: httpx2.Client, number: int) -> Heard:
    """A stream to its end; one that breaks has heard no end."""
    try:
        return listen(client, body(ASKS[number % len(ASKS)], seed=number))
    except httpx2.TransportError:
        return Heard(200)


def measure_slow_senders(plan: Plan) -> Sequence[Finding]:
    """200 connections that send a byte every half second; a customer talks beside them."""
    num_senders, deadline = plan.count(200, 40), 3.0
    settings = {"receive_timeout_seconds": deadline, **_OPEN}
    with serving(plan.folder / "slow", **settings) as service, service.client() as client:
        listen(client, body(max_tokens=16))
        alone = [_timed(client) for _ in range(10)]
        lived: list[float] = []
        senders = [
            threading.Thread(target=_trickle, args=(service.port, n % 2 == 0, lived)) for n in range(num_senders)
        ]
        for sender in senders:
            sender.start()
        beside = [_timed(client) for _ in range(10)]
        for sender in senders:
            sender.join()
    ratio = statistics.median(beside) / statistics.median(alone)
    longest = max(lived)
    holds = len(lived) == num_senders and longest <= deadline + 3 and ratio <= 3
    return [
        Finding(
            7,
            "slow senders, 200",
            f"cut by the deadline ({deadline:.0f} s); others unaffected",
            f"{len(lived)} cut, the last after {longest:.1f} s; a customer beside them waits {ratio:.2f}× as long",
            verdict(holds=holds, is_whole=not plan.is_quick),
            {"longest_seconds": round(longest, 2), "ratio_beside": round(ratio, 2)},
        )
    ]


def _timed(client: httpx2.Client) -> float:
    began = time.perf_counter()
    heard = listen(client, body(max_tokens=16))
    assert heard.is_whole, heard.error_code
    return time.perf_counter() - began


def _trickle(port: int, in_headers: bool, lived: list[float]) -> None:
    began = time.perf_counter()
    beginning = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nx-slow: ".encode() if in_headers else _head(500) + b"{"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(0.5)
        connection.sendall(beginning)
        while time.perf_counter() - began < 30:
            try:
                connection.sendall(b"x")
                if not connection.recv(4096):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    lived.append(time.perf_counter() - began)


FAMILIES = (
    Family((4,), "more people than places", measure_overload),
    Family((5,), "people who leave", measure_leaving),
    Family((6,), "an ending under 50 streams", measure_ending),
    Family((7,), "senders without haste", measure_slow_senders),
)
