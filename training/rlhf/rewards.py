"""The reward: what people are expected to think of a completion, minus what no rating may buy.

Every term has a name and is reported by it; the sum is what the policy is moved towards. Left out against RLHF as
published (Ouyang et al. 2022): the KL term, which is the optimiser's business (`training.stages.policy`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from model_store.contract.wording.unsafe import unsafe_rules
from training.rlhf.estimators import repetition_share
from training.rlhf.overlap import overlap
from training.rlhf.terms.hand_over import hand_over_fault
from training.rlhf.terms.wording import flatters, is_biased

_LONG_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class RewardWeights:
    """How much each term counts; penalties are positive numbers."""

    overlap: float
    unsafe: float
    empty: float
    overlong: float
    repetition: float
    improper_ending: float
    wrong_plan: float
    off_plan: float
    flattery: float
    bias: float
    hand_over: float


@dataclass(frozen=True, slots=True)
class RatedCompletion:
    """What the reward is about: masked text, tokens, and the reward model's score, pessimistic or not."""

    text: str
    token_ids: Sequence[int]
    ended: bool
    score: float
    references: tuple[str, ...] = ()
    has_wrong_plan: bool = False
    """Whether it set out to answer something else than what was asked; False where nobody knows what was."""
    is_off_plan: bool = False
    """Whether its words are not those of the plan that it opens with."""
    plan: str | None = None
    """What it opens with; None from a model without plans."""
    is_person_asked_for: bool = False
    earlier_replies: tuple[str, ...] = ()
    """What the bot has said in this conversation before."""


@dataclass(frozen=True, slots=True)
class RewardTerms:
    """The reward of one completion by its parts; penalties are zero or negative."""

    human: float
    overlap: float
    unsafe: float
    empty: float
    overlong: float
    repetition: float
    improper_ending: float
    wrong_plan: float
    off_plan: float = 0.0
    flattery: float = 0.0
    bias: float = 0.0
    hand_over: float = 0.0

    @property
    def total(self) -> float:
        """What is optimised."""
        return math.fsum(getattr(self, field.name) for field in fields(self))


def reward_terms(completion: RatedCompletion, weights: RewardWeights, *, max_tokens: int) -> RewardTerms:
    """The reward of a completion that could have had `max_tokens` tokens.

    Over-long starts at three quarters of `max_tokens` and grows linearly to the whole penalty (DAPO, Yu et al. 2025,
    eq. 13); repetition is the share of repeated 4-grams, or all where an earlier reply comes again word for word; an
    improper ending is one without `<|eos|>`.
    """
    soft_limit = _LONG_SHARE * max_tokens
    excess = (len(completion.token_ids) - soft_limit) / max(1.0, max_tokens - soft_limit)
    return RewardTerms(
        human=_sigmoid(completion.score),
        overlap=weights.overlap * overlap(completion.text, completion.references),
        unsafe=-weights.unsafe * bool(unsafe_rules(completion.text)),
        empty=-weights.empty * (not completion.text.strip()),
        overlong=-weights.overlong * min(1.0, max(0.0, excess)),
        repetition=-weights.repetition * _repetition(completion),
        improper_ending=-weights.improper_ending * (not completion.ended),
        wrong_plan=-weights.wrong_plan * completion.has_wrong_plan,
        off_plan=-weights.off_plan * completion.is_off_plan,
        flattery=-weights.flattery * flatters(completion.text),
        bias=-weights.bias * is_biased(completion.text),
        hand_over=-weights.hand_over
        * hand_over_fault(is_asked_for=completion.is_person_asked_for, plan=completion.plan, text=completion.text),
    )


def _repetition(completion: RatedCompletion) -> float:
    said_before = {reply.strip() for reply in completion.earlier_replies}
    is_again = bool(completion.text.strip()) and completion.text.strip() in said_before
    return 1.0 if is_again else repetition_share(completion.token_ids)


def _sigmoid(score: float) -> float:
    return 0.5 * (1 + math.tanh(score / 2))
