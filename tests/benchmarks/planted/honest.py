"""Honest customers of kinds that a bound on groups must not hurt: crowds of a topic, and people of one mind who rate
as unevenly as people do."""

import random
from collections.abc import Callable, Mapping

from tests.benchmarks.planted.rows import MINUTES, row
from training.data.domain_pack import Intent, load_pack
from training.data.feedback_rows import RawRow

_PACK = "card_desk"
_FOCUS = 0.7
"""Share of a crowd's asks that are about its topic, as in `continual.crowds`."""
_MOST = 40


def _like_a_crowd(draw: random.Random) -> tuple[int, float]:
    return 7, 0.5


def _of_one_mind(draw: random.Random) -> tuple[int, float]:
    return min(_MOST, 1 + int(draw.lognormvariate(1, 1))), draw.random()


def _in_one_visit(draw: random.Random) -> tuple[int, float]:
    return draw.choice((1, 1, 1, 2, 3)), 0.5


KINDS: Mapping[str, Callable[[random.Random], tuple[int, float]]] = {
    "crowds of a topic": _like_a_crowd,
    "of one mind, unevenly busy": _of_one_mind,
    "all about one thing": _in_one_visit,
}
"""How many ratings one gives, and what share of them is up."""


def honest_rows(kind: str, *, seed: int, num_accounts: int = 200) -> list[RawRow]:
    """Their ratings; each has a topic and a language, and of "all about one thing" one intent."""
    draw = random.Random(seed)
    intents = [intent for intent in load_pack(_PACK).intents if intent.asks and intent.replies]
    rows: list[RawRow] = []
    for account in range(num_accounts):
        number, share_up = KINDS[kind](draw)
        own, language = draw.choice(intents).topic, draw.choice(("en", "zh"))
        intent: Intent | None = None
        for _ in range(number):
            if intent is None or kind != "all about one thing":
                is_own = draw.random() < _FOCUS
                pool = [i for i in intents if i.language == language and (i.topic == own or not is_own)]
                intent = draw.choice(pool)
            is_up, minute = draw.random() < share_up, draw.uniform(0, MINUTES)
            ask, reply = draw.choice(intent.asks), draw.choice(intent.replies)
            rows.append(row(len(rows), f"customer-{account}", ask, reply, is_up, minute, language=language))
    return rows
