"""What must be in a text for a pattern to match: whatever is left out could not have matched."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_store.contract.safety.required_text import PatternIndex, required_literals
from model_store.contract.safety.rules_file import load_safety_rules

PATTERNS = [pattern for rule in load_safety_rules().rules for pattern in rule.patterns]
INDEX = PatternIndex(PATTERNS)
FLAGS = re.IGNORECASE | re.ASCII


@pytest.mark.parametrize(
    ("pattern", "literals"),
    [
        (r"\bkill(?:ing)? my ?self\b", {"kill"}),
        (r"\bend it (?:all|now)", {"end it "}),
        (r"(?:on purpose|to feel)", {"on purpose", "to feel"}),
        (r"(?:Killed|(?:hurt)+|STABBED)!", {"killed", "hurt", "stabbed"}),
        (r"(?:want(?:ed)?|wish) i (?!were)", {" i "}),
        (r"(?<=very )bad|worse(?= luck)", {"bad", "worse"}),
        (r"no(?: thing){2}s?", {" thing"}),
        (r"(?P<one>ab)(?P=one)c", {"ab"}),
        ("ΟΔΟΣ", {"οδοσ"}),
        (r"(?:x{1,3}yz){0,4}", set()),
        (r"[ab]\d+|c", set()),
        (r"(?:word|\d)", set()),
        (r"(?u:kill) it", {" it"}),
        ("", set()),
    ],
)
def test_the_most_telling_literals_of_a_pattern_are_found(pattern: str, literals: set[str]) -> None:
    """What is optional, looked around for, or missing in one branch is never asked for."""
    assert required_literals(re.compile(pattern, FLAGS)) == literals


def test_nothing_is_known_of_a_pattern_under_unicodes_rules() -> None:
    """There a case-blind i matches a dotless one."""
    pattern = re.compile("kill it", re.IGNORECASE)
    assert pattern.search("kıll ıt")
    assert required_literals(pattern) == set()
    assert PatternIndex([pattern]).candidates("anything") == [0]


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), around=st.text(max_size=12))
def test_a_pattern_that_matches_is_a_candidate(data: st.DataObject, around: str) -> None:
    """Whatever text a shipped pattern matches in, in whatever case and surroundings, the index names the pattern."""
    position = data.draw(st.integers(0, len(PATTERNS) - 1))
    text = data.draw(st.from_regex(PATTERNS[position]))
    for spelled in (text, text.upper(), around + text, f"{text}, {around}"):
        matching = [number for number, pattern in enumerate(PATTERNS) if pattern.search(spelled)]
        assert set(matching) <= set(INDEX.candidates(spelled))


def test_a_shop_message_leaves_few_candidates() -> None:
    """Else nothing would be saved."""
    for text in ("Where is my order A1B2-77345?", "I forgot my password", "我的包裹在哪里？"):
        assert len(INDEX.candidates(text)) < len(PATTERNS) / 10
