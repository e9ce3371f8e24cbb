"""Off-policy estimates: on hand-computed literals, and in a simulation whose truth is known."""

import numpy as np
import pytest

from training.evaluation.foresight.off_policy import (
    OffPolicyEstimate,
    WeighedRatings,
    doubly_robust,
    effective_size,
    estimate,
    snips,
)

_ENOUGH = 30


def ratings(**columns: list[float]) -> WeighedRatings:
    """Ratings, each of a conversation of its own unless said."""
    number = len(columns["weights"])
    fields = {"conversations": list(range(number)), "predicted": [0.5] * number, "expected": [0.5] * number, **columns}
    dtypes = {name: np.int64 if name == "conversations" else np.float64 for name in fields}
    return WeighedRatings(**{name: np.array(values, dtypes[name]) for name, values in fields.items()})


def test_snips_weighs_ratings_by_their_weights() -> None:
    """(2 · 1 + 1 · 0 + 1 · 1) / 4 = 0.75, though two of three are up."""
    assert snips(np.array([2.0, 1.0, 1.0]), np.array([1.0, 0.0, 1.0])) == 0.75


def test_the_doubly_robust_estimate_corrects_the_model_by_the_ratings() -> None:
    """mean(0.6, 0.8) + (3 · (1 - 0.5) + 1 · (0 - 0.9)) / 4 = 0.7 + 0.15."""
    found = doubly_robust(np.array([3.0, 1.0]), np.array([1.0, 0.0]), np.array([0.5, 0.9]), np.array([0.6, 0.8]))
    assert found == pytest.approx(0.85)


def test_a_right_model_leaves_nothing_to_correct_and_a_wrong_one_is_put_right() -> None:
    """With weights of one and expected = predicted, the estimate is the mean rating, whatever the model says."""
    ups = np.array([1.0, 0.0, 1.0, 1.0])
    for model in (ups, np.array([0.1, 0.9, 0.4, 0.2])):
        assert doubly_robust(np.ones(4), ups, model, model) == pytest.approx(0.75)


def test_the_effective_size_is_that_of_kish() -> None:
    """Equal weights count fully; (3 + 1)² / (9 + 1) = 1.6; nothing is worth nothing."""
    assert effective_size(np.full(8, 0.3)) == pytest.approx(8)
    assert effective_size(np.array([3.0, 1.0])) == pytest.approx(1.6)
    assert effective_size(np.zeros(3)) == 0


def test_ratings_of_one_conversation_are_one_conversation() -> None:
    """Forty ratings of four customers are worth four, and the interval is as wide as four customers make it."""
    ups = [1.0] * 20 + [0.0] * 20
    few = ratings(weights=[1.0] * 40, ups=ups, conversations=[number // 10 for number in range(40)])
    many = ratings(weights=[1.0] * 40, ups=ups)
    narrow, wide = (estimate(each, min_effective_conversations=1) for each in (many, few))
    assert (wide.num_conversations, wide.effective_conversations) == (4, pytest.approx(4))
    assert narrow.snips is not None and wide.snips is not None
    assert wide.snips.high - wide.snips.low > 2 * (narrow.snips.high - narrow.snips.low)


def test_with_too_few_effective_conversations_it_refuses_to_speak() -> None:
    """One reply outweighs a thousand: no estimate, and a sentence with both numbers."""
    found = estimate(ratings(weights=[1000.0, *[0.1] * 999], ups=[1.0] * 1000), min_effective_conversations=_ENOUGH)
    assert found.snips is found.doubly_robust is found.gain is None
    assert "worth 1.2 conversations" in found.sentence and "30 are needed" in found.sentence


def test_where_little_of_what_it_says_was_ever_said_it_refuses_to_speak() -> None:
    """Weights of a fifth: four fifths of the candidate's replies could not have been drawn."""
    found = estimate(ratings(weights=[0.2] * 200, ups=[1.0, 0.0] * 100), min_effective_conversations=_ENOUGH)
    assert found.doubly_robust is None and "at most 20%" in found.sentence


def test_the_sentence_holds_both_estimates() -> None:
    """Estimate, interval, and what was."""
    found = estimate(ratings(weights=[1.5, 0.5] * 60, ups=[1.0, 0.0] * 60), min_effective_conversations=_ENOUGH)
    assert found.snips is not None and found.snips.value == pytest.approx(0.75)
    for part in ("120 ratings", "SNIPS 75.0%", "50.0% were"):
        assert part in found.sentence
    assert estimate(ratings(weights=[1.5, 0.5] * 60, ups=[1.0, 0.0] * 60), min_effective_conversations=30) == found


NUM_CONTEXTS, NUM_REPLIES = 6, 5


def simulated(generator: np.random.Generator, number: int, *, shift: float) -> tuple[WeighedRatings, float]:
    """Ratings of a logging policy, seen by one whose logits were moved by `shift`, and that one's true thumbs-up.

    Customers differ in how kind they are and rate twice; the model is wrong by up to 0.2.
    """
    truth = generator.uniform(0.1, 0.9, (NUM_CONTEXTS, NUM_REPLIES))
    logits = generator.normal(0, 1, truth.shape)
    moved = logits + shift * (truth - truth.mean()) / truth.std()
    old, new = (np.exp(each) / np.exp(each).sum(1, keepdims=True) for each in (logits, moved))
    model = np.clip(truth + generator.uniform(-0.2, 0.2, truth.shape), 0, 1)
    customers = np.repeat(np.arange(number), 2)
    kindness = np.repeat(generator.uniform(-0.1, 0.1, number), 2)
    contexts = generator.integers(0, NUM_CONTEXTS, len(customers))
    replies = (old[contexts].cumsum(1) > generator.random((len(customers), 1))).argmax(1)
    ups = generator.random(len(customers)) < truth[contexts, replies] + kindness
    weighed = WeighedRatings(
        conversations=customers,
        weights=new[contexts, replies] / old[contexts, replies],
        ups=ups.astype(np.float64),
        predicted=model[contexts, replies],
        expected=(new * model).sum(1)[contexts],
    )
    return weighed, float((new * truth).sum(1).mean())


@pytest.mark.parametrize(("shift", "number"), [(0.5, 150), (1.0, 150), (1.5, 300)])
def test_the_interval_holds_the_truth_as_often_as_it_says(shift: float, number: int) -> None:
    """In 60 simulated logs (150: 94, 95 and 95 % SNIPS, 93, 93 and 95 % doubly robust), both intervals cover the known
    truth where they speak; the naive mean of the ratings, which ignores the candidate, does not."""
    generator = np.random.default_rng(11)
    covered = dict.fromkeys(("logged", "snips", "doubly_robust"), 0)
    widths = dict.fromkeys(covered, 0.0)
    num_spoken = 0
    for _ in range(60):
        weighed, truth = simulated(generator, number, shift=shift)
        found = estimate(weighed, min_effective_conversations=_ENOUGH)
        if found.refusal is None:
            num_spoken += 1
            for name in covered:
                figure = getattr(found, name)
                covered[name] += figure.low <= truth <= figure.high
                widths[name] += figure.high - figure.low
    shares = {name: count / num_spoken for name, count in covered.items()}
    print(f"shift {shift}: {num_spoken} of 60 spoke; coverage {shares}; mean width", end=" ")
    print({name: round(width / num_spoken, 3) for name, width in widths.items()})
    assert num_spoken >= 40
    assert shares["snips"] >= 0.87 and shares["doubly_robust"] >= 0.87
    assert shares["logged"] < 0.7
    assert widths["doubly_robust"] <= widths["snips"]


def test_an_estimate_without_a_rating_is_an_error() -> None:
    """There is nothing to bootstrap."""
    with pytest.raises(ValueError, match="at least one rating"):
        estimate(ratings(weights=[], ups=[]), min_effective_conversations=1)
    assert OffPolicyEstimate.model_fields["refusal"].default is None
