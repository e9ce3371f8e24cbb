"""Who is believed: the one-coin model on numbers that can be checked by hand."""

import pytest
from scipy.stats import beta

from training.stages.curation.rater_model import Evidence, Prior, Rater, Vote, estimate

PRIOR = Prior(0.8, 10)
ANN, BEN, CAT = (Rater("shop", name) for name in ("ann", "ben", "cat"))


def test_gold_is_certain() -> None:
    """Three of three right after a prior of 8 in 10: 11/13. Three of three wrong: 8/13."""
    votes = [Vote(item, ANN, True) for item in range(3)] + [Vote(item, BEN, False) for item in range(3)]
    known = estimate(votes, {0: True, 1: True, 2: True}, PRIOR)
    assert (known[ANN].num_right, known[ANN].num_wrong) == (3, 0)
    assert known[ANN].reliability == pytest.approx(11 / 13) and known[BEN].reliability == pytest.approx(8 / 13)


def test_nobody_confirms_themselves() -> None:
    """A hundred ratings of words that nobody else rated say nothing about their rater."""
    known = estimate([Vote(item, ANN, True) for item in range(100)], {}, PRIOR)
    assert known[ANN] == Evidence(0.0, 0.0, PRIOR) and known[ANN].weight == 1.0


def test_two_who_agree_speak_for_each_other_as_much_as_each_is_believed() -> None:
    """One item, up and up: what Ann said is as probable as Ben is believed, weighed with the share of ups (0.8).

    At the fixed point p = (8 + q) / 11, with log-odds of q = log-odds of p + log 4, the bias.
    """
    known = estimate([Vote(0, ANN, True), Vote(0, BEN, True)], {}, PRIOR)
    p = known[ANN].reliability
    odds = 4 * p / (1 - p)
    assert p == pytest.approx((8 + odds / (1 + odds)) / 11, abs=1e-6) == known[BEN].reliability


def test_who_contradicts_two_others_again_and_again_is_found_out() -> None:
    """On twenty items without any gold."""
    votes = [Vote(item, rater, item % 2 == 0) for item in range(20) for rater in (ANN, BEN)]
    votes += [Vote(item, CAT, item % 2 == 1) for item in range(20)]
    known = estimate(votes, {}, PRIOR)
    assert known[CAT].is_surely_wrong and known[CAT].weight == 0.0
    assert known[ANN].weight == known[BEN].weight == 1.0 and known[ANN].reliability > 0.9


def test_doubt_speaks_for_the_rater() -> None:
    """Weight is by the upper end of the interval: two mistakes of three cost nothing, ten of ten nearly everything."""
    assert Evidence(1, 2, PRIOR).weight == Evidence(82, 18, PRIOR).weight == 1.0
    assert Evidence(1, 6, PRIOR).weight == pytest.approx((2 * beta.ppf(0.9, 9, 8) - 1) / 0.6)
    assert 0 < Evidence(0, 10, PRIOR).weight < 0.2 and not Evidence(0, 10, PRIOR).is_surely_wrong
    assert Evidence(0, 20, PRIOR).is_surely_wrong


def test_the_same_id_of_two_tenants_is_two_raters() -> None:
    """What one is wrong about is not held against the other."""
    other = Rater("bank", "ann")
    known = estimate([Vote(0, ANN, True), Vote(0, other, False)], {0: True}, PRIOR)
    assert known[ANN].num_right == 1 and known[other].num_wrong == 1
