"""Handing over to a person: owed to who asks for one, and a colleague's time where nobody asked."""

from pathlib import Path

from model_store.contract.wording.unsafe import broken_rules
from model_store.replies import PERSON_PLAN

HAND_OVER_PATTERNS_FILE = Path(__file__).with_name("hand_over_patterns.yaml")
_UNASKED = 0.5
"""Of the whole fault: a hand-over that nobody asked for may still help."""


def asks_for_person(message: str) -> bool:
    """Whether a customer's masked message asks for a person, as far as patterns can tell."""
    return "asks_for_person" in broken_rules(message, HAND_OVER_PATTERNS_FILE)


def offers_person(plan: str | None, text: str) -> bool:
    """Whether a reply offers a person, by its plan or its words."""
    is_planned = plan is not None and _intent(plan) == PERSON_PLAN
    return is_planned or "offers_person" in broken_rules(text, HAND_OVER_PATTERNS_FILE)


def hand_over_fault(*, is_asked_for: bool, plan: str | None, text: str) -> float:
    """1 for a person withheld from who asked, one half for a planned hand-over that nobody asked for, else 0.

    Words alone are no hand-over: "a colleague can look it up" is how this bot says what it cannot do.
    """
    if is_asked_for:
        return float(not offers_person(plan, text))
    return _UNASKED * (plan is not None and _intent(plan) == PERSON_PLAN)


def _intent(plan: str) -> str:
    return plan.partition("/")[0]
