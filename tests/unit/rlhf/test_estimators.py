"""Estimators on values worked out by hand."""

import math

import pytest
import torch

from training.rlhf.estimators import (
    auc,
    bootstrap_interval,
    distinct_n,
    kl_k1,
    kl_k3,
    kl_of_distributions,
    log_loss,
    repetition_share,
    wilson_interval,
)

MASK = torch.tensor([[True, True, False]])


def test_k1_sums_log_ratios_over_the_completion() -> None:
    """0.5 - 0.2 nats; the third token is padding."""
    logprobs = torch.tensor([[-1.0, -2.0, -9.0]])
    reference = torch.tensor([[-1.5, -1.8, 0.0]])
    assert kl_k1(logprobs, reference, MASK).tolist() == pytest.approx([0.3])


def test_k3_is_never_negative() -> None:
    """exp(d) - d - 1 at d = -0.5 and d = 0.2."""
    logprobs = torch.tensor([[-1.0, -2.0, -9.0]])
    reference = torch.tensor([[-1.5, -1.8, 0.0]])
    expected = (math.exp(-0.5) + 0.5 - 1) + (math.exp(0.2) - 0.2 - 1)
    assert kl_k3(logprobs, reference, MASK).tolist() == pytest.approx([expected], abs=1e-6)


def test_both_kl_estimators_have_the_same_mean() -> None:
    """Over the exact distribution p = (3/4, 1/4), q = (1/2, 1/2) both give Σ p ln(p/q)."""
    p, q = torch.tensor([0.75, 0.25]), torch.tensor([0.5, 0.5])
    mask = torch.ones(2, 1, dtype=torch.bool)
    exact = float((p * (p / q).log()).sum())
    for estimator in (kl_k1, kl_k3):
        values = estimator(p.log()[:, None], q.log()[:, None], mask)
        assert float((p * values).sum()) == pytest.approx(exact, abs=1e-6)


def test_a_token_is_measured_by_all_that_could_have_been_drawn() -> None:
    """(3/4, 1/4) against (1/2, 1/2) is Σ p ln(p/q), whichever was drawn; a banned token, near -1e9 in both, is none."""
    logprobs = torch.tensor([[math.log(0.75), math.log(0.25), -1e9]])
    reference = torch.tensor([[math.log(0.5), math.log(0.5), -1e9]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert kl_of_distributions(logprobs, reference).tolist() == pytest.approx([expected], abs=1e-6)
    assert kl_of_distributions(logprobs, logprobs).tolist() == [0.0]


def test_auc_counts_ordered_pairs() -> None:
    """Ups at 3 and 1, downs at 2 and 1: 2 + 0.5 of 4 pairs."""
    assert auc([3.0, 1.0, 2.0, 1.0], [True, True, False, False]) == pytest.approx(2.5 / 4)


def test_auc_needs_both_thumbs() -> None:
    """With one kind there is no pair to order."""
    assert auc([1.0, 2.0], [True, True]) is None


def test_log_loss_survives_certain_scores() -> None:
    """Score 0 costs ln 2; a wrong score of 1,000 costs 1,000 nats and no overflow."""
    assert log_loss([0.0], [True]) == pytest.approx(math.log(2))
    assert log_loss([1000.0], [False]) == pytest.approx(1000.0)


def test_wilson_interval_matches_the_literature() -> None:
    """8 of 10: 0.490 to 0.943 (Newcombe 1998's method 3); no trials say nothing."""
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_bootstrap_interval_is_seeded_and_covers_the_mean() -> None:
    """0 and 1 in equal parts, 400 values: about 0.5 ± 0.049."""
    values = [0.0, 1.0] * 200
    low, high = bootstrap_interval(values, seed=1)
    assert (low, high) == bootstrap_interval(values, seed=1)
    assert low == pytest.approx(0.451, abs=0.01) and high == pytest.approx(0.549, abs=0.01)
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_interval([], seed=1)


def test_distinct_n_looks_over_all_sequences() -> None:
    """(1, 2), (2, 3) and again (1, 2): two of three bigrams are distinct."""
    assert distinct_n([[1, 2, 3], [1, 2]], 2) == pytest.approx(2 / 3)
    assert distinct_n([[1]], 2) == 0.0


def test_repetition_is_the_share_of_seen_n_grams() -> None:
    """1 2 1 2 1 2 holds five bigrams, two of them distinct."""
    assert repetition_share([1, 2, 1, 2, 1, 2], 2) == pytest.approx(3 / 5)
    assert repetition_share([1, 2, 3], 4) == 0.0
