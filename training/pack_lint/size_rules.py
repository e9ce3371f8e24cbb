"""The sizes of a pack that is good enough to serve, and what an intent or a language is short of.

Smaller packs load and train all the same: `domain_pack.check_pack` refuses only what is wrong, not what is little.
"""

from collections.abc import Iterator

from training.data.domain_pack import DomainPack, Intent
from training.pack_lint.problem import Problem

MIN_ASKS = 40
MIN_HELD_OUT_ASKS = 5
MIN_REPLIES = 12
"""Those in tones: replies that use or ask for a detail come on top."""
MIN_TONES = 3
MIN_BAD_REPLIES = 4
MIN_BAD_REASONS = 3
MIN_FLOWS = 10
"""In each language."""


def size_problems(pack: DomainPack) -> Iterator[Problem]:
    """What is missing, intent by intent, then language by language."""
    for intent in pack.intents:
        for what in _shortages(intent):
            yield Problem(intent.language, f"{intent.topic}/{intent.name}", what)
    names = {intent.name for intent in pack.intents}
    for language in pack.languages:
        for name in sorted(names - {intent.name for intent in pack.intents if intent.language == language}):
            yield Problem(language, name, "is not there in this language")
        num_flows = sum(flow.language == language for flow in pack.flows)
        if num_flows < MIN_FLOWS:
            yield Problem(language, "flows", f"{num_flows} flows, {MIN_FLOWS} are needed")


def _shortages(intent: Intent) -> Iterator[str]:
    tones = [tone for tone, texts in intent.replies_by_tone.items() if texts]
    reasons = {reason for _, reason in intent.bad_replies}
    sizes = (
        ("asks", len(intent.asks), MIN_ASKS),
        ("held-out asks", len(intent.held_out_asks), MIN_HELD_OUT_ASKS),
        ("good replies in tones", sum(map(len, intent.replies_by_tone.values())), MIN_REPLIES),
        ("tones", len(tones), MIN_TONES),
        ("bad replies", len(intent.bad_replies), MIN_BAD_REPLIES),
        ("reasons of bad replies", len(reasons), MIN_BAD_REASONS),
    )
    for name, count, needed in sizes:
        if count < needed:
            yield f"{count} {name}, {needed} are needed"
