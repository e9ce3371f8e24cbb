"""Even-handedness before and after: what is counted by hand, and how often the gate's rule is right about it."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from training.config import GateConfig
from training.evaluation.authored.fairness import Concern, Translation
from training.evaluation.risks.even_handedness import EvenHandedness, Opinions, compare_opinions, language_swaps
from training.evaluation.risks.risk_figures import RiskFigures
from training.evaluation.risks.risk_rules import risk_rules

REFUND, THANKS = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()
LANGUAGES = {"en": "abc", "zh": "def"}


def concern(language: str, attribute: str, plan: str, groups: str) -> Concern:
    """Each group says a text of its own."""
    says = {group: (f"{language} {attribute} {plan} {group}", "another wording") for group in groups}
    return Concern(language, attribute, frozenset({plan}), says)


CONCERNS = [concern(lang, "name", plan, groups) for lang, groups in LANGUAGES.items() for plan in ("refund", "track")]


def heard(concerns: Sequence[Concern], *exceptions: tuple[str, Tensor]) -> Opinions:
    """Everything is heard as a refund but for the exceptions."""
    texts = [wordings[0] for each in concerns for wordings in each.wordings.values()]
    return Opinions({**dict.fromkeys(texts, REFUND), **dict(exceptions)})


def test_what_one_group_alone_is_heard_as_counts_by_pairs_of_groups() -> None:
    """Of one of four concerns two of three pairs are apart; its message is apart in the other language, too."""
    base, candidate = heard(CONCERNS), heard(CONCERNS, ("en name refund a", THANKS))
    found = compare_opinions(CONCERNS, [], base, candidate)
    assert (found.flips_of_base, found.num_concerns, found.num_messages, found.num_bilingual) == (0, 4, 4, 2)
    assert found.change.value == pytest.approx(2 / 3 / 4) and found.worst_attribute == "name"
    assert found.language_change.value == pytest.approx(1 / 3 / 2)
    with pytest.raises(ValueError, match="two pairs"):
        compare_opinions(CONCERNS[:1], [], base, candidate)


def test_opinions_are_as_far_apart_as_one_has_what_the_other_has_not() -> None:
    """Half of the opinion where one of two topics lost a half; all of it where sure plans differ, as a flip does."""
    torn = torch.tensor([0.5, 0.5]).double()
    opinions = Opinions({"sure": REFUND, "torn": torn, "other": THANKS})
    assert (opinions.apart("sure", "torn"), opinions.apart("sure", "other")) == (0.5, 1.0)
    assert opinions.apart("torn", "torn") == 0


def test_a_message_counts_once_whatever_is_mentioned_in_it() -> None:
    """Two attributes of one concern are one figure, a dialect another; what nobody in particular says is beside it."""
    said = [concern(lang, kind, "refund", "ab") for kind in ("age", "name", "dialect") for lang in LANGUAGES]
    apart = [(f"zh {kind} refund {group}", THANKS) for kind in ("name", "dialect") for group in "ab"]
    opinions = heard(said, *apart)
    assert language_swaps(said, opinions) == [0.5, 1.0]
    assert language_swaps([*said, concern("en", "gender", "refund", "ab")], heard([*said], *apart)) == [0.5, 1.0]
    translations = [Translation(frozenset({"refund"}), {"en": f"en {n}", "zh": f"zh {n}"}) for n in (1, 2)]
    both = [
        Opinions({**opinions.by_text, "en 1": REFUND, "zh 1": first, "en 2": THANKS, "zh 2": REFUND})
        for first in (REFUND, THANKS)
    ]
    found = compare_opinions(said, translations, *both)
    assert (found.num_bilingual, found.num_concerns, found.num_messages) == (4, 6, 4)
    assert found.language_flips_of_base == pytest.approx(2.5 / 4) and found.language_change.value > 0.2


NUM_TOPICS, NUM_CONCERNS, NUM_CROWDS = 20, 118, 100
KEPT = 0.997
"""Of a network by a round of learning: the standard error is then that of honest candidates for the card desk."""
STRENGTH = 2.0
"""Of logits: as sure as the card desk's network, which gives its likeliest topic some 0.6."""


class Crowd:
    """Concerns in both languages that a network hears as one matter, give or take; seeded."""

    def __init__(self, seed: int, num_concerns: int) -> None:
        self.draw = torch.Generator().manual_seed(seed)
        self.says = [
            Translation(frozenset({"refund"}), {"en": f"en {n}", "zh": f"zh {n}"}) for n in range(num_concerns)
        ]
        matter = self.noise(num_concerns, STRENGTH)
        self.logits = {language: matter + self.noise(num_concerns, 1.0) for language in ("en", "zh")}

    def noise(self, rows: int, size: float) -> Tensor:
        """[rows, topics]."""
        return size * torch.randn(rows, NUM_TOPICS, generator=self.draw, dtype=torch.double)

    def opinions(self, change: Callable[[str, Tensor], Tensor] = lambda _, logits: logits) -> Opinions:
        """What a network thinks, whose logits are changed so."""
        changed = {language: change(language, logits).softmax(-1) for language, logits in self.logits.items()}
        return Opinions(
            {text: changed[language][n] for n, each in enumerate(self.says) for language, text in each.says.items()}
        )

    def compared(self, candidate: Opinions) -> EvenHandedness:
        """With the network before."""
        concerns = [concern(language, "name", plan, "ab") for language in LANGUAGES for plan in ("refund", "track")]
        nobody = dict.fromkeys((says[0] for each in concerns for says in each.wordings.values()), REFUND)
        both = (Opinions({**opinions.by_text, **_as_wide(nobody)}) for opinions in (self.opinions(), candidate))
        return compare_opinions(concerns, self.says, *both)


def _as_wide(opinions: dict[str, Tensor]) -> dict[str, Tensor]:
    return {text: torch.nn.functional.pad(row, (0, NUM_TOPICS - len(row))) for text, row in opinions.items()}


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 5.0])
def test_who_is_merely_surer_is_neither_fairer_nor_less_fair(power: float) -> None:
    """The same opinions, sharpened or flattened, are as far apart as before."""
    crowd = Crowd(1, 100)
    found = crowd.compared(crowd.opinions(lambda _, logits: power * logits))
    assert found.language_flips_of_base > 0.3
    assert found.language_change.value == pytest.approx(0, abs=1e-3)


def passes(found: EvenHandedness) -> bool:
    """Whether the gate lets it, by its own setting."""
    rules = risk_rules(RiskFigures(even_handedness=found), GateConfig())
    return next(rule.passed for rule in rules if rule.name == "language_fairness")


def moved(crowd: Crowd, kept: float, gap: float) -> Opinions:
    """Of a network of which a part is new, as even as before; then the languages are drawn apart by a factor."""
    new = (1 - kept**2) ** 0.5
    shared = crowd.noise(len(crowd.says), STRENGTH)
    logits = {
        language: kept * before + new * (shared + crowd.noise(len(crowd.says), 1.0))
        for language, before in crowd.logits.items()
    }
    middle = (logits["en"] + logits["zh"]) / 2
    return crowd.opinions(lambda language, _: middle + gap * (logits[language] - middle))


def share_passed(num_concerns: int, gap: float, kept: float = KEPT) -> float:
    """Of candidates that the gate lets through."""
    crowds = [Crowd(seed, num_concerns) for seed in range(NUM_CROWDS)]
    return sum(passes(crowd.compared(moved(crowd, kept, gap))) for crowd in crowds) / NUM_CROWDS


def test_candidates_that_are_no_worse_pass_and_losses_do_not() -> None:
    """With as many concerns as the card desk has: 95 % of those as even as before, 5 % of those that lost a point and a
    half, and none of those that lost two."""
    crowd = Crowd(0, 4000)
    losses = {gap: crowd.compared(moved(crowd, 1.0, gap)).language_change.value for gap in (1.0, 1.045, 1.06)}
    assert losses == pytest.approx({1.0: 0.0, 1.045: 0.015, 1.06: 0.02}, abs=0.001)
    assert share_passed(NUM_CONCERNS, 1.0) >= 0.95
    assert share_passed(NUM_CONCERNS, 1.045) <= 0.05 and share_passed(NUM_CONCERNS, 1.06) == 0


def test_few_concerns_prove_nothing_and_let_few_through() -> None:
    """A tenth of them cannot rule out a point, so that who is no worse is refused, too."""
    assert share_passed(NUM_CONCERNS // 10, 1.0) < 0.6
