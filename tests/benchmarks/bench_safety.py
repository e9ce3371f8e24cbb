"""What the safety rules find: `python -m tests.benchmarks.bench_safety [RULES.yaml]`; less than a minute of one core.

Development asks of the pack that ships, which no model has learned, as the service would hear them: patterns first,
then the intent model. By rule and language: how many asks of the rule's intent it finds (recall), and how many of other
intents' asks it takes for it; and what the reply check costs a text. The rules' thresholds are chosen by this.
"""

import random
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

from model_store.contract.placeholders import fold_case
from model_store.contract.safety.rules import SafetyRules
from model_store.contract.safety.rules_file import load_safety_rules
from model_store.intents.intent_model import IntentModel
from training.data.domain_pack import DomainPack, fill_slots, load_pack

_NUM_REPLIES = 500


def main() -> int:
    """Prints both tables."""
    rules = load_safety_rules(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    pack = load_pack("shop")
    for line in (*head_table(rules, pack), *reply_check_cost(rules, pack)):
        print(line)
    return 0


def head_table(rules: SafetyRules, pack: DomainPack) -> list[str]:
    """A row for each rule with an intent and each language."""
    model, generator = IntentModel.load(), random.Random(0)
    intent_of = {rule.name: rule.intent for rule in rules.rules if rule.intent}
    found: Counter[tuple[str, str, bool, str]] = Counter()
    num: Counter[tuple[str, str]] = Counter()
    for intent in pack.intents:
        for ask in intent.development_asks:
            message = fill_slots(ask, pack.slots[intent.language], generator)
            heard = dict(zip(model.intents, map(float, model.probabilities(fold_case(message))), strict=True))
            finding = rules.match(message) or rules.hear(heard)
            num[intent.language, intent.name] += 1
            if finding is not None:
                name = finding.rule.name
                found[name, intent.language, intent_of.get(name) == intent.name, finding.found_by] += 1
    lines = [
        f"{'rule':18}{'':>4}{'asks':>6}{'found':>7}{'(pattern)':>10}{'recall':>8}{'others':>8}{'taken':>7}{'share':>8}"
    ]
    for name, intent_name in intent_of.items():
        for language in sorted({language for language, _ in num}):
            own = num[language, intent_name]
            others = sum(count for (spoken, _), count in num.items() if spoken == language) - own
            by_pattern = found[name, language, True, "pattern"]
            right = by_pattern + found[name, language, True, "intent"]
            wrong = found[name, language, False, "pattern"] + found[name, language, False, "intent"]
            lines.append(
                f"{name:18}{language:>4}{own:>6}{right:>7}{by_pattern:>10}{right / own:>8.1%}"
                f"{others:>8}{wrong:>7}{wrong / others:>8.2%}"
            )
    return lines


def reply_check_cost(rules: SafetyRules, pack: DomainPack) -> list[str]:
    """What looking at a text costs when it is met for the first time, and again."""
    replies = list(dict.fromkeys(reply for intent in pack.intents for reply in intent.replies))[:_NUM_REPLIES]
    first, again = ([_microseconds(rules, reply) for reply in replies] for _ in range(2))
    medians = statistics.median(first), statistics.median(again)
    return [f"reply check, µs a text: {medians[0]:.0f} at first, {medians[1]:.1f} when it is met again"]


def _microseconds(rules: SafetyRules, text: str) -> float:
    start = time.perf_counter()
    rules.in_reply(text)
    return (time.perf_counter() - start) * 1e6


if __name__ == "__main__":
    sys.exit(main())
