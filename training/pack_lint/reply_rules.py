"""What no authored reply may say: claims that nothing backs, promises, questions for secrets, slips of the pen.

The patterns are data, in `reply_rules.yaml`; what no completion may hold (`contract.wording.unsafe`) no author may say.
"""

from collections.abc import Iterator
from pathlib import Path

from model_store.contract.conversation import Role
from model_store.contract.wording.unsafe import UnsafeRule, load_rules
from training.data.domain_pack import DomainPack
from training.pack_lint.problem import Problem

DEFAULT_RULES_FILE = Path(__file__).with_name("reply_rules.yaml")


def reply_problems(pack: DomainPack) -> Iterator[Problem]:
    """Every good reply and every assistant's turn of a flow that breaks a rule, with the rule's name and the text."""
    rules = (*load_rules(), *load_rules(DEFAULT_RULES_FILE))
    for language, place, text in _replies(pack):
        for name in broken_rules(text, rules):
            yield Problem(language, place, f"{name}: {text!r}")


def broken_rules(text: str, rules: tuple[UnsafeRule, ...]) -> tuple[str, ...]:
    """Names of the rules that a masked text breaks, each once."""
    return tuple(dict.fromkeys(rule.name for rule in rules if rule.is_broken_by(text)))


def _replies(pack: DomainPack) -> Iterator[tuple[str, str, str]]:
    """Language, place and text of all that the bot is taught to say."""
    for intent in (*pack.intents, *pack.help_intents):
        for reply in intent.every_reply:
            yield intent.language, f"{intent.topic}/{intent.name}", reply
    for flow in pack.flows:
        for turn in flow.turns:
            for wording in turn.wordings if turn.role is Role.ASSISTANT else ():
                yield flow.language, f"flow {flow.name}", wording
