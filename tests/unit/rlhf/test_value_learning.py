"""Implicit Q-learning's mathematics on values worked out by hand."""

import math

import pytest
import torch
from torch import nn

from training.rlhf.value_learning import (
    conservative_loss,
    distillation_loss,
    expectile_loss,
    lambda_returns,
    polyak_update,
    regression_weights,
    shifted_logprobs,
    squared_loss,
)

MASK = torch.tensor([[False, True, True, True], [False, True, False, False]])
VALUES = torch.tensor([[9.0, 0.2, 0.4, 0.6], [9.0, 0.5, 9.0, 9.0]])
REWARDS = torch.tensor([1.0, 0.0])


def returns(*, discount: float, trace: float) -> list[list[float]]:
    """Of three tokens with a thumb up and one with a thumb down; what lies outside must not count."""
    found: list[list[float]] = lambda_returns(VALUES, REWARDS, MASK, discount=discount, trace=trace).tolist()
    return found


def test_without_a_trace_a_token_is_worth_the_next_state() -> None:
    """Discount 1/2: half of the next state's value, and the whole reward with the last token."""
    expected = [[0.0, 0.2, 0.3, 1.0], [0.0] * 4]
    assert returns(discount=0.5, trace=0.0) == [pytest.approx(row) for row in expected]


def test_a_whole_trace_waits_for_the_reward() -> None:
    """The thumb, discounted once for every token after: 1/4, 1/2, 1; values play no part."""
    assert returns(discount=0.5, trace=1.0) == [pytest.approx(row) for row in ([0.0, 0.25, 0.5, 1.0], [0.0] * 4)]


def test_half_a_trace_mixes_both_at_every_token() -> None:
    """(0.6 + 1) / 2 = 0.8 for the second token, (0.4 + 0.8) / 2 = 0.6 for the first."""
    assert returns(discount=1.0, trace=0.5)[0] == pytest.approx([0.0, 0.6, 0.8, 1.0])


def test_the_expectile_weighs_what_was_better_than_expected() -> None:
    """0.7: (0.7 · 4 + 0.3 · 1) / 2; the third has no weight. At 0.5 both sides count alike."""
    differences, weights = torch.tensor([2.0, -1.0, 50.0]), torch.tensor([1.0, 1.0, 0.0])
    assert expectile_loss(differences, weights, 0.7).item() == pytest.approx(1.55)
    assert expectile_loss(differences, weights, 0.5).item() == pytest.approx(1.25)


def test_the_value_that_minimises_the_expectile_loss_lies_above_the_mean() -> None:
    """Of outcomes 0 and 1, equally often, it is the expectile itself: 0.8."""
    value = torch.tensor(0.5, requires_grad=True)
    for _ in range(400):
        loss = expectile_loss(torch.tensor([0.0, 1.0]) - value, torch.ones(2), 0.8)
        (slope,) = torch.autograd.grad(loss, value)
        value = (value - 0.2 * slope).detach().requires_grad_()
    assert value.item() == pytest.approx(0.8, abs=1e-3)


def test_values_are_drawn_to_their_targets_by_weight() -> None:
    """Errors 1 and 2 with weights 3 and 1: (3 · 1 + 1 · 4) / 4; the targets get no gradient."""
    values, targets = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([0.0, 4.0], requires_grad=True)
    loss = squared_loss(values, targets, torch.tensor([3.0, 1.0]))
    assert loss.item() == pytest.approx(7 / 4)
    assert torch.autograd.grad(loss, targets, allow_unused=True) == (None,)


def test_the_conservative_term_asks_nothing_of_values_that_are_all_alike() -> None:
    """Any height, under a prior that sums to 1: log Σ p exp(3) - 3 = 0."""
    prior = torch.tensor([[0.5, 0.25, 0.25]]).log()
    loss = conservative_loss(torch.full((1, 3), 3.0), torch.tensor([1]), prior, torch.ones(1))
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_the_conservative_term_lowers_likely_tokens_that_were_not_seen() -> None:
    """Prior (1/2, 1/2), Q (ln 3, 0), the second seen: ln 2; the gradient is what softmax gives, less the seen one."""
    action_values = torch.tensor([[math.log(3), 0.0]], requires_grad=True)
    prior = torch.tensor([[0.5, 0.5]]).log()
    loss = conservative_loss(action_values, torch.tensor([1]), prior, torch.ones(1))
    assert loss.item() == pytest.approx(math.log(2))
    (slope,) = torch.autograd.grad(loss, action_values)
    assert slope.tolist() == [pytest.approx([0.75, -0.75])]


def test_an_advantage_shifts_the_policy() -> None:
    """π (1/2, 1/2), Q (ln 3 / 2, 0), scale 2: odds of 3 to 1, whatever V is; a ban stays one."""
    logprobs = torch.tensor([[math.log(0.5), math.log(0.5), -1e9]])
    action_values = torch.tensor([[math.log(3) / 2, 0.0, 5.0]])
    shifted = shifted_logprobs(logprobs, action_values, torch.tensor([7.0]), 2.0)
    assert shifted.exp().tolist() == [pytest.approx([0.75, 0.25, 0.0])]


def test_distillation_costs_the_divergence_from_its_target() -> None:
    """Target (3/4, 1/4), policy (1/2, 1/2): ¾ ln 1.5 + ¼ ln ½; nothing where both agree."""
    target, policy = torch.tensor([[0.75, 0.25]] * 2).log(), torch.tensor([[0.5, 0.5], [0.75, 0.25]]).log()
    loss = distillation_loss(policy, target, torch.ones(2))
    assert loss.item() == pytest.approx((0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2, abs=1e-6)


def test_a_seen_token_is_imitated_by_its_advantage_up_to_a_bound() -> None:
    """exp(2 · 0.5), exp(0), and 20 for what would be e^10."""
    weights = regression_weights(torch.tensor([0.5, 0.0, 5.0]), 2.0)
    assert weights.tolist() == pytest.approx([math.e, 1.0, 20.0])


def test_slow_copies_go_a_share_of_the_way() -> None:
    """From 0 towards 8 by a quarter, twice: 2, then 3.5."""
    slow, fast = nn.Parameter(torch.zeros(1), requires_grad=False), nn.Parameter(torch.full((1,), 8.0))
    polyak_update([slow], [fast], 0.25)
    assert slow.item() == 2.0
    polyak_update([slow], [fast], 0.25)
    assert slow.item() == 3.5
