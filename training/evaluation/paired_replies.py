"""Replies of two policies to the same prompts, drawn with the same numbers: as many to each prompt as it takes to know
by how much their wording differs.

There are only so many held-out prompts; another reply to each tells how much of a difference was the draw. When to stop
depends on the standard error alone, never on who is ahead.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from statistics import fmean

from model_store.contract.tokenizer import Tokenizer
from training.data.domain_pack import intent_of
from training.evaluation.figures import Change, paired_change
from training.evaluation.held_out import HeldOutPrompt, SampledReply, Sampling, sample_replies
from training.evaluation.judge import IntentJudge
from training.reformer.model import ReformerPolicy


@dataclass(frozen=True, slots=True)
class Precision:
    """When there are replies enough."""

    max_standard_error: float
    """Of the change in the share of fitting wordings."""
    max_replies_per_prompt: int
    min_replies_per_prompt: int = 1
    min_replies: int = 1
    """To all prompts together: where these are few, more are drawn to each."""

    def least_per_prompt(self, num_prompts: int) -> int:
        """Rounds that are drawn anyway."""
        least = max(self.min_replies_per_prompt, math.ceil(self.min_replies / max(1, num_prompts)))
        return min(self.max_replies_per_prompt, least)


@dataclass(frozen=True)
class Questionnaire:
    """Prompts, and how replies to them are drawn and judged."""

    prompts: Sequence[HeldOutPrompt]
    tokenizer: Tokenizer
    judge: IntentJudge
    sampling: Sampling

    def answer(self, policy: ReformerPolicy, round_number: int) -> "DrawnReplies":
        """One reply to every prompt; every round draws numbers of its own, the same for every policy."""
        sampling = replace(self.sampling, seed=self.sampling.seed + round_number)
        replies = sample_replies(policy, self.tokenizer, self.prompts, sampling)
        return DrawnReplies((tuple(replies),), (tuple(wording_fits(replies, self.tokenizer, self.judge)),))

    def answer_as_often(self, policy: ReformerPolicy, other: "DrawnReplies") -> "DrawnReplies":
        """As many rounds as `other` has, with the numbers that were drawn for these."""
        return reduce(DrawnReplies.joined, (self.answer(policy, number) for number in range(len(other.rounds))))


@dataclass(frozen=True, slots=True)
class DrawnReplies:
    """What one policy answered: in every round one reply to each prompt, in the prompts' order."""

    rounds: tuple[tuple[SampledReply, ...], ...]
    fits: tuple[tuple[bool, ...], ...]
    """Whether a reply's words say what its plan set out to say."""

    @property
    def every(self) -> list[SampledReply]:
        """The replies of all rounds."""
        return [reply for replies in self.rounds for reply in replies]

    def share_by_prompt(self, has_it: Callable[[SampledReply], bool]) -> list[float]:
        """For each prompt the share of its replies that have it."""
        return mean_by_prompt([[has_it(reply) for reply in replies] for replies in self.rounds])

    def joined(self, more: "DrawnReplies") -> "DrawnReplies":
        """These rounds and more."""
        return DrawnReplies(self.rounds + more.rounds, self.fits + more.fits)


def draw_pairs(
    base: ReformerPolicy, candidate: ReformerPolicy, questionnaire: Questionnaire, precision: Precision
) -> tuple[DrawnReplies, DrawnReplies]:
    """As many rounds of both as asked for at least, then more until the wording's change is known precisely enough.

    Never more than are allowed.
    """
    least = precision.least_per_prompt(len(questionnaire.prompts))
    theirs, ours = questionnaire.answer(base, 0), questionnaire.answer(candidate, 0)
    for number in range(1, precision.max_replies_per_prompt):
        is_precise = wording_change(theirs, ours).standard_error <= precision.max_standard_error
        if is_precise and number >= least:
            break
        theirs = theirs.joined(questionnaire.answer(base, number))
        ours = ours.joined(questionnaire.answer(candidate, number))
    return theirs, ours


def wording_fits(replies: Sequence[SampledReply], tokenizer: Tokenizer, judge: IntentJudge) -> list[bool]:
    """Whether each reply's words answer what its plan says, right or wrong; without a plan, what was asked."""
    plans = [tokenizer.plan_of(reply.token_ids) for reply in replies]
    intents = [intent_of(plan) if plan else reply.prompt.intent for plan, reply in zip(plans, replies, strict=True)]
    return judge.fits(intents, [reply.text for reply in replies])


def wording_change(base: DrawnReplies, candidate: DrawnReplies) -> Change:
    """By how much more often the candidate's words fit their plan, prompt by prompt."""
    return paired_change(mean_by_prompt(base.fits), mean_by_prompt(candidate.fits))


def mean_by_prompt(rounds: Sequence[Sequence[float]]) -> list[float]:
    """The mean over the rounds of what each prompt's replies were given."""
    return [fmean(column) for column in zip(*rounds, strict=True)]
