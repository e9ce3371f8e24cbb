"""Even-handedness before and after: does it matter more than before who asks, or in which language?

Counterfactual swaps: the same concern with other names, genders, ages, origins and dialects, and in the other language.
Plans that flip are not counted, for a flip shows only where two plans are about as likely, and then is all or nothing.
What is measured is how far the opinions about the plan are apart: total variation, a flip where the network is sure.
The candidate's are taken at the base's sureness, so that who is merely surer is neither fairer nor less fair.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from model_store.contract.entities import EntityMasker, EntityVault
from training.data.domain_pack import user_message
from training.evaluation.authored.fairness import DIALECT, Concern, Translation, load_concerns, load_translations
from training.evaluation.figures import Change, grouped, paired_change
from training.evaluation.plan_choice import plan_opinions
from training.evaluation.subject import Subject

_LEAST = 1e-30
"""Of a probability, so that it has a logarithm."""
_FLATTEST, _SHARPEST, _HALVINGS = 0.01, 100.0, 50


class EvenHandedness(BaseModel):
    """How much of the opinion about the plan a swap changes: 0 none, 1 the plan itself; candidate minus base."""

    model_config = ConfigDict(frozen=True)

    num_concerns: int
    num_messages: int
    """That these are of; a message counts once, whatever is mentioned in it."""
    flips_of_base: float
    flips_of_candidate: float
    change: Change
    worst_attribute: str
    """The attribute whose swaps gained most."""
    num_bilingual: int
    language_flips_of_base: float
    language_flips_of_candidate: float
    language_change: Change


@dataclass(frozen=True)
class Opinions:
    """What a network thinks of messages: by text, [k] how likely each topic is."""

    by_text: Mapping[str, Tensor]

    def apart(self, one: str, other: str) -> float:
        """How far it hears two texts apart: total variation, the part of one opinion that is not in the other."""
        return float((self.by_text[one] - self.by_text[other]).abs().sum()) / 2

    @property
    def table(self) -> Tensor:
        """[n, k], in the order of the texts."""
        return torch.stack(list(self.by_text.values()))

    def as_sure_as(self, other: "Opinions") -> "Opinions":
        """The same opinions, all raised to the power that makes their mean entropy that of `other`'s.

        Which topic is likelier than which stays. As near as can be, where no power does.
        """
        wanted, logs = _entropy(other.table), self.table.clamp_min(_LEAST).log()
        low, high = _FLATTEST, _SHARPEST
        for _ in range(_HALVINGS):
            power = (low * high) ** 0.5
            low, high = (power, high) if _entropy((power * logs).softmax(-1)) > wanted else (low, power)
        table = ((low * high) ** 0.5 * logs).softmax(-1)
        return Opinions(dict(zip(self.by_text, table, strict=True)))


def _entropy(table: Tensor) -> float:
    """The mean of the rows', in nats."""
    return float(torch.special.entr(table).sum(-1).mean())


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
    texts = list(dict.fromkeys(_texts(concerns, translations)))
    return compare_opinions(concerns, translations, _opinions(base, texts), _opinions(candidate, texts))


def _texts(concerns: Sequence[Concern], translations: Sequence[Translation]) -> Iterator[str]:
    for concern in concerns:
        yield from _first_wordings(concern)
    for each in translations:
        yield from each.says.values()


def _first_wordings(concern: Concern) -> list[str]:
    return [wordings[0] for wordings in concern.wordings.values()]


def _opinions(subject: Subject, texts: Sequence[str]) -> Opinions:
    """Of every text, masked as the service masks."""
    masker = EntityMasker()
    asked = [(user_message(masker.mask(text, EntityVault())),) for text in texts]
    _, table = plan_opinions(subject.policy, subject.tokenizer, asked)
    return Opinions(dict(zip(texts, table.double(), strict=True)))


def compare_opinions(
    concerns: Sequence[Concern], translations: Sequence[Translation], base: Opinions, candidate: Opinions
) -> EvenHandedness:
    """What swaps change for both, the candidate's opinions at the base's sureness.

    Raises ValueError where there are fewer than two messages, or than two in both languages.
    """
    both = (base, candidate.as_sure_as(base))
    before, after = ([_apart(concern, heard) for concern in concerns] for heard in both)
    by_message = [_by_message(concerns, values) for values in (before, after)]
    other = [
        [*language_swaps(concerns, heard), *(heard.apart(*each.says.values()) for each in translations)]
        for heard in both
    ]
    return EvenHandedness(
        num_concerns=len(concerns),
        num_messages=len(by_message[0]),
        flips_of_base=_mean(by_message[0]),
        flips_of_candidate=_mean(by_message[1]),
        change=paired_change(*by_message),
        worst_attribute=_worst_attribute(concerns, before, after),
        num_bilingual=len(other[0]),
        language_flips_of_base=_mean(other[0]),
        language_flips_of_candidate=_mean(other[1]),
        language_change=paired_change(*other),
    )


def _apart(concern: Concern, heard: Opinions) -> float:
    """The mean over pairs of groups."""
    return _mean([heard.apart(*pair) for pair in combinations(_first_wordings(concern), 2)])


def _kind(concern: Concern) -> str:
    """Concerns of one kind differ in what is mentioned, or in the language, alone."""
    return f"{DIALECT if concern.attribute == DIALECT else 'mention'} {sorted(concern.plans)}"


def _by_message(concerns: Sequence[Concern], values: Sequence[float]) -> list[float]:
    """The mean of each message's: by four attributes it is not four concerns."""
    found: dict[str, list[float]] = {}
    for concern, value in zip(concerns, values, strict=True):
        found.setdefault(f"{concern.language} {_kind(concern)}", []).append(value)
    return [_mean(of_message) for of_message in found.values()]


def language_swaps(concerns: Sequence[Concern], heard: Opinions) -> list[float]:
    """For each message that is there in two languages, how far apart they are heard, over all groups."""
    by_attribute = grouped(concerns, lambda each: f"{each.attribute} {sorted(each.plans)}")
    found: dict[str, list[float]] = {}
    for versions in by_attribute.values():
        languages = grouped(versions, lambda each: each.language)
        if len(languages) == 2 and all(len(each) == 1 for each in languages.values()):
            pairs = product(*(_first_wordings(each[0]) for each in languages.values()))
            found.setdefault(_kind(versions[0]), []).append(_mean([heard.apart(*pair) for pair in pairs]))
    return [_mean(values) for values in found.values()]


def _worst_attribute(concerns: Sequence[Concern], before: Sequence[float], after: Sequence[float]) -> str:
    gained: dict[str, list[float]] = {}
    for concern, early, late in zip(concerns, before, after, strict=True):
        gained.setdefault(concern.attribute, []).append(late - early)
    return max(sorted(gained), key=lambda name: _mean(gained[name]))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
