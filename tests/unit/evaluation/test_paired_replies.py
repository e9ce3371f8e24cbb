"""Plans and wordings apart: exact chances of a right plan, wordings judged by their own, replies until it is known."""

from pathlib import Path

import pytest
import torch

from model_store.contract.tokenizer import Tokenizer
from tests.unit.reformer.tiny_policy import smallest_shape
from tests.unit.stages.feedback_workspace import clear_policy, make_tokenizer
from training.data.domain_pack import intent_of, load_pack
from training.data.subwords import name_plans
from training.evaluation.figures import paired_change
from training.evaluation.held_out import HeldOutPrompt, SampledReply, Sampling, gate_prompts, sample_replies
from training.evaluation.judge import pack_judge
from training.evaluation.paired_replies import (
    DrawnReplies,
    Precision,
    Questionnaire,
    draw_pairs,
    mean_by_prompt,
    wording_fits,
)
from training.evaluation.plan_choice import right_plan_probabilities
from training.reformer.model import ReformerPolicy

PACK = load_pack("shop")
NUM_DRAWS = 300


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A small tokenizer that names the shop's plans."""
    path = Path(tmp_path_factory.mktemp("tokenizer")) / "tokenizer.json"
    return Tokenizer(name_plans(make_tokenizer(path).backend, PACK.plans))


def tiny(tokenizer: Tokenizer, seed: int) -> ReformerPolicy:
    """A tiny policy for this vocabulary."""
    shape = smallest_shape(tokenizer.vocab_size)
    return clear_policy(shape, seed)


def reply_about(prompt: HeldOutPrompt, plan: int | None, text: str, tokenizer: Tokenizer) -> SampledReply:
    """A reply as a policy could have drawn it."""
    opening = () if plan is None else (plan,)
    return SampledReply(prompt, (*opening, *tokenizer.encode(text)), text, True)


def test_the_chance_of_a_right_plan_is_the_share_of_draws_with_one(tokenizer: Tokenizer) -> None:
    """Three hundred draws, as served, of an opening that is neither sure nor rare: within four standard errors."""
    policy, sampling = tiny(tokenizer, 3), Sampling(max_new_tokens=1)
    with torch.no_grad():  # so even that several plans are half as likely as the best
        policy.lm_head.decoder.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    (prompt,) = gate_prompts(PACK, 1)
    drawn = sample_replies(policy, tokenizer, [prompt] * NUM_DRAWS, sampling)
    intents = [intent_of(tokenizer.plan_of(reply.token_ids) or "") for reply in drawn]
    asked = HeldOutPrompt(intents[0], "", "en", prompt.messages, ())
    chance, none = right_plan_probabilities(policy, tokenizer, [asked, prompt], sampling)
    assert none == 0 and prompt.intent not in intents
    assert 0.05 < chance < 0.95
    assert abs(intents.count(asked.intent) / NUM_DRAWS - chance) <= 4 * (chance * (1 - chance) / NUM_DRAWS) ** 0.5


def test_a_wording_is_judged_by_the_plan_it_follows(tokenizer: Tokenizer) -> None:
    """Words about an invoice fit the plan of that, whatever was asked; without a plan they must fit the question."""
    prompts = gate_prompts(PACK, 10_000)
    invoice, password = (next(p for p in prompts if p.intent == i) for i in ("invoice", "reset_password"))
    words = next(i for i in PACK.intents if (i.name, i.language) == ("invoice", "en")).replies[0]
    plans = (tokenizer.plans["invoice"], tokenizer.plans["invoice/ask_order_id"], tokenizer.plans["reset_password"])
    replies = [reply_about(password, plan, words, tokenizer) for plan in (*plans, None)]
    replies.append(reply_about(invoice, None, words, tokenizer))
    assert wording_fits(replies, tokenizer, pack_judge("shop")) == [True, True, False, False, True]


def test_replies_are_drawn_until_the_change_is_known_or_no_more_are_left(tokenizer: Tokenizer) -> None:
    """Equal policies are known to be equal after one round, or as many as are drawn anyway; different ones take all
    rounds that there are."""
    base, other = tiny(tokenizer, 1), tiny(tokenizer, 2)
    asking = Questionnaire(gate_prompts(PACK, 40), tokenizer, pack_judge("shop"), Sampling(max_new_tokens=12))
    theirs, ours = draw_pairs(base, base, asking, Precision(0.001, 3))
    assert len(theirs.rounds) == len(ours.rounds) == 1 and theirs == ours
    for most, drawn in ((5, 2), (1, 1)):
        assert len(draw_pairs(base, base, asking, Precision(0.001, most, 2))[0].rounds) == drawn
    theirs, ours = draw_pairs(base, other, asking, Precision(-1.0, 3))
    assert len(theirs.rounds) == len(ours.rounds) == len(ours.fits) == 3
    assert theirs.rounds[0] != theirs.rounds[1] and len(theirs.every) == 120


def test_where_there_are_few_prompts_more_is_drawn_to_each() -> None:
    """400 prompts get four replies each; 120 would take 14 for as many, and get the eight that are allowed."""
    precision = Precision(0.01, 8, 4, min_replies=1600)
    assert [precision.least_per_prompt(number) for number in (1000, 400, 300, 120, 0)] == [4, 4, 6, 8, 8]
    assert Precision(0.01, 8, 1).least_per_prompt(5) == 1


def test_a_prompt_counts_once_however_often_it_was_answered(tokenizer: Tokenizer) -> None:
    """Two rounds of two prompts: the means are by prompt."""
    prompt = gate_prompts(PACK, 1)[0]
    long, short = (reply_about(prompt, None, text, tokenizer) for text in ("a longer text", "a"))
    drawn = DrawnReplies(((long, short), (short, short)), ((True, False), (True, True)))
    assert mean_by_prompt(drawn.fits) == [1.0, 0.5]
    assert drawn.share_by_prompt(lambda reply: reply is long) == [0.5, 0.0]


def test_a_paired_change_comes_with_its_standard_error() -> None:
    """Differences 1, 0, 1, 0: mean 1/2, standard deviation 1/√3, a standard error of 1/√12."""
    change = paired_change([0.0, 0.0, 0.0, 0.5], [1.0, 0.0, 1.0, 0.5])
    assert change.value == 0.5 and change.standard_error == pytest.approx(12**-0.5)
    assert 0 <= change.low < 0.5 < change.high <= 1
    with pytest.raises(ValueError, match="at least two"):
        paired_change([0.0], [1.0])
