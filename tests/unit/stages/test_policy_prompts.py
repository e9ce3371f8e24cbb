"""What rollouts answer, what they may open with, what a wrong plan costs, and the authored replies beside them."""

from pathlib import Path

import pytest
import torch

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from model_store.knowledge.offer import HELP_PLAN, offer_article
from tests.unit.reformer.tiny_policy import smallest_shape
from tests.unit.stages.feedback_workspace import make_tokenizer
from tests.unit.stages.learning_workspace import make_config
from training.data.domain_pack import load_pack
from training.data.generator import ConversationGenerator
from training.data.prompts import Prompt, build_prompt, unique_prompts
from training.data.subwords import name_plans
from training.reformer.decoder import Sample
from training.reformer.heads import RewardModel
from training.reformer.model import ReformerPolicy, new_policy
from training.rlhf.rollout import Actors, SamplingSettings
from training.stages.learners.learner import Updater
from training.stages.learners.replay import NO_REPLAY, NONE_REPLAYED, Replay, authored_replies
from training.stages.policy import CompositeReward, PromptPools, authored_prompts

PACK = load_pack("shop")
ASK = (Message(Role.USER, "how long is the warranty"),)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A small tokenizer that names the shop's plans."""
    path = Path(tmp_path_factory.mktemp("tokenizer")) / "tokenizer.json"
    return Tokenizer(name_plans(make_tokenizer(path).backend, PACK.plans))


def tiny(tokenizer: Tokenizer) -> ReformerPolicy:
    """A tiny random policy for this vocabulary."""
    shape = smallest_shape(tokenizer.vocab_size)
    return new_policy(shape, seed=1)


def test_a_rollout_quotes_only_where_an_article_is_offered(tokenizer: Tokenizer) -> None:
    """A policy that wants nothing but to quote does so where it can, and nowhere else."""
    policy = tiny(tokenizer)
    offered = offer_article(ASK, "Warranty", "Two years on everything.", "en")
    prompts = [build_prompt(ASK, tokenizer), build_prompt(offered, tokenizer)] * 8
    with torch.no_grad():
        ends = [policy.encode(torch.tensor([prompt.token_ids]))[0, -1] for prompt in prompts[:2]]
        policy.lm_head.decoder.weight[tokenizer.plans[HELP_PLAN]] = 20 * (ends[0] + ends[1])
    actors = Actors(policy, tiny(tokenizer), SamplingSettings(1.0, 4))
    config = make_config()
    rollout = actors.collect(prompts, CompositeReward(RewardModel(policy), tokenizer, config), seed=1)
    plans = [tokenizer.plan_of(sample.token_ids) for sample in rollout.samples]
    assert set(plans[1::2]) == {HELP_PLAN}
    assert HELP_PLAN not in plans[::2] and None not in plans
    drawn = torch.tensor([sum(sample.logprobs) for sample in rollout.samples])
    assert torch.allclose(rollout.logprobs.sum(1), drawn, atol=0.5)  # bf16 against float32; a wrong ban costs 1e9


def test_a_wrong_plan_costs_where_the_question_is_known(tokenizer: Tokenizer) -> None:
    """Asking for a detail of the right intent is right; what a person asked, and who does not plan, is let be."""
    config = make_config(reward={"wrong_plan_penalty": 0.4})
    reward = CompositeReward(RewardModel(tiny(tokenizer)), tokenizer, config)
    known = build_prompt(ASK, tokenizer, intents=frozenset({"invoice", "payment_failed"}))
    unknown = build_prompt(ASK, tokenizer)
    completions = [
        (known, (tokenizer.plans["invoice/ask_order_id"], EOS_ID)),
        (known, (tokenizer.plans["greeting"], EOS_ID)),
        (known, (300, EOS_ID)),
        (unknown, (tokenizer.plans["greeting"], EOS_ID)),
    ]
    samples = [Sample(ids, (0.0, 0.0), True) for _, ids in completions]
    terms = reward([prompt for prompt, _ in completions], samples)
    assert [term.wrong_plan for term in terms] == [0.0, -0.4, 0.0, 0.0]


def test_words_that_are_not_the_plans_cost(tokenizer: Tokenizer) -> None:
    """Whoever asked: a reply about parcels under the plan of invoices, and not one about invoices."""
    config = make_config(reward={"off_plan_penalty": 0.4})
    reward = CompositeReward(RewardModel(tiny(tokenizer)), tokenizer, config)
    texts = ("Every invoice is on your order's page as a PDF.", "Follow your parcel with its tracking number.")
    samples = [
        Sample((tokenizer.plans["invoice"], *tokenizer.encode(text), EOS_ID), (0.0,) * 99, True) for text in texts
    ]
    terms = reward([build_prompt(ASK, tokenizer)] * 2, samples)
    assert [term.off_plan for term in terms] == [0.0, -0.4]


def test_authors_say_what_their_prompts_ask_and_people_do_not(tokenizer: Tokenizer) -> None:
    """Authored prompts carry the intent of their reply's plan; a text that was asked twice carries both intents."""
    authored = authored_prompts(ConversationGenerator(PACK, 1), tokenizer, 200)
    known = {intent.name for intent in PACK.intents} | {HELP_PLAN}
    assert sum(bool(prompt.intents) for prompt in authored) > 150
    assert all(prompt.intents <= known and prompt.opening_ids for prompt in authored)
    twice = [build_prompt(ASK, tokenizer, intents=frozenset({name})) for name in ("warranty", "invoice")]
    (joined,) = unique_prompts([*twice, build_prompt(ASK, tokenizer)])
    assert joined.intents == {"warranty", "invoice"}


def test_no_prompt_is_measured_on_that_is_learned_from(tokenizer: Tokenizer) -> None:
    """Without a rating there are authored prompts of both kinds, all short enough, none in both."""
    generator = ConversationGenerator(PACK, 1)

    def authored(count: int) -> list[Prompt]:
        return authored_prompts(generator, tokenizer, count)

    pools = PromptPools.draw([], authored, 200)
    learned, measured = ({prompt.token_ids for prompt in pool} for pool in (pools.learned, pools.measured))
    assert len(learned) > 30 and len(measured) > 20 and not learned & measured
    assert max(map(len, learned | measured)) <= 200


def test_authored_replies_are_as_the_service_would_draw_them(tokenizer: Tokenizer) -> None:
    """Each opens with a plan that its prompt allows, holds nothing banned, fits and ends; most are usable."""
    replies = authored_replies(ConversationGenerator(PACK, 1), tokenizer, max_positions=256, count=100)
    assert len(replies) > 60
    for reply in replies:
        opening, *words, end = reply.completion_ids
        assert opening in reply.prompt.opening_ids and end == EOS_ID
        assert not reply.prompt.banned_ids.intersection(words)
        assert len(reply.prompt.token_ids) + len(reply.completion_ids) <= 256


def test_replay_keeps_authored_replies_likely(tokenizer: Tokenizer) -> None:
    """A few updates of nothing but their share of the loss make them likelier; the same step draws the same ones."""
    replies = authored_replies(ConversationGenerator(PACK, 1), tokenizer, max_positions=256, count=20)
    actors = Actors(tiny(tokenizer), tiny(tokenizer), SamplingSettings(1.0, 8))
    replay = Replay(replies, 0.25, seed=1)
    replayed = replay.draw(actors, 0, 24)
    batch, again, other = replayed.batch, replay.draw(actors, 0, 24).batch, replay.draw(actors, 1, 24).batch
    assert batch is not None and again is not None and other is not None
    assert len(batch.token_ids) == 8 and torch.equal(batch.token_ids, again.token_ids)
    assert batch.token_ids.shape != other.token_ids.shape or not torch.equal(batch.token_ids, other.token_ids)
    update = Updater(actors.policy, 1e-2, num_updates=10)
    losses = [update(lambda: replay.mixed(torch.zeros(()), actors, replayed)) for _ in range(10)]
    assert losses[-1] < 0.8 * losses[0]
    assert NO_REPLAY.draw(actors, 0, 24) is NONE_REPLAYED
    assert NO_REPLAY.mixed(torch.ones(()), actors, NONE_REPLAYED) == 1
    assert replay.mixed(torch.tensor(4.0), actors, NONE_REPLAYED) == 4
