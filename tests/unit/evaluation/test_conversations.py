"""Second questions and the page that people read."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from model_store.contract.conversation import Role
from model_store.contract.tokenizer import Tokenizer
from model_store.store import DEFAULT_BUNDLE
from training.data.domain_pack import load_pack
from training.evaluation.dialogues.conversations import conversations_page, second_question_figures, second_questions
from training.evaluation.held_out import HeldOutPrompt, SampledReply, gate_prompts


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The vocabulary that ships."""
    return Tokenizer.load(Path(DEFAULT_BUNDLE) / "tokenizer.json")


@pytest.fixture(scope="module")
def prompts() -> list[HeldOutPrompt]:
    """A hundred held-out asks in both languages."""
    return gate_prompts(load_pack("shop"), 100)


def reply_to(prompt: HeldOutPrompt, plan: str, tokenizer: Tokenizer) -> SampledReply:
    """An authored reply that opens with a plan."""
    return SampledReply(prompt, (tokenizer.plans[plan],), prompt.replies[0], True)


def test_a_second_question_stands_behind_the_first_and_its_answer(
    prompts: list[HeldOutPrompt], tokenizer: Tokenizer
) -> None:
    """Same language, another intent, and what is asked for is the second one's."""
    first = [reply_to(prompt, prompt.intent, tokenizer) for prompt in prompts]
    for reply, prompt in zip(first, second_questions(first, seed=3), strict=True):
        assert [message.role for message in prompt.messages] == [Role.USER, Role.ASSISTANT, Role.USER]
        assert prompt.messages[0] == reply.prompt.messages[0] and prompt.messages[1].content == reply.text
        assert prompt.language == reply.prompt.language and prompt.intent != reply.prompt.intent
        source = next(other for other in prompts if other.messages[0] == prompt.messages[2])
        assert source.intent == prompt.intent


def test_figures_count_the_plans_of_second_replies(prompts: list[HeldOutPrompt], tokenizer: Tokenizer) -> None:
    """Half of the English ones right, all of the Chinese ones."""
    english = [prompt for prompt in prompts if prompt.language == "en"][:4]
    chinese = [prompt for prompt in prompts if prompt.language == "zh"][:2]
    wrong = [replace(prompt, intent="nothing of the kind") for prompt in english[2:]]
    replies = [reply_to(prompt, prompt.intent, tokenizer) for prompt in (*english[:2], *chinese)]
    replies += [reply_to(prompt, "thanks", tokenizer) for prompt in wrong]
    figures = second_question_figures(replies, tokenizer)
    assert figures["en"].value == 0.5 and figures["zh"].value == 1.0


def test_the_page_shows_whole_conversations_and_marks_wrong_plans(
    prompts: list[HeldOutPrompt], tokenizer: Tokenizer
) -> None:
    """What people and the bot say is text, never markup."""
    hostile = replace(prompts[0].messages[0], content="<script>alert(1)</script>")
    first = reply_to(replace(prompts[0], messages=(hostile,)), prompts[0].intent, tokenizer)
    second = reply_to(replace(prompts[1], intent="thanks"), "goodbye", tokenizer)
    page = conversations_page([first, second], tokenizer, "Read me", count=10, seed=1)
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    assert len(re.findall("<article", page)) == 2 and page.count('class="wrong"') == 1
    assert "plan goodbye, asked about thanks" in page and "right in 1" in page
