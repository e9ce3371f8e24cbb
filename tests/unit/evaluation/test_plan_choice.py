"""Choosing the plan: figures worked out by hand, and a policy that is read at the right place."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_store.contract.tokenizer import Tokenizer
from model_store.knowledge.offer import plans_for
from model_store.store import DEFAULT_BUNDLE
from tests.unit.reformer.tiny_policy import tiny_policy
from training.data.domain_pack import DomainPack, load_pack
from training.data.prompts import render_prompt
from training.evaluation.held_out import HeldOutPrompt, gate_prompts
from training.evaluation.plan_choice import ChosenPlan, choose_plans, plan_choice_by_language, plan_choice_table


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The vocabulary that ships."""
    return Tokenizer.load(Path(DEFAULT_BUNDLE) / "tokenizer.json")


@pytest.fixture(scope="module")
def pack() -> DomainPack:
    """Three intents of the shop, with some of their asks."""
    shop = load_pack("shop")
    chosen = [intent for intent in shop.intents if intent.name in ("thanks", "gift_card", "store_hours")]
    return replace(shop, intents=tuple(replace(intent, asks=intent.asks[:40]) for intent in chosen), flows=())


def prompts_of(pack: DomainPack, language: str) -> list[HeldOutPrompt]:
    """The gate's half in one language."""
    return [prompt for prompt in gate_prompts(pack, 100) if prompt.language == language]


def test_answers_count_from_their_threshold_on(pack: DomainPack, tokenizer: Tokenizer) -> None:
    """Three prompts: sure and right, sure and wrong, unsure and right."""
    prompts = prompts_of(pack, "en")[:3]
    wrong = "thanks" if prompts[1].intent != "thanks" else "gift_card"
    chosen = [ChosenPlan(prompts[0].intent, 0.8), ChosenPlan(wrong, 0.6), ChosenPlan(prompts[2].intent, 0.3)]
    figures = plan_choice_by_language(chosen, prompts, pack, tokenizer)["en"]
    assert figures.network.value == pytest.approx(2 / 3) and figures.bag_of_ngrams.value > 0.3
    found = {row.threshold: (row.answered.value, row.right_of_answered.value) for row in figures.thresholds}
    assert found[0.0] == pytest.approx((1, 2 / 3)) and found[0.35] == pytest.approx((2 / 3, 1 / 2))
    assert found[0.7] == pytest.approx((1 / 3, 1)) and found[0.9][0] == 0
    assert "0.35" in plan_choice_table({"en": figures})


def test_the_plan_is_read_where_the_reply_opens(pack: DomainPack, tokenizer: Tokenizer) -> None:
    """Padded batches give what each prompt gives alone, an intent's plans count together, nothing unoffered counts."""
    policy = tiny_policy(max_positions=512, vocab_size=tokenizer.vocab_size)
    prompts = prompts_of(pack, "en") + prompts_of(pack, "zh")
    for prompt, plan in zip(prompts, choose_plans(policy, tokenizer, prompts), strict=True):
        with torch.no_grad():
            logits = policy(torch.tensor([render_prompt(prompt.messages, tokenizer)])).logits[0, -1]
        names = list(plans_for(tokenizer.plans, has_offer=False))
        probabilities = logits[[tokenizer.plans[name] for name in names]].softmax(-1).tolist()
        by_intent: dict[str, float] = {}
        for name, probability in zip(names, probabilities, strict=True):
            intent = name.partition("/")[0]
            by_intent[intent] = by_intent.get(intent, 0) + probability
        assert plan.confidence == pytest.approx(max(by_intent.values()), abs=1e-5)
        assert plan.intent == max(by_intent, key=lambda name: by_intent[name])
