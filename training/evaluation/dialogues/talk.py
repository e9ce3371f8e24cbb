"""Customers and a bot talking, all conversations turn by turn, and what was said.

Customers' words are masked as the service masks them, one vault a conversation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from model_store.contract.conversation import Message, Role
from model_store.contract.entities import EntityMasker, EntityVault
from training.data.domain_pack import entities_in, user_message
from training.evaluation.dialogues.bot import Bot, BotReply
from training.evaluation.dialogues.customer import Customer, Outcome
from training.evaluation.dialogues.goals import LanguageGoals

CONVERSATIONS_A_GOAL = 3
"""Customers who want the same; each opens in other words."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A customer's masked message, the reply, and which of the goal's steps it was about."""

    step: int
    said: str
    reply: BotReply


@dataclass(frozen=True, slots=True)
class GoalConversation:
    """What came of one customer's goal."""

    language: str
    goal: str
    num_steps: int
    exchanges: tuple[Exchange, ...]
    outcome: Outcome
    num_misses: int
    num_asked_again: int

    @property
    def is_completed(self) -> bool:
        """Whether the customer got everything, and was asked for no detail twice."""
        return self.outcome is Outcome.COMPLETED and not self.num_asked_again


def converse(
    bot: Bot, languages: Sequence[LanguageGoals], per_goal: int = CONVERSATIONS_A_GOAL
) -> list[GoalConversation]:
    """Every goal `per_goal` times, in order."""
    masker = EntityMasker()
    talks = [
        _Talk(language.language, Customer(goal, language.phrases, number), masker)
        for language in languages
        for goal in language.goals
        for number in range(per_goal)
    ]
    while open_talks := [talk for talk in talks if talk.customer.outcome is Outcome.OPEN]:
        replies = bot.answer([talk.messages for talk in open_talks])
        for talk, reply in zip(open_talks, replies, strict=True):
            talk.take(reply)
    return [talk.conversation() for talk in talks]


class _Talk:
    """One conversation while it goes on."""

    def __init__(self, language: str, customer: Customer, masker: EntityMasker) -> None:
        self.customer = customer
        self.messages: list[Message] = []
        self._language = language
        self._masker = masker
        self._vault = EntityVault()
        self._exchanges: list[Exchange] = []
        self._say(customer.opens())

    def take(self, reply: BotReply) -> None:
        """Notes the reply; the customer answers it or goes."""
        said = [message.content for message in self.messages if message.role is Role.USER]
        self._exchanges.append(Exchange(self.customer.step, said[-1], reply))
        self.messages.append(Message(Role.ASSISTANT, reply.text))
        answer = self.customer.hears(reply, entities_in("\n".join(said)))
        if answer is not None:
            self._say(answer)

    def conversation(self) -> GoalConversation:
        """What has been said."""
        customer = self.customer
        return GoalConversation(
            language=self._language,
            goal=customer.goal.goal,
            num_steps=len(customer.goal.steps),
            exchanges=tuple(self._exchanges),
            outcome=customer.outcome,
            num_misses=customer.num_misses,
            num_asked_again=customer.num_asked_again,
        )

    def _say(self, text: str) -> None:
        self.messages.append(user_message(self._masker.mask(text, self._vault)))
