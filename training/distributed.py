"""Several processes that compute one run together: what each of them computes, and what they tell one another.

All have the same weights and know the same batch; each computes its rows, and all hear the sum. So the result depends
on how many there are only through the order in which numbers are added. Who starts them: torchrun, or what sets its
environment. With one process, and inside `alone`, nothing here does anything. Messages are JSON: whoever reaches the
port of a process that unpickles can run code in it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from training.errors import LostProcessError, TooFewRowsError

_STEP_TIMEOUT = timedelta(minutes=30)
"""For what all compute at the same time."""
_STAGE_TIMEOUT = timedelta(days=2)
"""For a stage that the first process does alone. One that has ended is noticed at once; this is for one that hangs."""
_is_alone: ContextVar[bool] = ContextVar("is_alone", default=False)
_waiting: ContextVar[dist.ProcessGroup | None] = ContextVar("waiting", default=None)
T = TypeVar("T")


@contextmanager
def together(num_processes: int) -> Iterator[None]:
    """A region in which this process and its peers are one run; torchrun's environment says where they are.

    Raises LostProcessError when they do not find one another.
    """
    if num_processes == 1:
        yield
        return
    with _named_loss(num_processes):
        dist.init_process_group("gloo", timeout=_STEP_TIMEOUT)
        token = _waiting.set(dist.new_group(timeout=_STAGE_TIMEOUT))
    yield
    # Not after an error: peers learn of it by the connection that closes when this process ends.
    with _named_loss(num_processes):
        dist.barrier()
        _waiting.reset(token)
        dist.destroy_process_group()


@contextmanager
def alone() -> Iterator[None]:
    """A region that one process runs by itself, as if there were no other."""
    token = _is_alone.set(True)
    try:
        yield
    finally:
        _is_alone.reset(token)


def num_processes() -> int:
    """How many share the work."""
    return dist.get_world_size() if dist.is_initialized() and not _is_alone.get() else 1


def is_first() -> bool:
    """Whether this process writes and prints: one does."""
    return not dist.is_initialized() or dist.get_rank() == 0


def own_rows(num_rows: int) -> range:
    """The places, of `num_rows`, that this process computes; none where others have them all."""
    return range(_rank(), num_rows, num_processes())


def own_batch(rows: Sequence[T]) -> list[T]:
    """This process's rows of a batch. Raises TooFewRowsError where there is not one for each process."""
    if len(rows) < num_processes():
        raise TooFewRowsError(num_rows=len(rows), num_processes=num_processes())
    return [rows[place] for place in own_rows(len(rows))]


def gather(own: Sequence[T], num_rows: int) -> list[T]:
    """What all processes made of their `own_rows`, in the rows' order. Values are plain JSON."""
    if num_processes() == 1:
        return list(own)
    gathered: list[Any] = [None] * num_rows
    for place, part in enumerate(_all_messages(list(own))):
        gathered[place :: num_processes()] = part
    return gathered


def total(own: float) -> float:
    """The sum of a number over all processes."""
    return own if num_processes() == 1 else float(sum(_all_messages(own)))


def from_first(value: T) -> T:
    """The first process's value, plain JSON, which the others wait for as long as a stage may take."""
    if num_processes() == 1:
        return value
    message = _encoded(value)
    length = torch.tensor([len(message)])
    with _named_loss(num_processes()):
        dist.broadcast(length, 0, _waiting.get())
        message = message if is_first() else torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(message, 0, _waiting.get())
    return _decoded(message)  # type: ignore[no-any-return]


@torch.no_grad()
def copy_from_first(module: nn.Module) -> None:
    """Gives all processes the first one's weights: different processors round differently."""
    if num_processes() > 1:
        with _named_loss(num_processes()):
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0)


def part_of_mean(own: float, everything: float) -> float:
    """What a mean over this process's rows counts in the mean over all: its share of weight, tokens or rows."""
    return own / everything if everything else 0.0


def backward(loss: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
    """Gradients and value of the sum of all processes' losses; a loss of nothing adds nothing.

    A parameter that no process's loss depends on keeps no gradient, as with one process.
    """
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]
    if num_processes() == 1:
        return loss.detach()
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    has_gradient = torch.tensor([float(parameter.grad is not None) for parameter in trained])
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    flat = torch.cat([loss.detach().float().view(1), has_gradient, *(gradient.flatten() for gradient in gradients)])
    with _named_loss(num_processes()):
        dist.all_reduce(flat)
    summed = torch.split(flat[1 + len(trained) :], [parameter.numel() for parameter in trained])
    for parameter, is_used, gradient in zip(trained, flat[1 : 1 + len(trained)].tolist(), summed, strict=True):
        parameter.grad = gradient.view_as(parameter).clone() if is_used else None
    return flat[0].clone()


class Curves:
    """Curves for TensorBoard, which the first process writes; to be used in a `with`."""

    def __init__(self, directory: Path, purge_step: int | None = None) -> None:
        """From `purge_step` on, what an earlier try wrote is forgotten."""
        self._writer = SummaryWriter(str(directory), purge_step=purge_step) if is_first() else None  # type: ignore[no-untyped-call]

    def __enter__(self) -> "Curves":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()  # type: ignore[no-untyped-call]

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """One point of a curve."""
        if self._writer is not None:
            self._writer.add_scalar(name, value, step)  # type: ignore[no-untyped-call]


def _rank() -> int:
    return dist.get_rank() if num_processes() > 1 else 0


def _all_messages(value: Any) -> list[Any]:
    """Every process's value, by rank."""
    message = _encoded(value)
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(num_processes())]
    with _named_loss(num_processes()):
        dist.all_gather(lengths, torch.tensor([len(message)]))
        longest = int(max(lengths))
        padded = torch.cat([message, torch.zeros(longest - len(message), dtype=torch.uint8)])
        messages = [torch.empty(longest, dtype=torch.uint8) for _ in lengths]
        dist.all_gather(messages, padded)
    return [_decoded(each[: int(length)]) for each, length in zip(messages, lengths, strict=True)]


def _encoded(value: Any) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def _decoded(message: Tensor) -> Any:
    return json.loads(message.numpy().tobytes())


@contextmanager
def _named_loss(of_processes: int) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:  # gloo knows no class of its own
        raise LostProcessError(num_processes=of_processes, problem=str(error).splitlines()[0]) from error
