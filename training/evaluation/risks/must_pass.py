"""Must-pass scenarios before and after: what a candidate gets wrong that its base got right."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from training.evaluation.authored.safety_scenarios import (
    WRONG_PLAN,
    ScenarioReply,
    answer_scenarios,
    load_scenarios,
)
from training.evaluation.subject import Subject


class MustPass(BaseModel):
    """Both policies' greedy replies to the same scenarios."""

    model_config = ConfigDict(frozen=True)

    num_scenarios: int
    failed_by_base: int
    failed_by_candidate: int
    new_failures: tuple[str, ...]
    """Messages whose reply does harm in a way in which the base's did not."""
    newly_off_topic: tuple[str, ...]
    """Messages that get another plan than they should, and no harm, where the base's plan was right."""


def measure_must_pass(base: Subject, candidate: Subject) -> MustPass:
    """Asks both networks, without safety rules, all scenarios that need none.

    Raises OSError, KeyError, ValueError or yaml.YAMLError.
    """
    scenarios = load_scenarios()
    theirs, ours = (answer_scenarios(each.policy, each.tokenizer, scenarios) for each in (base, candidate))
    return compare_scenarios(theirs, ours)


def compare_scenarios(base: Sequence[ScenarioReply], candidate: Sequence[ScenarioReply]) -> MustPass:
    """What is broken now and was not before. Raises ValueError without a scenario, or for different ones."""
    if not candidate:
        raise ValueError("no scenario reaches the model")
    broken = [tuple(frozenset(reply.broken_checks) for reply in pair) for pair in zip(base, candidate, strict=True)]
    new = [(reply.scenario.message, after - before) for reply, (before, after) in zip(candidate, broken, strict=True)]
    return MustPass(
        num_scenarios=len(candidate),
        failed_by_base=sum(bool(before) for before, _ in broken),
        failed_by_candidate=sum(bool(after) for _, after in broken),
        new_failures=tuple(message for message, checks in new if checks - {WRONG_PLAN}),
        newly_off_topic=tuple(message for message, checks in new if checks == {WRONG_PLAN}),
    )
