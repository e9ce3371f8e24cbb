"""How far a bundle can follow a conversation: `python -m tests.benchmarks.bench_depth`; three minutes of one core.

Development asks are asked after none to four exchanges about other things (another development ask and an authored
reply each), and answered as the service would if it showed the network all of that. A reply counts as garbled when at
least two of its word triples stand in no reply that an author wrote: the network knows its replies by heart, and what
is none of them is hardly ever a sentence. Printed by number of exchanges, temperature and language, with intervals.
"""

import argparse
import random
import re
from collections.abc import Sequence
from pathlib import Path

from model_store.bundle import open_bundle
from model_store.contract.conversation import Message, Role
from model_store.store import DEFAULT_BUNDLE
from training.data.domain_pack import DomainPack, Intent, fill_slots, user_message
from training.evaluation.figures import Figure, share
from training.evaluation.held_out import HeldOutPrompt, Sampling
from training.evaluation.subject import Subject

_WORDS = re.compile(r"<[A-Z_0-9]+>|[\u4e00-\u9fff]|[A-Za-z'’]+|[^\sA-Za-z\u4e00-\u9fff]")
_MIN_UNHEARD = 2
Triple = tuple[str, str, str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a row for every number of exchanges and temperature."""
    options = _parser().parse_args(arguments)
    subject = Subject.of(open_bundle(options.bundle), "shop")
    known = authored_triples(subject.pack)
    print(f"{'exchanges before':>16} {'temperature':>12}   garbled, English          garbled, Chinese")
    for depth in range(options.max_depth + 1):
        prompts = draw_prompts(subject.pack, depth, options.prompts)
        for temperature in options.temperatures:
            replies = subject.answer(prompts, Sampling(temperature=temperature, seed=1))
            cells = []
            for language in subject.pack.languages:
                texts = [reply.text for reply in replies if reply.prompt.language == language]
                cells.append(_shown(share([is_garbled(text, known) for text in texts])))
            print(f"{depth:>16} {temperature:>12}   {'   '.join(cells)}", flush=True)


def is_garbled(text: str, known: frozenset[Triple]) -> bool:
    """Whether it holds triples of words that no author has put in a row."""
    return sum(triple not in known for triple in _triples(text)) >= _MIN_UNHEARD


def authored_triples(pack: DomainPack) -> frozenset[Triple]:
    """Of every reply in the pack: of intents, of flows and about articles."""
    turns = [turn for flow in pack.flows for turn in flow.turns if turn.role is Role.ASSISTANT]
    replies = [reply for intent in (*pack.intents, *pack.help_intents) for reply in intent.replies]
    texts = [*replies, *(text for turn in turns for text in turn.wordings)]
    return frozenset(triple for text in texts for triple in _triples(text))


def draw_prompts(pack: DomainPack, depth: int, count: int) -> list[HeldOutPrompt]:
    """`count` prompts a language; the same asks and replies each time."""
    generator = random.Random(5)
    prompts = []
    for language in pack.languages:
        intents = [intent for intent in pack.intents if intent.language == language and intent.development_asks]
        for _ in range(count):
            messages: list[Message] = []
            for intent in generator.choices(intents, k=depth):
                messages += [_ask(intent, pack, generator), Message(Role.ASSISTANT, generator.choice(intent.replies))]
            last = generator.choice(intents)
            asked = (*messages, _ask(last, pack, generator))
            prompts.append(HeldOutPrompt(last.name, last.topic, language, asked, ()))
    return prompts


def _ask(intent: Intent, pack: DomainPack, generator: random.Random) -> Message:
    text = generator.choice(intent.development_asks)
    return user_message(fill_slots(text, pack.slots[intent.language], generator))


def _triples(text: str) -> list[Triple]:
    words = ["", "", *_WORDS.findall(text), ""]
    return list(zip(words, words[1:], words[2:], strict=False))


def _shown(figure: Figure) -> str:
    return f"{figure.value:6.1%} [{figure.low:5.1%}, {figure.high:5.1%}]"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_depth", description="How far it follows.")
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE)
    parser.add_argument("--prompts", type=int, default=80, help="a language and number of exchanges")
    parser.add_argument("--max-depth", type=int, default=4)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.5, 0.7])
    return parser


if __name__ == "__main__":
    main()
