"""A simulated customer with a goal: hears a reply's plan and says what such a customer would say next.

Plans stand for what replies say, so that the customer needs no understanding of its own; `success` says besides how
often the wording fits the plan.
"""

import random
from collections.abc import Collection
from enum import StrEnum

from model_store.replies import PERSON_PLAN
from training.evaluation.dialogues.asking_back import FixedWords, topic_of
from training.evaluation.dialogues.bot import BotReply
from training.evaluation.dialogues.goals import Goal, Phrases

_ASKS = "/ask_"


class Outcome(StrEnum):
    """How a conversation stands, from the customer's side."""

    OPEN = "open"
    COMPLETED = "completed"
    LEFT = "left"
    HANDED_OVER = "handed_over"


class Customer:
    """One customer in one conversation. Two of the same goal and number behave the same."""

    def __init__(self, goal: Goal, phrases: Phrases, number: int) -> None:
        """`number` chooses the words: customers of consecutive numbers open differently."""
        self.goal = goal
        self.outcome = Outcome.OPEN
        self.step = 0
        self.num_misses = 0
        self.num_asked_again = 0
        self._phrases = phrases
        self._number = number
        self._random = random.Random(f"{goal.goal} {number}")
        self._unsaid: dict[tuple[str, ...], list[str]] = {}
        self._asked_for: set[str] = set()
        self._has_just_given = False
        self._clarified = -1

    def opens(self) -> str:
        """The first message."""
        says = self.goal.steps[0].says
        return says[self._number % len(says)]

    def hears(self, reply: BotReply, named: Collection[str]) -> str | None:
        """The next message, or None where the conversation is over. `named` are entity types that were given so far."""
        step = self.goal.steps[self.step]
        has_just_given, self._has_just_given = self._has_just_given, False
        if reply.fixed is not None:
            return self._hears_fixed(reply.fixed)
        topic, _, entity = reply.plan.partition(_ASKS)
        if topic in step.wants and entity:
            return self._is_asked_for(entity.upper(), named)
        # Who has given a detail because the bot asked for it is content with a person who takes it from there.
        if topic in step.wants or (topic == PERSON_PLAN and has_just_given):
            return self._goes_on()
        return self._misses(self._pick(step.rephrases))

    def _hears_fixed(self, words: FixedWords) -> str | None:
        step = self.goal.steps[self.step]
        if words.hands_over:
            if PERSON_PLAN in step.wants:
                return self._goes_on()
            self.outcome = Outcome.HANDED_OVER
            return None
        is_understood = any(topic_of(wanted) in words.topics for wanted in step.wants)
        if is_understood and self._clarified < self.step:
            self._clarified = self.step
            return self._pick(step.rephrases)
        return self._misses(self._pick(step.rephrases))

    def _is_asked_for(self, entity: str, named: Collection[str]) -> str | None:
        details = self.goal.gives.get(entity)
        if entity in named or entity in self._asked_for:
            self.num_asked_again += 1
            answer = self._pick(self._phrases.repeats).format(detail=self._pick(details)) if details else None
            return self._misses(answer or self._pick(self._phrases.lacks))
        self._asked_for.add(entity)
        self._has_just_given = True
        return self._pick(details or self._phrases.lacks)

    def _goes_on(self) -> str | None:
        self.step += 1
        if self.step == len(self.goal.steps):
            self.outcome = Outcome.COMPLETED
            return None
        return self._pick(self.goal.steps[self.step].says)

    def _misses(self, answer: str) -> str | None:
        self.num_misses += 1
        if self.num_misses > self.goal.patience:
            self.outcome = Outcome.LEFT
            return None
        return answer

    def _pick(self, wordings: tuple[str, ...]) -> str:
        """A wording that this customer has not used yet, as long as there is one."""
        if not self._unsaid.get(wordings):
            self._unsaid[wordings] = self._random.sample(wordings, len(wordings))
        return self._unsaid[wordings].pop()
