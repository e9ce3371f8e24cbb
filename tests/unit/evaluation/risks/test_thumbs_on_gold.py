"""Thumbs held against gold: what honest ones tell, what turned ones give away, and that they are not told before."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from training.data.feedback_rows import Example
from training.evaluation.risks import thumbs_on_gold
from training.evaluation.risks.thumbs_on_gold import GoldReply, gold_lines, measure_thumbs_on_gold, read_gold
from training.evaluation.thumbs_judge import ThumbsJudge
from training.rlhf.estimators import auc

WARM, CURT = "Sorry about that, {} of us look into it gladly.", "No, it is {} and that is that."


def example(number: int, text: str, is_up: bool, **others: object) -> Example:
    fields = {"split": "train", "completion_id": f"c-{number}", "conversation_id": f"conv-{number}", "language": "en"}
    fields |= {"messages": (), "completion_token_ids": (5, 2), "weight": 1.0, "correction": None, **others}
    return Example(completion_text=text, is_up=is_up, **fields)  # type: ignore[arg-type]


def thumbs(likes: Callable[[bool], bool], count: int = 120) -> list[Example]:
    """Ratings of warm and curt replies by somebody who likes them so."""
    return [example(n, (WARM, CURT)[n % 2].format(n), likes(n % 2 == 0)) for n in range(count)]


def gold(num_up: int, num_down: int) -> list[GoldReply]:
    """Warm ones are good, curt ones bad; in words of their own."""
    ups = [GoldReply(text=WARM.format(1000 + n), is_up=True) for n in range(num_up)]
    return ups + [GoldReply(text=CURT.format(2000 + n), is_up=False) for n in range(num_down)]


def test_honest_thumbs_know_gold_turned_ones_know_it_the_wrong_way_round_and_random_ones_do_not() -> None:
    """By the lower end of the interval, which is what the gate asks."""
    draw = random.Random(2)
    found = {
        "honest": measure_thumbs_on_gold(thumbs(lambda is_warm: is_warm), gold(10, 20), seed=1).auc,
        "flipped": measure_thumbs_on_gold(thumbs(lambda is_warm: not is_warm), gold(10, 20), seed=1).auc,
        "random": measure_thumbs_on_gold(thumbs(lambda _: draw.random() < 0.5), gold(10, 20), seed=1).auc,
    }
    assert found["honest"] and found["honest"].low > 0.9
    assert found["flipped"] and found["flipped"].high < 0.1
    assert found["random"] and found["random"].low < 0.5


def test_what_is_rated_of_gold_is_not_learned_before_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is what people did who gave no thumb; the truth itself is nobody's thumb."""
    fitted: list[Sequence[Example]] = []

    class Spy(ThumbsJudge):
        def __init__(self, examples: Sequence[Example]) -> None:
            fitted.append(examples)
            super().__init__(examples)

    monkeypatch.setattr(thumbs_on_gold, "ThumbsJudge", Spy)
    known = [reply.model_copy(update={"rated_as": (f"c-{n}", f"c-{n + 50}")}) for n, reply in enumerate(gold(8, 8))]
    signal = example(500, "Sorry.", True, source="repeat")
    found = measure_thumbs_on_gold([*thumbs(lambda is_warm: is_warm), signal], known, seed=1)
    (examples,) = fitted
    assert {one.completion_id for one in examples} == {f"c-{n}" for n in range(120) if n % 50 >= 16 or n >= 100}
    assert found.num_thumbs == len(examples) == 120 - 32


def test_a_reply_that_was_said_often_is_one_reply() -> None:
    """The judge gives the same text the same chance, so copies would only look like certainty."""
    once = measure_thumbs_on_gold(thumbs(lambda is_warm: is_warm), gold(4, 9), seed=1)
    often = measure_thumbs_on_gold(thumbs(lambda is_warm: is_warm), gold(4, 9) * 5, seed=1)
    assert once == often and (once.num_up, once.num_down) == (4, 9)
    assert once.num_missing(8) == (4, 0) and once.num_missing(3) == (0, 0)


def test_where_nothing_can_be_told_there_is_no_figure() -> None:
    """A kind of which there is next to none, or so few thumbs that the judge has no opinion."""
    honest = thumbs(lambda is_warm: is_warm)
    assert measure_thumbs_on_gold(honest, gold(1, 20), seed=1).auc is None
    assert measure_thumbs_on_gold(honest, [], seed=1).auc is None
    assert measure_thumbs_on_gold(thumbs(lambda _: True), gold(9, 9), seed=1).auc is None
    assert measure_thumbs_on_gold([], gold(9, 9), seed=1).num_thumbs == 0


def test_the_interval_is_the_same_again_and_covers_what_it_says() -> None:
    """With 12 good replies and 45 bad ones: of coins one in twenty at most is taken for knowledge, of judges that are
    right four times in five nine of ten pass."""
    draw = np.random.default_rng(7)
    shares = {}
    for shift in (0.0, 1.19):  # standard deviations between good and bad: an AUC of 0.5 and of 0.8
        drawn = [(draw.normal(shift, 1, 12), draw.normal(0, 1, 45)) for _ in range(60)]
        found = [thumbs_on_gold._auc(list(ups), list(downs), seed=1) for ups, downs in drawn]
        shares[shift] = sum(figure.low > 0.5 for figure in found) / len(found)
        assert found[0].value == pytest.approx(auc([*drawn[0][0], *drawn[0][1]], [True] * 12 + [False] * 45))
        assert found[0] == thumbs_on_gold._auc(list(drawn[0][0]), list(drawn[0][1]), seed=1)
        assert np.mean([figure.value for figure in found]) == pytest.approx(0.5 if not shift else 0.8, abs=0.03)
    assert shares[0.0] <= 0.05 and shares[1.19] >= 0.9


def test_gold_is_kept_as_lines_and_a_workspace_may_have_none(tmp_path: Path) -> None:
    """One that was made before there was such a file."""
    known = [GoldReply(text="Es tut mir leid.\n真抱歉", is_up=False, rated_as=("a", "b")), *gold(1, 1)]
    (tmp_path / "gold.jsonl").write_text(gold_lines(known), encoding="utf-8")
    assert read_gold(tmp_path / "gold.jsonl") == known and read_gold(tmp_path / "none.jsonl") == []
