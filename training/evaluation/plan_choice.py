"""Choosing the plan: how often the network is right, what asking back is worth when it is not sure, and whether a bag
of n-grams that learned the same asks would have done as well.

One forward pass a prompt and no reply: the plan is the first token. How whole replies are: `ability`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict

from model_store.contract.conversation import Message
from model_store.contract.tokenizer import Tokenizer
from model_store.knowledge.offer import plans_for
from training.data.domain_pack import DomainPack, intent_of
from training.data.plan_teacher.linear import LinearTeacher
from training.data.prompts import opening_ids, render_prompt
from training.evaluation.figures import Figure, grouped, share
from training.evaluation.held_out import HeldOutPrompt, Sampling
from training.reformer.decoder import BANNED_LOGIT, heard_openings, not_opening_mask, opening_distribution
from training.reformer.model import ReformerPolicy

THRESHOLDS = (0.0, 0.2, 0.35, 0.5, 0.7, 0.9)
_BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class ChosenPlan:
    """The intent of the most probable plan, and the probability of all plans of that intent together."""

    intent: str
    confidence: float


class ThresholdFigures(BaseModel):
    """What happens when the bot answers only where it is at least this sure."""

    model_config = ConfigDict(frozen=True)

    threshold: float
    answered: Figure
    right_of_answered: Figure


class PlanChoiceFigures(BaseModel):
    """Shares in one language, with 95 % intervals."""

    model_config = ConfigDict(frozen=True)

    network: Figure
    bag_of_ngrams: Figure
    thresholds: tuple[ThresholdFigures, ...]


@torch.no_grad()
def first_token_probabilities(
    policy: ReformerPolicy, tokenizer: Tokenizer, conversations: Sequence[Sequence[Message]]
) -> torch.Tensor:
    """[n, V] float32: how likely each token opens the reply to each conversation, before anything is banned."""
    policy.eval()
    rendered = [render_prompt(messages, tokenizer) for messages in conversations]
    found = torch.zeros(len(rendered), int(policy.config.vocab_size))
    order = sorted(range(len(rendered)), key=lambda index: len(rendered[index]))
    for start in range(0, len(order), _BATCH_SIZE):
        rows = order[start : start + _BATCH_SIZE]
        lengths = torch.tensor([len(rendered[row]) for row in rows])
        token_ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(rendered[row]) for row in rows], batch_first=True)
        hidden = policy.encode(token_ids)[torch.arange(len(rows)), lengths - 1]
        logits = heard_openings(policy, [rendered[row] for row in rows], policy.token_logits(hidden).float())
        found[rows] = logits.softmax(-1)
    return found


def plan_opinions(
    policy: ReformerPolicy, tokenizer: Tokenizer, conversations: Sequence[Sequence[Message]]
) -> tuple[list[str], torch.Tensor]:
    """The intents, k of them, and [n, k] how likely the policy thinks each, by conversation; rows sum to one.

    Out of the plans that may open a reply without an article; all plans of an intent together.
    """
    plans_of_replies = plans_for(tokenizer.plans, has_offer=False)
    names = sorted(plans_of_replies, key=lambda name: plans_of_replies[name])
    intents = sorted(set(map(intent_of, names)))
    of_intent = torch.zeros(len(names), len(intents))
    for row, name in enumerate(names):
        of_intent[row, intents.index(intent_of(name))] = 1
    first = first_token_probabilities(policy, tokenizer, conversations)
    plans = first[:, [tokenizer.plans[name] for name in names]]
    return intents, (plans / plans.sum(1, keepdim=True)) @ of_intent


def choose_plans(policy: ReformerPolicy, tokenizer: Tokenizer, prompts: Sequence[HeldOutPrompt]) -> list[ChosenPlan]:
    """The policy's plan for each prompt, in order, out of those that may open a reply without an article."""
    intents, opinions = plan_opinions(policy, tokenizer, [prompt.messages for prompt in prompts])
    best = opinions.max(dim=1)
    return [
        ChosenPlan(intents[index], min(1.0, value))
        for index, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def right_plan_probabilities(
    policy: ReformerPolicy, tokenizer: Tokenizer, prompts: Sequence[HeldOutPrompt], sampling: Sampling
) -> list[float]:
    """How likely a reply drawn at `sampling`, above temperature 0, opens with a plan of what was asked, by prompt.

    Exact: nothing is drawn and nobody judges. 0 for a model without plans.
    """
    if not tokenizer.plans:
        return [0.0] * len(prompts)
    first = first_token_probabilities(policy, tokenizer, [prompt.messages for prompt in prompts])
    openings = [opening_ids(prompt.messages, tokenizer) for prompt in prompts]
    not_opening = not_opening_mask(openings, torch.zeros(first.shape, dtype=torch.bool))
    drawn = opening_distribution(
        first.log().masked_fill(not_opening, BANNED_LOGIT),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        min_p=sampling.opening_min_p,
    )
    by_intent = grouped(tokenizer.plans, intent_of)
    columns = [[tokenizer.plans[plan] for plan in by_intent.get(prompt.intent, [])] for prompt in prompts]
    return [float(row[ids].sum()) for row, ids in zip(drawn, columns, strict=True)]


def plan_choice_by_language(
    chosen: Sequence[ChosenPlan], prompts: Sequence[HeldOutPrompt], pack: DomainPack, tokenizer: Tokenizer
) -> dict[str, PlanChoiceFigures]:
    """Figures of chosen plans, beside those of a linear classifier that is trained here on the pack's asks."""
    figures = {}
    for language in sorted({prompt.language for prompt in prompts}):
        rows = [(plan, prompt) for plan, prompt in zip(chosen, prompts, strict=True) if prompt.language == language]
        figures[language] = PlanChoiceFigures(
            network=share([plan.intent == prompt.intent for plan, prompt in rows]),
            bag_of_ngrams=_bag_of_ngrams([prompt for _, prompt in rows], language, pack, tokenizer),
            thresholds=tuple(_at_threshold(rows, threshold) for threshold in THRESHOLDS),
        )
    return figures


def plan_choice_table(figures: Mapping[str, PlanChoiceFigures]) -> str:
    """The figures for people."""
    lines = []
    for language, choice in figures.items():
        lines.append(
            f"{language}: right plan {choice.network}, a bag of n-grams on the same asks {choice.bag_of_ngrams}"
        )
        lines.append(f"{'':4}{'sure from':>10}{'answered':>24}{'right of those':>24}")
        lines += [
            f"{'':4}{row.threshold:>10}{row.answered!s:>24}{row.right_of_answered!s:>24}" for row in choice.thresholds
        ]
    return "\n".join(lines)


def _at_threshold(rows: Sequence[tuple[ChosenPlan, HeldOutPrompt]], threshold: float) -> ThresholdFigures:
    answered = [(plan, prompt) for plan, prompt in rows if plan.confidence >= threshold]
    return ThresholdFigures(
        threshold=threshold,
        answered=share([plan.confidence >= threshold for plan, _ in rows]),
        right_of_answered=share([plan.intent == prompt.intent for plan, prompt in answered]),
    )


def _bag_of_ngrams(prompts: Sequence[HeldOutPrompt], language: str, pack: DomainPack, tokenizer: Tokenizer) -> Figure:
    teacher = LinearTeacher(pack, language, tokenizer, seed=0)
    opinions = teacher.probabilities([prompt.messages[-1].content for prompt in prompts])
    found = [pack.plans[int(row.argmax())] for row in opinions]
    return share([plan == prompt.intent for plan, prompt in zip(found, prompts, strict=True)])
