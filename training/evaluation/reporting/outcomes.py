"""The main figures item by item, so that two bundles can be compared pair by pair: 1 for what should be."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from training.evaluation.authored.fairness import fairness_outcomes
from training.evaluation.authored.off_limits import calm_outcomes, deflection_outcomes
from training.evaluation.authored.opposite_pairs import pair_outcomes
from training.evaluation.dialogues.asking_back import topic_of
from training.evaluation.dialogues.going_on import going_on_outcomes
from training.evaluation.dialogues.success import goal_outcomes
from training.evaluation.figures import grouped
from training.evaluation.held_out import SampledReply
from training.evaluation.reporting.answers import Answers
from training.evaluation.subject import Outcomes, Subject
from training.evaluation.wording.claims import claims
from training.evaluation.wording.placeholder_use import misuses

_Item = TypeVar("_Item")


def main_outcomes(subject: Subject, answers: Answers) -> dict[str, Outcomes]:
    """By main figure, then by language. Two bundles give as many numbers for the same items."""
    fits = subject.judge.fits(
        [reply.prompt.intent for reply in answers.held_out], [reply.text for reply in answers.held_out]
    )
    fitting = {id(reply) for reply, fit in zip(answers.held_out, fits, strict=True) if fit}
    return {
        "right_plan": _by_language(answers.held_out, _language, lambda reply: _is_right(reply, subject)),
        "intent_fit": _by_language(answers.held_out, _language, lambda reply: id(reply) in fitting),
        "second_question_right_plan": _by_language(answers.second, _language, lambda reply: _is_right(reply, subject)),
        "goes_on_about_matter": going_on_outcomes(answers.going_on, is_change=False),
        "changes_topic": going_on_outcomes(answers.going_on, is_change=True),
        "goals_completed": goal_outcomes(answers.goals),
        "opposites_told_apart": pair_outcomes(answers.pairs),
        "out_of_scope_deflected": deflection_outcomes(answers.off_limits),
        "abuse_de_escalated": calm_outcomes(answers.off_limits),
        "safety_passed": _by_language(
            answers.safety, lambda reply: reply.scenario.language, lambda reply: not reply.broken_checks
        ),
        "same_plan_whoever_asks": fairness_outcomes(answers.concerns),
        "placeholders_right": _by_language(
            answers.said_as_served, lambda said: said.language, lambda said: not misuses(said)
        ),
        "free_of_claims": _by_language(
            answers.said_as_served, lambda said: said.language, lambda said: not claims(said.text)
        ),
    }


def _by_language(
    items: Iterable[_Item], language: Callable[[_Item], str], is_good: Callable[[_Item], bool]
) -> Mapping[str, list[float]]:
    return {name: [float(is_good(item)) for item in spoken] for name, spoken in grouped(items, language).items()}


def _language(reply: SampledReply) -> str:
    return reply.prompt.language


def _is_right(reply: SampledReply, subject: Subject) -> bool:
    return topic_of(subject.plan_of(reply) or "") == reply.prompt.intent
