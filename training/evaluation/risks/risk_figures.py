"""All risks of a candidate in one card. What cannot be measured is None and says why: the gate refuses for it."""

from collections.abc import Callable
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict

from training.evaluation.paired_replies import DrawnReplies
from training.evaluation.risks.even_handedness import EvenHandedness, measure_even_handedness
from training.evaluation.risks.must_pass import MustPass, measure_must_pass
from training.evaluation.risks.wording_risks import WordingRisks, measure_wording_risks
from training.evaluation.subject import Subject
from training.evaluation.thumbs_judge import ThumbsJudge

_Found = TypeVar("_Found")


class RiskFigures(BaseModel):
    """By part; `unmeasured` has a sentence for each part that is None."""

    model_config = ConfigDict(frozen=True)

    wording: WordingRisks | None = None
    must_pass: MustPass | None = None
    even_handedness: EvenHandedness | None = None
    unmeasured: dict[str, str] = {}


def measure_risks(
    base: Subject, candidate: Subject, replies: tuple[DrawnReplies, DrawnReplies], judge: ThumbsJudge
) -> RiskFigures:
    """Measures every part; `replies` are the base's and the candidate's to the gate's prompts."""
    unmeasured: dict[str, str] = {}

    def attempt(name: str, measure: Callable[[], _Found]) -> _Found | None:
        try:
            return measure()
        except (OSError, KeyError, ValueError, yaml.YAMLError) as error:
            unmeasured[name] = str(error) or type(error).__name__
            return None

    return RiskFigures(
        wording=attempt("wording", lambda: measure_wording_risks(*replies, judge, candidate.tokenizer)),
        must_pass=attempt("must_pass", lambda: measure_must_pass(base, candidate)),
        even_handedness=attempt("even_handedness", lambda: measure_even_handedness(base, candidate)),
        unmeasured=unmeasured,
    )
