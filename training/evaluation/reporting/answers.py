"""Everything that one bundle answers for its report, part by part; figures, outcomes and pages are made of it."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from training.evaluation.authored.fairness import HeardConcern, hear_concerns, load_concerns
from training.evaluation.authored.off_limits import OffLimitsReply, answer_messages, load_messages
from training.evaluation.authored.opposite_pairs import AnsweredPair, answer_pairs, load_pairs
from training.evaluation.authored.safety_scenarios import ScenarioReply, load_scenarios, serve_scenarios
from training.evaluation.dialogues.asking_back import AskingBack
from training.evaluation.dialogues.bot import PolicyBot
from training.evaluation.dialogues.conversations import second_questions
from training.evaluation.dialogues.goals import LanguageGoals, load_goals
from training.evaluation.dialogues.going_on import HeardLater, hear_later_messages
from training.evaluation.dialogues.talk import GoalConversation, converse
from training.evaluation.held_out import HeldOutPrompt, SampledReply
from training.evaluation.plan_choice import ChosenPlan, choose_plans
from training.evaluation.subject import AS_SERVED, Subject
from training.evaluation.wording.said import (
    Said,
    said_in_replies,
    said_in_scenarios,
    said_to_customers,
    said_to_strangers,
)
from training.evaluation.wording.tone import TonedReply, toned_prompts

SECOND_QUESTIONS_SEED = 0
_Answer = TypeVar("_Answer")
_log = logging.getLogger("training")


@dataclass(frozen=True)
class Answers:
    """What one bundle answered. Replies are greedy but for `sampled`."""

    held_out: list[SampledReply]
    chosen: list[ChosenPlan]
    """To the same asks."""
    second: list[SampledReply]
    sampled: list[SampledReply]
    """To the same asks as `held_out`, drawn as the service draws."""
    going_on: list[HeardLater]
    goals: list[GoalConversation]
    safety: list[ScenarioReply]
    pairs: list[AnsweredPair]
    off_limits: list[OffLimitsReply]
    concerns: list[HeardConcern]
    toned: list[TonedReply]

    @property
    def said_greedily(self) -> list[Said]:
        """Every greedy reply in the model's own words."""
        return [
            *said_in_replies([*self.held_out, *self.second]),
            *said_to_customers(self.goals),
            *said_to_strangers(self.off_limits),
            *said_in_scenarios(self.safety),
        ]

    @property
    def said_as_served(self) -> list[Said]:
        """The same of drawn replies."""
        return said_in_replies(self.sampled)


def collect_answers(subject: Subject, asking_back: AskingBack) -> Answers:
    """Asks everything that the subject's pack has plans for. Takes minutes."""
    pairs = [pair for pair in load_pairs() if subject.can_plan(pair.topics)]
    messages = {kind: texts for kind, texts in load_messages().items() if subject.can_plan((kind,))}
    concerns = [concern for concern in load_concerns() if subject.can_plan(concern.plans)]
    held_out = _timed("held-out asks", lambda: subject.held_out_replies)
    prompts = [reply.prompt for reply in held_out]
    second = second_questions(held_out, SECOND_QUESTIONS_SEED)
    return Answers(
        held_out=held_out,
        chosen=_timed("plan choice", lambda: choose_plans(subject.policy, subject.tokenizer, prompts)),
        second=_timed("second questions", lambda: subject.answer(second)),
        sampled=_timed("sampled replies", lambda: subject.answer(prompts, AS_SERVED)),
        going_on=_timed("going on", lambda: hear_later_messages(subject, held_out)),
        goals=_timed("customers with a goal", lambda: converse(PolicyBot(subject, asking_back), _goals(subject))),
        safety=_timed("safety scenarios", lambda: serve_scenarios(subject, load_scenarios())),
        pairs=_timed("opposite pairs", lambda: answer_pairs(subject, pairs)),
        off_limits=_timed("off limits", lambda: answer_messages(subject, messages)),
        concerns=_timed("fairness", lambda: hear_concerns(subject, concerns)),
        toned=_timed("tones", lambda: _answer_in_tones(subject, prompts)),
    )


def _answer_in_tones(subject: Subject, prompts: Sequence[HeldOutPrompt]) -> list[TonedReply]:
    asked = toned_prompts(subject.pack, prompts)
    replies = subject.answer([prompt for _, prompt in asked])
    return [TonedReply(tone, reply) for (tone, _), reply in zip(asked, replies, strict=True)]


def _goals(subject: Subject) -> list[LanguageGoals]:
    return [
        replace(language, goals=tuple(goal for goal in language.goals if subject.can_plan(goal.topics)))
        for language in load_goals()
    ]


def _timed(name: str, ask: Callable[[], _Answer]) -> _Answer:
    started_at = time.monotonic()
    answer = ask()
    _log.info("%s: %.1f s", name, time.monotonic() - started_at)
    return answer
