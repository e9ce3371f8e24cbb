"""bfloat16 is used where the processor has it, and nowhere else."""

import pytest
import torch

from training import precision


@pytest.mark.parametrize(("has_amx", "has_avx512"), [(False, False), (True, False), (False, True)])
def test_matrices_are_multiplied_in_bfloat16_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, has_amx: bool, has_avx512: bool
) -> None:
    """Either instruction set will do; without both, products stay in float32."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_avx512)
    with precision.fast_matrices():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if has_amx or has_avx512 else torch.float32)


def test_a_run_can_be_kept_to_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor that has bfloat16 too, as long as the region lasts."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    products = []
    for wish in ("float32", "fastest"):
        with precision.kept_to(wish), precision.fast_matrices():
            products.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
    assert products == [torch.float32, torch.bfloat16]
