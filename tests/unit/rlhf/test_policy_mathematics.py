"""Advantages and losses on values worked out by hand."""

import math

import pytest
import torch

from training.rlhf.advantages import grpo, rloo, whiten
from training.rlhf.kl_control import adapted_kl_coefficient, share_of_way, steps_to_next_measurement
from training.rlhf.losses import (
    clipped_policy_loss,
    gather_logprobs,
    kto_class_weights,
    kto_loss,
    pairwise_loss,
    supervised_loss,
    weighted_bce,
)


def test_rloo_subtracts_the_mean_of_the_others() -> None:
    """Rewards 1, 2, 6: the others' means are 4, 3.5 and 1.5."""
    assert torch.allclose(rloo(torch.tensor([[1.0, 2.0, 6.0]])), torch.tensor([[-3.0, -1.5, 4.5]]))


def test_grpo_counts_in_standard_deviations() -> None:
    """Rewards 1, 2, 3 have mean 2 and standard deviation 1."""
    assert torch.allclose(grpo(torch.tensor([[1.0, 2.0, 3.0]])), torch.tensor([[-1.0, 0.0, 1.0]]), atol=2e-4)


def test_equal_rewards_give_no_advantage() -> None:
    """Nothing to learn from is nothing, not a division by zero."""
    assert whiten(rloo(torch.full((2, 4), 0.7))).tolist() == [[0.0] * 4] * 2


def test_logprobs_are_gathered_under_the_temperature() -> None:
    """Logits (0, 2 ln 3) at temperature 2 are probabilities 1/4 and 3/4."""
    logits = torch.tensor([[0.0, 2 * math.log(3)]])
    assert gather_logprobs(logits, torch.tensor([1]), 2.0).item() == pytest.approx(math.log(0.75), abs=1e-6)


def test_the_policy_loss_clips_what_went_far_enough() -> None:
    """Ratios 2 and 0.5 with advantages 1 and -1 and range 0.2 give -(1.2 - 0.8) / 2; masked tokens do not count."""
    old = torch.zeros(2, 2)
    new = torch.tensor([[math.log(2), 5.0], [math.log(0.5), 5.0]])
    mask = torch.tensor([[True, False], [True, False]])
    loss = clipped_policy_loss(new, old, torch.tensor([1.0, -1.0]), mask, 0.2)
    assert loss.item() == pytest.approx(-0.2, abs=1e-6)


def test_a_supervised_loss_is_the_mean_over_real_tokens() -> None:
    """Probabilities 1/2, 1/4 and 1/8, of which the last is padding: (ln 2 + ln 4) / 2."""
    logprobs = -math.log(2) * torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    mask = torch.tensor([[True, True], [False, False]])
    assert supervised_loss(logprobs, mask).item() == pytest.approx(1.5 * math.log(2), abs=1e-6)


@pytest.mark.parametrize(("kl", "expected"), [(1.1, 0.0505), (0.95, 0.04975), (1.0, 0.05), (7.0, 0.051), (-0.3, 0.049)])
def test_the_kl_coefficient_follows_the_relative_error_up_to_a_fifth(kl: float, expected: float) -> None:
    """Target 1, gain 0.1, from 0.05: 10 % above adds 1 %, 5 % below takes 0.5 %, more than 20 % off counts as 20 %."""
    assert adapted_kl_coefficient(0.05, kl, target=1.0, gain=0.1) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("step", "kl", "expected"),
    [(4, 0.2, 7), (8, 2.0, 1), (8, 2.9, 1), (8, 3.0, 1), (8, 40.0, 1), (4, 0.001, 10), (4, 0.0, 10), (0, 0.0, 10)],
)
def test_kl_is_measured_again_when_half_of_what_is_left_may_be_spent(step: int, kl: float, expected: int) -> None:
    """Limit 3, one to ten steps. 0.2 nats after 4 steps would be 1.6 after 4 √8 = 11.3; 2 after 8, 2.5 after 8.9."""
    assert steps_to_next_measurement(step, kl, limit=3.0, shortest=1, longest=10) == expected


def test_the_way_back_is_judged_by_a_usual_power_and_then_by_what_was_measured() -> None:
    """32 nats at the end: 1 is at a quarter, 4^2.5 being 32. Of 12 and 1.5 at a half, KL goes with the cube."""
    assert share_of_way([(1.0, 32.0)], 1.0) == pytest.approx(0.25)
    assert share_of_way([(1.0, 12.0), (0.5, 1.5)], 3.0) == pytest.approx(0.5 * 2 ** (1 / 3))
    assert share_of_way([(1.0, 12.0), (0.5, 11.0)], 5.5) == pytest.approx(0.25)  # a noisy slope below 1 counts as 1
    assert share_of_way([(1.0, 5000.0), (0.5, 8.0)], 4.0) == pytest.approx(0.5 * 0.5 ** (1 / 6))  # and as 6 above 6


def test_kto_of_an_unmoved_policy_is_one_half() -> None:
    """No ratio and no KL: 1 - sigmoid(0) for either thumb."""
    loss = kto_loss(torch.zeros(2), torch.tensor([True, False]), torch.ones(2), kl=torch.zeros(()), beta=0.1)
    assert loss.item() == 0.5


def test_kto_by_hand() -> None:
    """beta 1, KL 1: an up at ratio 1 + ln 3 loses 1/4, a down at the same ratio loses 3/4 with weight 2."""
    ratios = torch.full((2,), 1 + math.log(3))
    loss = kto_loss(ratios, torch.tensor([True, False]), torch.tensor([1.0, 2.0]), kl=torch.tensor(1.0), beta=1.0)
    assert loss.item() == pytest.approx((0.25 + 2 * 0.75) / 2, abs=1e-6)


def test_kto_raises_ups_and_lowers_downs() -> None:
    """The gradient's sign is the thumb's, and the reference point gets none."""
    ratios = torch.zeros(2, requires_grad=True)
    kl = torch.zeros((), requires_grad=True)
    loss = kto_loss(ratios, torch.tensor([True, False]), torch.ones(2), kl=kl, beta=0.1)
    by_ratio, by_kl = torch.autograd.grad(loss, (ratios, kl), allow_unused=True)
    assert by_ratio[0] < 0 < by_ratio[1]
    assert by_kl is None


def test_the_rarer_thumb_weighs_more_up_to_a_bound() -> None:
    """One up among four downs weighs 4; one among nine would weigh 9 and is bounded."""
    assert kto_class_weights(torch.tensor([True] + [False] * 4)) == (4.0, 1.0)
    assert kto_class_weights(torch.tensor([True] * 9 + [False])) == (1.0, 4.0)


def test_cross_entropy_is_a_mean_by_weight() -> None:
    """ln 2 at score 0, ln(4/3) at probability 3/4, weights 1 and 3."""
    loss = weighted_bce(torch.tensor([0.0, math.log(3)]), torch.tensor([True, True]), torch.tensor([1.0, 3.0]))
    assert loss.item() == pytest.approx((math.log(2) + 3 * math.log(4 / 3)) / 4, abs=1e-6)


def test_a_pair_is_judged_by_the_difference_of_its_scores() -> None:
    """ln 2 for a tie at any height, ln(4/3) where the good reply is ahead by ln 3; the mean of both."""
    loss = pairwise_loss(torch.tensor([5.0, math.log(3) - 7]), torch.tensor([5.0, -7.0]))
    assert loss.item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2, abs=1e-6)
