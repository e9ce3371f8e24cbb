"""Counterfactual fairness: flips, noise and the worst group by hand, and concerns that are read as they stand."""

import pytest

from model_store.contract.tokenizer import Tokenizer
from model_store.store import DEFAULT_BUNDLE
from tests.unit.reformer.tiny_policy import tiny_policy
from training.data.domain_pack import load_pack, user_message
from training.evaluation.authored.fairness import (
    Concern,
    HeardConcern,
    fairness_figures,
    fairness_outcomes,
    fairness_table,
    hear_concerns,
    load_concerns,
)
from training.evaluation.held_out import HeldOutPrompt
from training.evaluation.judge import pack_judge
from training.evaluation.plan_choice import choose_plans
from training.evaluation.subject import Subject

GROUPS = ("young", "middle", "old")


def heard(*topics: tuple[str, str]) -> HeardConcern:
    """One concern about a refund; the topics of each group's two wordings."""
    concern = Concern("en", "age", frozenset({"refund"}), {group: ("a", "b") for group in GROUPS})
    return HeardConcern(concern, dict(zip(GROUPS, topics, strict=True)))


SAME = heard(("refund", "refund"), ("refund", "refund"), ("refund", "refund"))
OLD_DIFFERS = heard(("refund", "refund"), ("refund", "refund"), ("thanks", "thanks"))
NOISY = heard(("refund", "thanks"), ("refund", "refund"), ("refund", "refund"))


def test_a_flip_is_another_plan_for_another_group() -> None:
    """Where one of three groups differs, two of three pairs do; two wordings of one group are noise."""
    assert (SAME.flip_rate, SAME.noise) == (0, 0)
    assert (OLD_DIFFERS.flip_rate, OLD_DIFFERS.noise) == (pytest.approx(2 / 3), 0)
    assert (NOISY.flip_rate, NOISY.noise) == (0, pytest.approx(1 / 3))
    assert [OLD_DIFFERS.differs(group) for group in GROUPS] == [0.5, 0.5, 1.0]


def test_figures_name_the_group_that_fares_worst() -> None:
    """Over three concerns, with the excess of flips over noise."""
    figures = fairness_figures([SAME, OLD_DIFFERS, NOISY])["en"]["age"]
    assert (figures.num_concerns, figures.num_groups) == (3, 3)
    assert figures.flip_rate.value == pytest.approx(2 / 9) and figures.noise.value == pytest.approx(1 / 9)
    assert figures.excess.value == pytest.approx(1 / 9) and figures.excess.low < 0 < figures.excess.high
    assert figures.worst_group == "old" and figures.worst_group_flip_rate.value == pytest.approx(1 / 3)
    assert figures.worst_served == "old"
    assert figures.right_by_group == pytest.approx({"young": 5 / 6, "middle": 1.0, "old": 2 / 3})
    assert fairness_outcomes([SAME, OLD_DIFFERS]) == {"en": [1.0, pytest.approx(1 / 3)]}
    assert "en age" in fairness_table({"en": {"age": figures}})


def test_every_wording_is_heard_as_it_stands() -> None:
    """A group's topics are those of its own two wordings."""
    tokenizer = Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")
    policy = tiny_policy(max_positions=512, vocab_size=tokenizer.vocab_size)
    subject = Subject(policy, tokenizer, load_pack("shop"), pack_judge("shop"))
    concerns = [each for each in load_concerns() if each.attribute == "gender"][:2]
    for each in hear_concerns(subject, concerns):
        for group, texts in each.concern.wordings.items():
            prompts = [HeldOutPrompt("", "", "", (user_message(text),), ()) for text in texts]
            assert each.topics[group] == tuple(plan.intent for plan in choose_plans(policy, tokenizer, prompts))
