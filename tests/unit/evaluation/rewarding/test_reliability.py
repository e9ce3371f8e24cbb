"""Reliability: hand-computed calibration errors, bins, and the plot."""

from pathlib import Path

import pytest

from training.evaluation.rewarding.baselines import bag_of_words_scores, majority_score
from training.evaluation.rewarding.reliability import reliability
from training.evaluation.rewarding.reliability_plot import save_reliability_plot

LOG_3 = 1.0986122886681098
"""The score of probability 3/4."""


def test_a_perfect_forecast_has_no_error() -> None:
    """Of twenty replies at 3/4 fifteen are liked: one bin of ten has 8, the other 7."""
    found = reliability([LOG_3] * 20, ([True] * 8 + [False] * 2) + ([True] * 7 + [False] * 3))
    assert [each.liked.value for each in found.bins] == [0.8, 0.7]
    assert found.calibration_error == pytest.approx(0.05)
    assert found.brier == pytest.approx(0.75 * 0.0625 + 0.25 * 0.5625)


def test_a_boast_is_the_error() -> None:
    """Sure of everything and right half of the time: one half, in every bin."""
    found = reliability([50.0] * 40, [True, False] * 20)
    assert found.calibration_error == pytest.approx(0.5)
    assert len(found.bins) == 4 and all(each.expected == pytest.approx(1.0) for each in found.bins)


def test_bins_hold_equally_many_in_the_order_of_the_scores() -> None:
    """25 replies make two bins, of 13 and 12; the lower one has the lower expectation; an interval holds its share."""
    scores = [float(number) / 5 - 2 for number in range(25)]
    found = reliability(scores[::-1], [score > 0 for score in scores[::-1]])
    assert [each.num_replies for each in found.bins] == [13, 12]
    assert found.bins[0].expected < 0.5 < found.bins[1].expected
    assert all(each.liked.low <= each.liked.value <= each.liked.high for each in found.bins)


def test_without_replies_there_is_no_reliability() -> None:
    """ValueError, and for lists of different length too."""
    with pytest.raises(ValueError, match="thumbs"):
        reliability([], [])
    with pytest.raises(ValueError, match="thumbs"):
        reliability([0.0], [])


def test_the_plot_is_two_files_and_the_same_twice(tmp_path: Path) -> None:
    """PNG and SVG; the same figures give the same SVG, byte for byte, with every line named."""
    lines = {"model": reliability([LOG_3] * 20, [True] * 15 + [False] * 5)}
    first = save_reliability_plot(lines, tmp_path / "a", title="Twenty replies")
    second = save_reliability_plot(lines, tmp_path / "b", title="Twenty replies")
    assert [path.suffix for path in first] == [".png", ".svg"]
    assert first[0].read_bytes()[:4] == b"\x89PNG"
    assert first[1].read_bytes() == second[1].read_bytes()


def test_the_majority_is_the_log_odds_of_a_thumb_up() -> None:
    """Seven of ten, add-one smoothed: log(8 / 4)."""
    assert majority_score([True] * 7 + [False] * 3) == pytest.approx(0.6931471805599453)


def test_a_bag_of_words_learns_the_word_that_decides() -> None:
    """And falls back on the majority where all thumbs are alike."""
    texts = [f"{word} answer {number}" for number in range(10) for word in ("kind", "rude")]
    is_up = [True, False] * 10
    good, bad = bag_of_words_scores(texts, is_up, [1.0] * 20, ["kind words", "rude words"])
    assert good > 0 > bad
    assert bag_of_words_scores(texts, [True] * 20, [1.0] * 20, ["a"]) == [majority_score([True] * 20)]
