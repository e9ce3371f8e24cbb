"""Dropout by bytes: its share, its scale, its repeatability."""

import torch

from training.reformer.dropout import dropout


def test_about_the_given_share_is_dropped_and_the_rest_keeps_the_mean() -> None:
    """100,001 ones, a tenth of them zero; what is left is scaled so that the mean stays one."""
    torch.manual_seed(3)
    dropped = dropout(torch.ones(100_001), 0.1, training=True)
    is_zero = dropped == 0
    assert abs(float(is_zero.float().mean()) - 0.1) < 0.005
    assert abs(float(dropped.mean()) - 1) < 0.01
    assert len(dropped[~is_zero].unique()) == 1


def test_every_byte_of_a_word_decides_alike() -> None:
    """No position in the eight bytes of a random word drops more often than another."""
    torch.manual_seed(4)
    shares = (dropout(torch.ones(80_000, 8), 0.5, training=True) == 0).float().mean(0)
    assert float((shares - 0.5).abs().max()) < 0.01


def test_the_same_seed_drops_the_same_and_gradients_follow_the_mask() -> None:
    """A resumed run repeats; what was dropped has no gradient."""
    values = torch.ones(1000, requires_grad=True)
    torch.manual_seed(5)
    first = dropout(values, 0.3, training=True)
    torch.manual_seed(5)
    assert torch.equal(first, dropout(values, 0.3, training=True))
    first.sum().backward()
    assert values.grad is not None and torch.equal(values.grad, first.detach())


def test_nothing_is_dropped_outside_training() -> None:
    """The very same tensor comes back."""
    values = torch.ones(8)
    assert dropout(values, 0.5, training=False) is values
