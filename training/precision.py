"""In which precision matrices are multiplied: bfloat16 where the processor does it in hardware, else float32.

Without AMX or AVX-512 BF16 it is emulated and costs more than it saves: on an Ice Lake server a training step of the
model that ships is 3.4 times as fast in float32 (`EXPERIMENTS.md`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_is_float32_kept: ContextVar[bool] = ContextVar("is_float32_kept", default=False)


def has_fast_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def fast_matrices() -> torch.autocast:
    """A region whose matrix products run in the faster precision."""
    is_fast = has_fast_bfloat16() and not _is_float32_kept.get()
    return torch.autocast("cpu", torch.bfloat16, enabled=is_fast)


@contextmanager
def kept_to(precision: str) -> Iterator[None]:
    """A region in which "float32" keeps `fast_matrices` from bfloat16; "fastest" leaves it to the processor."""
    token = _is_float32_kept.set(precision == "float32")
    try:
        yield
    finally:
        _is_float32_kept.reset(token)
