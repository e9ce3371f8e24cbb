"""Conversations for people to read, and what a second question in a conversation does to the answer.

Every reply is greedy and to wordings that training never sees. A page is one HTML file without scripts or links.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from html import escape

from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from training.evaluation.dialogues.talk import GoalConversation
from training.evaluation.figures import Figure, share
from training.evaluation.held_out import HeldOutPrompt, SampledReply

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c}"
    "article{border-top:1px solid #ddd;padding:.8rem 0}p{margin:.25rem 0;padding:.4rem .7rem;border-radius:.6rem;"
    "width:fit-content;max-width:85%}.user{background:#e8eef7;margin-left:auto}.assistant{background:#f2f2ee}"
    "h2{font-size:1rem;margin:0}small{color:#666}.wrong{color:#a30000}"
)


def second_questions(first: Sequence[SampledReply], seed: int) -> list[HeldOutPrompt]:
    """Each reply's conversation with another held-out question behind it, of another intent and the same language."""
    generator = random.Random(seed)
    by_language = {
        language: [reply.prompt for reply in first if reply.prompt.language == language]
        for language in sorted({reply.prompt.language for reply in first})
    }
    return [_continued(reply, by_language[reply.prompt.language], generator) for reply in first]


def second_question_figures(replies: Sequence[SampledReply], tokenizer: Tokenizer) -> dict[str, Figure]:
    """By language: the share of second questions whose reply opens with a plan of the right intent."""
    languages = sorted({reply.prompt.language for reply in replies})
    return {
        language: share(
            [_topic(reply, tokenizer) == reply.prompt.intent for reply in replies if reply.prompt.language == language]
        )
        for language in languages
    }


def conversations_page(replies: Sequence[SampledReply], tokenizer: Tokenizer, title: str, count: int, seed: int) -> str:
    """HTML with `count` of the conversations, drawn at random."""
    chosen = random.Random(seed).sample(list(replies), min(count, len(replies)))
    num_right = sum(_topic(reply, tokenizer) == reply.prompt.intent for reply in chosen)
    summary = (
        f"{len(chosen)} conversations; the last reply's plan is right in {num_right}. Placeholders are not filled in."
    )
    return _page(title, summary, [_article(number, reply, tokenizer) for number, reply in enumerate(chosen, 1)])


def goals_page(conversations: Sequence[GoalConversation], title: str) -> str:
    """HTML with every simulated customer's conversation."""
    num_completed = sum(conversation.is_completed for conversation in conversations)
    summary = (
        f"{len(conversations)} simulated customers, {num_completed} of them got what they wanted."
        " Placeholders are not filled in."
    )
    return _page(title, summary, [_goal_article(number, each) for number, each in enumerate(conversations, 1)])


def _page(title: str, summary: str, articles: Sequence[str]) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1><p>{escape(summary)}</p>"
        + "".join(articles)
        + "</body></html>\n"
    )


def _continued(reply: SampledReply, prompts: Sequence[HeldOutPrompt], generator: random.Random) -> HeldOutPrompt:
    others = [prompt for prompt in prompts if prompt.intent != reply.prompt.intent]
    following = generator.choice(others)
    history = (*reply.prompt.messages, Message(Role.ASSISTANT, reply.text))
    return replace(following, messages=(*history, *following.messages))


def _topic(reply: SampledReply, tokenizer: Tokenizer) -> str:
    return (tokenizer.plan_of(reply.token_ids) or "").partition("/")[0]


def _article(number: int, reply: SampledReply, tokenizer: Tokenizer) -> str:
    messages = (*reply.prompt.messages, Message(Role.ASSISTANT, reply.text))
    lines = "".join(f'<p class="{message.role}">{escape(message.content)}</p>' for message in messages)
    plan = tokenizer.plan_of(reply.token_ids) or "none"
    is_right = _topic(reply, tokenizer) == reply.prompt.intent
    verdict = f"plan {plan}" if is_right else f"plan {plan}, asked about {reply.prompt.intent}"
    state = "" if is_right else ' class="wrong"'
    return (
        f'<article lang="{escape(reply.prompt.language)}">{lines}'
        f"<small{state}>{number}. {escape(verdict)}</small></article>"
    )


def _goal_article(number: int, conversation: GoalConversation) -> str:
    lines = "".join(
        f'<p class="user">{escape(each.said)}</p><p class="assistant">{escape(each.reply.text)}</p>'
        f"<small>{escape(each.reply.plan)}, {each.reply.confidence:.0%} sure</small>"
        for each in conversation.exchanges
    )
    state = "" if conversation.is_completed else ' class="wrong"'
    return (
        f'<article lang="{escape(conversation.language)}"><h2>{number}. {escape(conversation.goal)}</h2>{lines}'
        f"<p><small{state}>{conversation.outcome.value.replace('_', ' ')}</small></p></article>"
    )
