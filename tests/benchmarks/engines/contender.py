"""What every contender offers, and how a piece of its work is timed.

A generation that cannot be stopped between two tokens is run in a thread of its own (`PacedRun`), so that its prompt is
read once and it takes turns like the others.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.benchmarks.engines.shapes import Shape


class NotInstalledError(Exception):
    """A contender that cannot run here; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long some tokens took: by the clock, and by the CPU time of the thread that made them."""

    num_tokens: int
    wall_seconds: float
    cpu_seconds: float


class Runner(Protocol):
    """One contender with one network loaded."""

    def start(self, num_streams: int, context: int) -> None:
        """Reads a prompt of `context` tokens for each stream; ends what was running."""

    def decode(self, num_steps: int) -> Timing:
        """Makes the next `num_steps` tokens of every stream, most probable ones."""

    def prefill(self, length: int, seed: int) -> Timing:
        """Reads a prompt up to its next token; ends what was running."""

    def close(self) -> None:
        """Lets go of the memory."""


@dataclass(frozen=True)
class Contender:
    """A way to run the network."""

    name: str
    what: str
    """One sentence for the report."""
    open: Callable[[Shape, Path], Runner]
    """Loads a shape, with a folder for files. Raises NotInstalledError."""
    step_share: float = 1.0
    """Share of the steps that it makes: slow ones make fewer, at the same contexts."""
    max_streams: int = 1 << 30
    can_prefill: bool = True


def now() -> tuple[float, float]:
    """Wall clock and this thread's CPU time, in seconds."""
    return time.perf_counter(), time.thread_time()


def since(start: tuple[float, float], num_tokens: int) -> Timing:
    """The time from `start`, by `now`, in the same thread."""
    wall, cpu = now()
    return Timing(num_tokens, wall - start[0], cpu - start[1])


class _StoppedError(Exception):
    """Ends a generation from within."""


class PacedRun:
    """A generation that makes as many steps as it is told to and then waits.

    `generate` gets a function that it has to call once before every step, from one thread.
    """

    def __init__(self, generate: Callable[[Callable[[], None]], None]) -> None:
        self._generate = generate
        self._wanted = threading.Semaphore(0)
        self._made = threading.Semaphore(0)
        self._marks: list[tuple[float, float]] = []
        self._error: Exception | None = None
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.opening = self._turn(1, num_tokens=1)
        """From the beginning to the first step: how long the prompts took."""

    def steps(self, number: int, tokens_a_step: int) -> Timing:
        """Makes `number` more steps. Raises what the generation raised, RuntimeError where it ended by itself."""
        return self._turn(number, num_tokens=number * tokens_a_step)

    def stop(self) -> None:
        """Ends the generation; it must not be used any more."""
        self._is_stopped = True
        self._wanted.release()
        self._thread.join()

    def _turn(self, number: int, *, num_tokens: int) -> Timing:
        """The time is taken between the calls in the generation's own thread, so waiting does not count."""
        self._marks.clear()
        self._wanted.release(number)
        self._made.acquire()
        if self._error is not None:
            raise self._error
        (first_wall, first_cpu), (last_wall, last_cpu) = self._marks[0], self._marks[-1]
        return Timing(num_tokens, last_wall - first_wall, last_cpu - first_cpu)

    def _run(self) -> None:
        try:
            self._wait()
            self._generate(self._mark)
            self._error = RuntimeError("the generation ended before it was told to")
        except _StoppedError:
            return
        except Exception as error:
            self._error = error
        self._made.release()

    def _mark(self) -> None:
        self._marks.append(now())
        if not self._wanted.acquire(blocking=False):
            self._made.release()
            self._wait()

    def _wait(self) -> None:
        self._wanted.acquire()
        if self._is_stopped:
            raise _StoppedError
        self._marks.append(now())


class PacedRunner:
    """A runner whose generation is stopped between two tokens; how it generates is `_generate`."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._num_streams = 0
        self._run: PacedRun | None = None

    def start(self, num_streams: int, context: int) -> None:
        """Begins to generate from `num_streams` prompts of `context` tokens."""
        self._begin([self._shape.prompt(context, seed=stream) for stream in range(num_streams)])

    def decode(self, num_steps: int) -> Timing:
        """Goes on generating."""
        assert self._run is not None
        return self._run.steps(num_steps, self._num_streams)

    def prefill(self, length: int, seed: int) -> Timing:
        """Up to the first token."""
        opening = self._begin([self._shape.prompt(length, seed)]).opening
        return Timing(length, opening.wall_seconds, opening.cpu_seconds)

    def close(self) -> None:
        """Ends the generation."""
        if self._run is not None:
            self._run.stop()

    def _begin(self, prompts: list[tuple[int, ...]]) -> PacedRun:
        self.close()
        self._num_streams = len(prompts)
        self._run = PacedRun(lambda mark: self._generate(prompts, mark))
        return self._run

    def _generate(self, prompts: list[tuple[int, ...]], mark: Callable[[], None]) -> None:
        """Generates for all prompts together, most probable tokens; calls `mark` before every step."""
        raise NotImplementedError
