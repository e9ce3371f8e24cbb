"""What came of the goals: completed or not, in how many turns, and whether the bot contradicted itself on the way.

Conversations of one goal are alike, so intervals of goals are drawn over goals, not over conversations.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from training.evaluation.dialogues.asking_back import topic_of
from training.evaluation.dialogues.contradictions import KINDS, Contradiction, contradictions
from training.evaluation.dialogues.customer import Outcome
from training.evaluation.dialogues.talk import GoalConversation
from training.evaluation.figures import Figure, grouped, mean, share
from training.evaluation.judge import IntentJudge
from training.evaluation.subject import Outcomes

_SHARES = (
    "completed",
    "completed_at_once",
    "left",
    "handed_over",
    "words_fit_plan",
    "asked_again",
    "free_of_contradictions",
)


class StuckConversation(BaseModel):
    """Where a conversation ended without the goal: the last message, and what the bot set out to do."""

    model_config = ConfigDict(frozen=True)

    goal: str
    step: int
    said: str
    plan: str
    outcome: str


class GoalFigures(BaseModel):
    """One language's customers, shares of conversations with 95 % intervals."""

    model_config = ConfigDict(frozen=True)

    num_goals: int
    num_conversations: int
    completed: Figure
    """Everything that the customer wanted, within their patience, and no detail asked for twice."""
    completed_at_once: Figure
    """The same without a single miss."""
    left: Figure
    handed_over: Figure
    """The bot gave up, though no person was wanted."""
    words_fit_plan: Figure
    """Replies in the model's own words that the judge of intents takes for what they set out to be; see its ceiling."""
    asked_again: Figure
    """A detail was asked for that the customer had given, or had said not to have."""
    turns: Figure | None
    """Customers' messages in a completed conversation; None where there is none."""
    extra_turns: Figure | None
    """Those beyond one for each thing that was wanted."""
    free_of_contradictions: Figure
    num_contradictions: dict[str, int]
    contradictions: tuple[Contradiction, ...]
    completed_by_goal: dict[str, float]
    stuck: tuple[StuckConversation, ...]


def goal_figures(conversations: Iterable[GoalConversation], judge: IntentJudge) -> dict[str, GoalFigures]:
    """Figures by language."""
    spoken = grouped(conversations, lambda conversation: conversation.language)
    return {language: _figures(items, judge) for language, items in spoken.items()}


def goal_outcomes(conversations: Iterable[GoalConversation]) -> Outcomes:
    """By language, the share of each goal's conversations that were completed, goals sorted."""
    spoken = grouped(conversations, lambda conversation: conversation.language)
    return {language: list(_by_goal(items).values()) for language, items in spoken.items()}


def goal_table(figures: Mapping[str, GoalFigures]) -> str:
    """The figures for people, a column a language."""
    lines = [f"{'customers with a goal':24}" + "".join(f"{language:>26}" for language in figures)]
    sizes = (f"{each.num_goals} × {each.num_conversations // each.num_goals}" for each in figures.values())
    lines.append(f"{'goals × customers':24}" + "".join(f"{size:>26}" for size in sizes))
    for name in _SHARES:
        cells = (_percent(getattr(each, name)) for each in figures.values())
        lines.append(f"{name.replace('_', ' '):24}" + "".join(f"{cell:>26}" for cell in cells))
    for name in ("turns", "extra_turns"):
        cells = (_number(getattr(each, name)) for each in figures.values())
        lines.append(f"{name.replace('_', ' '):24}" + "".join(f"{cell:>26}" for cell in cells))
    kinds = [
        f"{kind.replace('_', ' ')} {sum(each.num_contradictions[kind] for each in figures.values())}" for kind in KINDS
    ]
    return "\n".join([*lines, "contradictions: " + ", ".join(kinds)])


def _figures(conversations: Sequence[GoalConversation], judge: IntentJudge) -> GoalFigures:
    own = [each.reply for one in conversations for each in one.exchanges if each.reply.fixed is None]
    found = [contradictions(conversation.exchanges) for conversation in conversations]
    completed = [conversation for conversation in conversations if conversation.is_completed]
    counts = Counter(each.kind for one in found for each in one)
    return GoalFigures(
        num_goals=len(_by_goal(conversations)),
        num_conversations=len(conversations),
        completed=mean(list(_by_goal(conversations).values())),
        completed_at_once=share([each.is_completed and not each.num_misses for each in conversations]),
        left=share([each.outcome is Outcome.LEFT for each in conversations]),
        handed_over=share([each.outcome is Outcome.HANDED_OVER for each in conversations]),
        words_fit_plan=share(judge.fits([topic_of(reply.plan) for reply in own], [reply.text for reply in own])),
        asked_again=share([each.num_asked_again > 0 for each in conversations]),
        turns=_mean([len(each.exchanges) for each in completed]),
        extra_turns=_mean([len(each.exchanges) - each.num_steps for each in completed]),
        free_of_contradictions=share([not one for one in found]),
        num_contradictions={kind: counts[kind] for kind in KINDS},
        contradictions=tuple(each for one in found for each in one),
        completed_by_goal=_by_goal(conversations),
        stuck=tuple(_stuck(each) for each in conversations if each.outcome is not Outcome.COMPLETED),
    )


def _by_goal(conversations: Iterable[GoalConversation]) -> dict[str, float]:
    """The share of each goal's conversations that were completed, goals sorted."""
    goals = grouped(conversations, lambda conversation: conversation.goal)
    return {goal: sum(each.is_completed for each in items) / len(items) for goal, items in goals.items()}


def _stuck(conversation: GoalConversation) -> StuckConversation:
    last = conversation.exchanges[-1]
    return StuckConversation(
        goal=conversation.goal,
        step=last.step,
        said=last.said,
        plan=last.reply.plan,
        outcome=conversation.outcome.value,
    )


def _mean(numbers: Sequence[int]) -> Figure | None:
    return mean([float(number) for number in numbers]) if numbers else None


def _percent(figure: Figure) -> str:
    return f"{figure.value:.1%} [{figure.low:.1%}, {figure.high:.1%}]"


def _number(figure: Figure | None) -> str:
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]" if figure else "-"
