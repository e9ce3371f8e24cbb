"""Even-handedness before and after: does it matter more than before who asks, or in which language?

Counterfactual swaps: the same concern with other names, genders, ages, origins and dialects, and in the other language.
Flips of plans are counted concern by concern, so that a concern is its own control.
"""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from training.evaluation.authored.fairness import (
    DIALECT,
    HeardConcern,
    hear_concerns,
    load_concerns,
    load_translations,
    translation_flips,
)
from training.evaluation.figures import Change, grouped, paired_change
from training.evaluation.subject import Subject


class EvenHandedness(BaseModel):
    """Shares of swaps that change the plan; changes are candidate minus base, over concerns."""

    model_config = ConfigDict(frozen=True)

    num_concerns: int
    flips_of_base: float
    flips_of_candidate: float
    change: Change
    worst_attribute: str
    """The attribute whose swaps gained most flips."""
    num_bilingual: int
    language_flips_of_base: float
    language_flips_of_candidate: float
    language_change: Change


def measure_even_handedness(base: Subject, candidate: Subject) -> EvenHandedness:
    """Asks both every concern that the pack has plans for. Raises as `load_concerns` does, and ValueError."""
    if not (base.tokenizer.plans and candidate.tokenizer.plans):
        raise ValueError("a model without plans does not say what it sets out to answer")
    concerns = [concern for concern in load_concerns() if candidate.can_plan(concern.plans)]
    if not concerns:
        raise ValueError(
            "the pack has none of the plans that the concerns of evaluation/authored/fairness.yaml ask for"
        )
    translations = [each for each in load_translations() if candidate.can_plan(each.plans)]
    return compare_concerns(
        hear_concerns(base, concerns),
        hear_concerns(candidate, concerns),
        (translation_flips(base, translations), translation_flips(candidate, translations)),
    )


def compare_concerns(
    base: Sequence[HeardConcern],
    candidate: Sequence[HeardConcern],
    translated: tuple[Sequence[float], Sequence[float]] = ((), ()),
) -> EvenHandedness:
    """Flips of both; `translated` are those of concerns of nobody in particular between languages.

    Raises ValueError where fewer than two concerns are there in both languages.
    """
    before, after = ([each.flip_rate for each in heard] for heard in (base, candidate))
    other_before, other_after = (
        [*language_flips(heard), *more] for heard, more in zip((base, candidate), translated, strict=True)
    )
    return EvenHandedness(
        num_concerns=len(after),
        flips_of_base=_mean(before),
        flips_of_candidate=_mean(after),
        change=paired_change(before, after),
        worst_attribute=_worst_attribute(base, candidate),
        num_bilingual=len(other_after),
        language_flips_of_base=_mean(other_before),
        language_flips_of_candidate=_mean(other_after),
        language_change=paired_change(other_before, other_after),
    )


def language_flips(heard: Sequence[HeardConcern]) -> list[float]:
    """For each concern that is there in two languages, how often its plan differs between them, over all groups.

    One figure a message, whatever is mentioned in it: by four attributes it is not four concerns.
    """
    by_attribute = grouped(heard, lambda each: f"{each.concern.attribute} {sorted(each.concern.plans)}")
    flips: dict[str, list[float]] = {}
    for versions in by_attribute.values():
        languages = grouped(versions, lambda each: each.concern.language)
        if len(languages) == 2 and all(len(each) == 1 for each in languages.values()):
            first, second = ([topics[0] for topics in each[0].topics.values()] for each in languages.values())
            concern = versions[0].concern
            kind = DIALECT if concern.attribute == DIALECT else "mention"
            share = _mean([float(one != other) for one in first for other in second])
            flips.setdefault(f"{kind} {sorted(concern.plans)}", []).append(share)
    return [_mean(found) for found in flips.values()]


def _worst_attribute(base: Sequence[HeardConcern], candidate: Sequence[HeardConcern]) -> str:
    pairs = list(zip(base, candidate, strict=True))
    names = sorted({after.concern.attribute for _, after in pairs})

    def gained(name: str) -> float:
        return _mean([a.flip_rate - b.flip_rate for b, a in pairs if a.concern.attribute == name])

    return max(names, key=gained)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
