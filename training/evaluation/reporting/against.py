"""Two bundles beside each other: the main figures of both, and the difference item by item with its interval."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from training.evaluation.figures import Figure, mean, paired_difference
from training.evaluation.subject import Outcomes


class Difference(BaseModel):
    """One main figure in one language, with 95 % intervals; the difference is of pairs, after minus before."""

    model_config = ConfigDict(frozen=True)

    num_items: int
    before: Figure
    after: Figure
    difference: Figure


def differences(before: Mapping[str, Outcomes], after: Mapping[str, Outcomes]) -> dict[str, dict[str, Difference]]:
    """By main figure and language. Raises ValueError for outcomes of different items."""
    return {
        name: {language: _difference(before[name][language], items) for language, items in by_language.items()}
        for name, by_language in after.items()
    }


def _difference(before: Sequence[float], after: Sequence[float]) -> Difference:
    return Difference(
        num_items=len(after), before=mean(before), after=mean(after), difference=paired_difference(before, after)
    )


def difference_table(found: Mapping[str, Mapping[str, Difference]], before: str, after: str) -> str:
    """The figures for people; `before` and `after` name the bundles."""
    lines = [f"{'':32}{'items':>7}{before:>26}{after:>26}{'difference':>28}"]
    for name, by_language in found.items():
        lines += [
            f"{f'{name} {language}'.replace('_', ' '):32}{each.num_items:>7}{_percent(each.before):>26}"
            f"{_percent(each.after):>26}{_percent(each.difference, sign='+'):>28}"
            for language, each in by_language.items()
        ]
    return "\n".join(lines)


def _percent(figure: Figure, sign: str = "") -> str:
    return f"{figure.value:{sign}.1%} [{figure.low:{sign}.1%}, {figure.high:{sign}.1%}]"
