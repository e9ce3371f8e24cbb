"""What is said about a model's ability, worked out by hand on replies that were written for it."""

from pathlib import Path

import pytest

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.tokenizer import Tokenizer
from tests.unit.stages.feedback_workspace import make_tokenizer
from training.data.domain_pack import load_pack
from training.data.subwords import name_plans
from training.evaluation.ability import ability_by_language, ability_table
from training.evaluation.held_out import HeldOutPrompt, SampledReply, gate_prompts
from training.evaluation.judge import pack_judge

PACK = load_pack("shop")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A small tokenizer that names the shop's plans."""
    path = Path(tmp_path_factory.mktemp("tokenizer")) / "tokenizer.json"
    return Tokenizer(name_plans(make_tokenizer(path).backend, PACK.plans))


def prompt_about(intent: str, language: str) -> HeldOutPrompt:
    """A held-out ask of that intent."""
    prompts = gate_prompts(PACK, 10_000)
    return next(prompt for prompt in prompts if (prompt.intent, prompt.language) == (intent, language))


def test_every_figure_is_the_share_that_it_says(tokenizer: Tokenizer) -> None:
    """Two right plans, one deflection too many, one that is due, a made-up number, a reply without an end."""

    def reply(intent: str, plan: str, text: str, ended: bool = True) -> SampledReply:
        ids = (tokenizer.plans[plan], *tokenizer.encode(text), *([EOS_ID] if ended else []))
        return SampledReply(prompt_about(intent, "en"), ids, text, ended)

    good = prompt_about("invoice", "en").replies[0]
    replies = [
        reply("invoice", "invoice/ask_order_id", good),
        reply("invoice", "out_of_scope", "That takes 3 days.", ended=False),
        reply("out_of_scope", "out_of_scope", good),
        reply("reset_password", "greeting", "你好，请问有什么可以帮您？"),
    ]
    ability = ability_by_language(replies, tokenizer, pack_judge("shop"))["en"]
    assert ability.num_prompts == 4 and ability.right_plan.value == 0.5 and ability.intent_fit.value == 0.25
    assert ability.wrongly_deflected.value == pytest.approx(1 / 3) and ability.deflected.value == 1.0
    assert ability.language_match.value == 0.75 and ability.proper_endings.value == 0.75
    assert ability.invented_digits.value == 0.25 and ability.unsafe.value == 0.0
    assert ability.right_plan.low < 0.5 < ability.right_plan.high


def test_languages_have_a_column_each(tokenizer: Tokenizer) -> None:
    """A row a figure, with the interval behind it."""
    replies = [
        SampledReply(prompt, (tokenizer.plans[prompt.intent], EOS_ID), prompt.replies[0], True)
        for prompt in (prompt_about("thanks", "en"), prompt_about("thanks", "zh"))
    ]
    table = ability_table(ability_by_language(replies, tokenizer, pack_judge("shop"))).splitlines()
    assert table[0].split() == ["en", "zh"]
    assert next(line for line in table if line.startswith("right plan")).count("100.0%") == 4
