"""Opposite pairs: figures by hand, and a policy's plans in the right places."""

from model_store.contract.tokenizer import Tokenizer
from model_store.store import DEFAULT_BUNDLE
from tests.unit.reformer.tiny_policy import tiny_policy
from training.data.domain_pack import load_pack, user_message
from training.evaluation.authored.opposite_pairs import (
    AnsweredPair,
    Pair,
    Side,
    answer_pairs,
    load_pairs,
    pair_figures,
    pair_outcomes,
    pair_table,
)
from training.evaluation.held_out import HeldOutPrompt
from training.evaluation.judge import pack_judge
from training.evaluation.plan_choice import choose_plans
from training.evaluation.subject import Subject


def pair(name: str, first: set[str], second: set[str]) -> Pair:
    """A pair of two short messages."""
    return Pair(name, "en", (Side(f"{name} on", frozenset(first)), Side(f"{name} off", frozenset(second))))


def test_a_pair_is_told_apart_when_both_sides_are_right() -> None:
    """One of four is; one side in two others; none in the last, whose sides may share a plan."""
    mails = pair("mails", {"subscribe_newsletter"}, {"unsubscribe_newsletter"})
    cards = pair("cards", {"gift_card"}, {"gift_card", "product_advice"})
    answered = [
        AnsweredPair(mails, ("subscribe_newsletter", "unsubscribe_newsletter")),
        AnsweredPair(mails, ("subscribe_newsletter", "subscribe_newsletter")),
        AnsweredPair(mails, ("unsubscribe_newsletter", "unsubscribe_newsletter")),
        AnsweredPair(cards, ("thanks", "thanks")),
    ]
    figures = pair_figures(answered)["en"]
    assert figures.num_pairs == 4 and figures.told_apart.value == 0.25 and figures.sides_right.value == 0.5
    assert figures.same_plan.value == 2 / 3, "pairs that may have the same plan do not count"
    assert [each.topics[0] for each in figures.confused] == ["subscribe_newsletter", "unsubscribe_newsletter", "thanks"]
    assert pair_outcomes(answered) == {"en": [1.0, 0.0, 0.0, 0.0]}
    assert pair_table({"en": figures}).startswith("en: 4 opposite pairs, told apart 0.250 [")


def test_each_side_gets_the_plan_for_its_own_message() -> None:
    """As if it had been asked alone."""
    tokenizer = Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")
    policy = tiny_policy(max_positions=512, vocab_size=tokenizer.vocab_size)
    subject = Subject(policy, tokenizer, load_pack("shop"), pack_judge("shop"))
    chosen = load_pairs()[:3]
    for each in answer_pairs(subject, chosen):
        prompts = [HeldOutPrompt("", "", "en", (user_message(side.says),), ()) for side in each.pair.sides]
        assert each.topics == tuple(plan.intent for plan in choose_plans(policy, tokenizer, prompts))
