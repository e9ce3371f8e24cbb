"""A bot that says what a test gives it, and short goals to talk about."""

from collections.abc import Callable, Sequence

from model_store.contract.conversation import Message
from training.evaluation.dialogues.asking_back import FixedWords
from training.evaluation.dialogues.bot import BotReply
from training.evaluation.dialogues.customer import Outcome
from training.evaluation.dialogues.goals import Goal, Phrases, Step
from training.evaluation.dialogues.talk import Exchange, GoalConversation

PHRASES = Phrases(lacks=("I have none.", "None here."), repeats=("As I said: {detail}", "Again: {detail}"))
REFUND = Step(
    wants=("refund_status",),
    says=("Where is my money?", "No refund yet.", "I am owed money."),
    rephrases=("My refund, please.", "I mean the refund."),
)
THANKS = Step(wants=("thanks", "goodbye"), says=("Good, thanks.", "Lovely."), rephrases=("Thank you.", "Bye."))


def goal(*steps: Step, patience: int = 1, gives: dict[str, tuple[str, ...]] | None = None) -> Goal:
    """A goal of these steps; by default of a refund alone."""
    return Goal(goal="refund", patience=patience, gives=gives or {}, steps=steps or (REFUND,))


class ScriptedBot:
    """Answers by the number of messages in a conversation and what was said last."""

    def __init__(self, script: Callable[[Sequence[Message]], BotReply]) -> None:
        self._script = script
        self.num_turns = 0

    def answer(self, conversations: Sequence[Sequence[Message]]) -> list[BotReply]:
        """See `Bot.answer`."""
        self.num_turns += 1
        return [self._script(messages) for messages in conversations]


def says(plan: str, text: str = "Fine.") -> BotReply:
    """A reply in the model's own words."""
    return BotReply(text, plan)


def asks_back(*topics: str, hands_over: bool = False) -> BotReply:
    """A bot that is not sure."""
    return BotReply("What do you mean?", "gibberish", 0.1, FixedWords("What do you mean?", topics, hands_over))


def exchange(said: str, text: str, plan: str = "refund_status", step: int = 0) -> Exchange:
    """A masked message and the reply to it."""
    return Exchange(step, said, BotReply(text, plan))


def conversation(
    *exchanges: Exchange,
    name: str = "refund",
    language: str = "en",
    outcome: Outcome = Outcome.COMPLETED,
    num_misses: int = 0,
    num_asked_again: int = 0,
) -> GoalConversation:
    """A conversation that is over."""
    return GoalConversation(language, name, 1, exchanges, outcome, num_misses, num_asked_again)
