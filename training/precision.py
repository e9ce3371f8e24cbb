"""In which precision matrices are multiplied: bfloat16 where the processor does it in hardware, else float32.

Without AMX or AVX-512 BF16 it is emulated and costs more than it saves: on an Ice Lake server a training step of the
model that ships is 3.4 times as fast in float32 (`EXPERIMENTS.md`).
"""

import torch


def has_fast_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def fast_matrices() -> torch.autocast:
    """A region whose matrix products run in the faster precision."""
    return torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16())
