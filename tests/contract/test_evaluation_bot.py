"""The evaluation's bot does what the service does, though training imports no service: same words, windows, plans."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from model_store.contract.conversation import Message, Role
from model_store.contract.safety.rules_file import load_safety_rules
from model_store.contract.tokenizer import Tokenizer
from model_store.intents.matters import KnownReplies
from model_store.knowledge.search import Passage
from model_store.sampling import rival_plans
from model_store.store import DEFAULT_BUNDLE
from service.chat.context_window import fit_prompt
from service.chat.plan_rules import NUM_RIVAL_PLANS, PlanChoice, PlanRules
from service.engine.sampler import Sampler, SamplingState
from service.engine.types import SamplingParams
from service.settings import Settings
from training.errors import DataNotFoundError
from training.evaluation.authored.fairness import load_concerns
from training.evaluation.authored.off_limits import load_messages
from training.evaluation.authored.opposite_pairs import load_pairs
from training.evaluation.dialogues.asking_back import SERVING_MIN_PLAN_CONFIDENCE, AskingBack, PlanReading
from training.evaluation.dialogues.bot import SERVING_MAX_TOKENS, fit_window
from training.evaluation.dialogues.goals import load_goals

RIVALS = (
    (("refund_status", 0.2), ("return_item", 0.15), ("gibberish", 0.1)),
    (("refund_status", 0.3), ("return_item", 0.15)),
    (("refund_status", 0.2), ("refund_status/ask_order_id", 0.2), ("invoice", 0.1)),
    (("gibberish", 0.2), ("thanks", 0.1)),
    (("gibberish", 0.2), ("warranty", 0.1), ("thanks", 0.05)),
    (("refund_status", 0.1), ("help_article", 0.5)),
)
WITH_OFFER = (
    (("out_of_scope", 0.9), ("help_article", 0.05)),
    (("price_question", 0.5), ("help_article", 0.2)),
    (("help_article", 0.3), ("price_question", 0.2)),
    (("help_article", 0.8), ("price_question", 0.1)),
    (("self_harm", 0.3), ("help_article", 0.2)),
    (("price_question", 0.3), ("help_article", 0.02)),
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The vocabulary that ships."""
    return Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")


@pytest.mark.parametrize("rivals", RIVALS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_both_say_the_same_when_they_are_not_sure(rivals: tuple[tuple[str, float], ...], language: str) -> None:
    """A question with one topic, with two or with none, or nothing; and the second time the hand-over."""
    asking_back = AskingBack.load()
    rules = PlanRules.load(min_confidence=SERVING_MIN_PLAN_CONFIDENCE)
    asked = (Message(Role.USER, "Hm."),)
    reading, choice = PlanReading(rivals[0][0], rivals), PlanChoice(rivals[0][0], rivals)
    assert reading.confidence == choice.confidence
    ours, theirs = asking_back.instead_of(reading, asked, language), rules.fixed_reply(choice, asked, language)
    assert (ours and ours.text) == (theirs and theirs.text)
    if ours is None:
        return
    assert not ours.hands_over
    again = (*asked, Message(Role.ASSISTANT, ours.text), *asked)
    second, handed = asking_back.instead_of(reading, again, language), rules.fixed_reply(choice, again, language)
    assert second is not None and handed is not None and second.text == handed.text
    assert second.hands_over and handed.finish_reason == "handover"


@pytest.mark.parametrize("plan", ["refund_status", "bot_unhelpful", "human_agent", "thanks"])
@pytest.mark.parametrize("num_replies", [2, 3])
def test_both_leave_a_customer_to_a_person_after_as_many_replies(plan: str, num_replies: int) -> None:
    """About one matter, however sure the bot is of its plan."""
    rivals = ((plan, 0.9), ("invoice", 0.1))
    known = KnownReplies([("refund_status", "It takes <REFUND_TIME>."), (plan, "Well, well.")])
    turns = [Message(Role.USER, "And?"), Message(Role.ASSISTANT, "Well, well.")] * (num_replies - 1)
    talk = (Message(Role.USER, "And?"), Message(Role.ASSISTANT, "It takes <REFUND_TIME>."), *turns)
    rules = PlanRules.load(min_confidence=SERVING_MIN_PLAN_CONFIDENCE)
    ours = AskingBack.load().instead_of(PlanReading(plan, rivals), talk, "en", known)
    theirs = rules.fixed_reply(PlanChoice(plan, rivals), talk, "en", known=known)
    assert (ours and ours.text) == (theirs and theirs.text)
    assert (ours is not None) is (num_replies == 3 and plan in ("refund_status", "bot_unhelpful"))


@pytest.mark.parametrize(("about", "is_plain"), [("refund_status", True), ("invoice", False), ("thanks", False)])
def test_both_take_a_doubtful_later_message_for_what_the_bot_spoke_of_last(about: str, is_plain: bool) -> None:
    """Where that is the likeliest matter."""
    rivals = (("refund_status", 0.2), ("invoice", 0.15))
    known = KnownReplies([(about, "Well, well.")])
    talk = (Message(Role.USER, "Hm"), Message(Role.ASSISTANT, "Well, well."), Message(Role.USER, "And?"))
    rules = PlanRules.load(min_confidence=SERVING_MIN_PLAN_CONFIDENCE)
    ours = AskingBack.load().instead_of(PlanReading("refund_status", rivals), talk, "en", known)
    theirs = rules.fixed_reply(PlanChoice("refund_status", rivals), talk, "en", known=known)
    assert (ours and ours.text) == (theirs and theirs.text)
    assert (ours is None) is is_plain


@pytest.mark.parametrize("rivals", WITH_OFFER)
@pytest.mark.parametrize("fit", [0.2, 0.5])
def test_both_quote_an_offered_article_in_the_same_cases(rivals: tuple[tuple[str, float], ...], fit: float) -> None:
    """By the rule, in place of the plan or of asking back."""
    offered = Passage("a", "a", "Zips", "We mend zips.", "en", fit=fit)
    rules = PlanRules.load(min_confidence=SERVING_MIN_PLAN_CONFIDENCE)
    said = rules.fixed_reply(PlanChoice(rivals[0][0], rivals), (), "en", offered)
    is_quoted = AskingBack.load().quotes(PlanReading(rivals[0][0], rivals), offered)
    assert is_quoted is (said is not None and said.rule == "article")


def test_a_shops_own_rules_are_read_over_those_that_ship(tmp_path: Path) -> None:
    """What its file does not say is as shipped."""
    own = tmp_path / "rules.yaml"
    own.write_text("topics: {refund_status: {en: your cash, zh: 钱}}\n", encoding="utf-8")
    words = AskingBack.load(own).instead_of(PlanReading("refund_status", (("refund_status", 0.1),)), (), "en")
    assert words is not None and "your cash" in words.text and words.topics == ("refund_status",)
    own.write_text("article: {is_on: false}\n", encoding="utf-8")
    off = AskingBack.load(own)
    offered = Passage("a", "a", "Zips", "We mend zips.", "en", fit=1.0)
    assert not off.quotes(PlanReading("refund_status", (("refund_status", 0.1),)), offered)
    with pytest.raises(DataNotFoundError):
        AskingBack.load(tmp_path / "none.yaml")


def test_the_services_defaults_are_the_evaluations() -> None:
    """How sure the bot must be, and how long a completion may get."""
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert defaults["min_plan_confidence"] == SERVING_MIN_PLAN_CONFIDENCE
    assert defaults["max_completion_tokens"] == SERVING_MAX_TOKENS


@pytest.mark.parametrize("num_turns", [1, 3, 12])
def test_both_see_the_same_window(num_turns: int, tokenizer: Tokenizer) -> None:
    """Whole turns go, the oldest first."""
    turns = [
        Message(role, f"Turn {number} of order <ORDER_ID> and the refund of <AMOUNT>, again and again.")
        for number in range(num_turns)
        for role in (Role.USER, Role.ASSISTANT)
    ]
    messages = [*turns, Message(Role.USER, "And now?")]
    theirs = fit_prompt(messages, tokenizer, max_tokens=100, max_context=300).messages
    assert fit_window(messages, tokenizer, 200) == theirs
    with pytest.raises(ValueError, match="does not fit"):
        fit_window(messages, tokenizer, 3)


def test_both_read_the_same_plan_off_the_first_token(tokenizer: Tokenizer) -> None:
    """The most probable plan, greedy, and the probabilities of its rivals among the plans."""
    plans = tokenizer.plans
    logits = np.random.default_rng(4).normal(0, 2, tokenizer.vocab_size).astype(np.float32)
    logits[[plans["refund_status"], plans["return_item"], plans["invoice"]]] += [9, 8, 7]
    params = SamplingParams(
        temperature=0, opening_token_ids=frozenset(plans.values()), num_opening_logprobs=NUM_RIVAL_PLANS
    )
    (sampled,) = Sampler().sample(logits[None], [SamplingState(params, [1], tokenizer.vocab_size)])
    ranked = ((tokenizer.plan_of((token_id,)), math.exp(logprob)) for token_id, logprob in sampled.top_logprobs)
    reading = PlanReading.of(torch.from_numpy(logits).softmax(-1), tokenizer)
    assert reading.plan == tokenizer.plan_of((sampled.token_id,)) == "refund_status"
    rivals = rival_plans(ranked)
    assert [plan for plan, _ in reading.rivals] == [plan for plan, _ in rivals]
    assert [p for _, p in reading.rivals] == pytest.approx([p for _, p in rivals], rel=1e-4)


def test_no_authored_message_is_answered_by_a_safety_rule() -> None:
    """The evaluation asks the model, so the service would have to as well; a softened reply is the model's."""
    rules = load_safety_rules()
    steps = [step for language in load_goals() for goal in language.goals for step in goal.steps]
    texts = [text for step in steps for text in (*step.says, *step.rephrases)]
    texts += [side.says for pair in load_pairs() for side in pair.sides]
    texts += [text for concern in load_concerns() for wordings in concern.wordings.values() for text in wordings]
    texts += [text for by_language in load_messages().values() for some in by_language.values() for text in some]
    found = {text: finding.rule for text in texts if (finding := rules.match(text))}
    assert {text: rule.name for text, rule in found.items() if rule.outcome != "soften"} == {}
