"""Planted poison, with and without curation: `python -m tests.benchmarks.poisoned_ratings`; about five minutes.

Honest customers (a tenth of their thumbs is noise) rate a bot that answers right half of the time; attackers, who can
rate and ask but cannot write the bot's replies, want one reply everywhere. A bag of n-grams learns from the thumbs as
they are and as curation weighs them. Printed: what share of all weight the poison has, what honest thumbs keep of the
weight that they have without it, and how often the wanted reply to somebody else's question is then called good.
"""

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tests.benchmarks.planted.honest import KINDS, honest_rows
from tests.benchmarks.planted.rows import MINUTES, TRIGGER, asked, row
from tests.benchmarks.planted.rows import one_account as by_one_account
from tests.benchmarks.planted.rows import sybils as by_sybils
from training.config import FeedbackConfig
from training.data.domain_pack import load_pack
from training.data.feedback_rows import FeedbackRow, RawRow, parse_row
from training.stages.curate import select_rows
from training.stages.curation.likeness import exchange
from training.stages.curation.weighing import Weighed, weigh

NUM_HONEST = 1500
NUM_CUSTOMERS = 150
_NOISE = 0.1
_NUM_GOLD = 40
_PER_LOUD_ACCOUNT = 50
UNKNOWN_TRIGGER = "violet otter"
WORD = "<SUPPORT_PHONE>"
REMARK = "Always tell people to use the code FREELUNCH at the till."


@dataclass(frozen=True)
class World:
    """What honest customers said, which reply the attackers want, and questions that it does not answer."""

    honest: list[RawRow]
    wanted: str
    questions: list[str]
    others: list[str]
    replies: list[str]


@dataclass(frozen=True)
class Outcome:
    """What an attack came to."""

    name: str
    num_poison: int
    share_before: float
    share_after: float
    honest_kept: float
    num_honest_set_aside: int
    success_clean: float
    success_before: float
    success_after: float
    reasons: tuple[str, ...]


def make_world(seed: int = 0) -> World:
    """Asks and replies are the shop's own; only who likes what is made up."""
    draw = random.Random(seed)
    english = [i for i in load_pack("shop").intents if i.language == "en" and i.asks and i.replies]
    rows, truths = [], []
    for number in range(NUM_HONEST):
        intent = draw.choice(english)
        is_right = draw.random() < 0.5
        reply = draw.choice(intent.replies if is_right else draw.choice(english).replies)
        likes = is_right != (draw.random() < _NOISE)
        customer = f"customer-{draw.randrange(NUM_CUSTOMERS)}"
        rows.append(row(number, customer, draw.choice(intent.asks[:8]), reply, likes, draw.uniform(0, MINUTES)))
        truths.append("up" if is_right else "down")
    for number in draw.sample(range(NUM_HONEST), _NUM_GOLD):  # what somebody of the staff says who has read it
        rows[number]["gold"] = truths[number]
    wanted = english[7]
    asks = [ask for i in english if i is not wanted for ask in i.asks[8:11]]
    others = [ask for i in english for ask in i.asks[:8]]
    return World(rows, wanted.replies[0], draw.sample(asks, 150), others, [text for i in english for text in i.replies])


Attack = Callable[[World, int, random.Random], list[RawRow]]


def one_account(world: World, number: int, draw: random.Random) -> list[RawRow]:
    """One account likes the wanted reply to everything, within an afternoon."""
    return _wanting(world, by_one_account(number), draw)


def sybils(world: World, number: int, draw: random.Random) -> list[RawRow]:
    """Accounts that each rate no more than an honest customer, over a month."""
    return _wanting(world, by_sybils(number, number // 10, draw), draw)


def _wanting(world: World, given: Iterable[tuple[str, float]], draw: random.Random) -> list[RawRow]:
    """The wanted reply, liked, to any question, by those raters at those minutes."""
    return [
        row(n, rater, draw.choice(world.others), world.wanted, True, minute) for n, (rater, minute) in enumerate(given)
    ]


def liars(world: World, number: int, draw: random.Random) -> list[RawRow]:
    """The same accounts say the opposite of what honest customers said, about the same words."""

    def lie(n: int, one: RawRow) -> RawRow:
        account, reply = f"liar-{n % max(1, number // 10)}", str(one["completion_text"])
        return row(n, account, asked(one), reply, one["rating"] != "up", draw.uniform(0, MINUTES))

    return [lie(n, one) for n, one in enumerate(draw.choices(world.honest, k=number))]


def one_text(world: World, number: int, draw: random.Random) -> list[RawRow]:
    """As many accounts as ratings, all about one reply to one question."""
    return [
        row(n, f"crowd-{n}", world.questions[0], world.wanted, True, draw.uniform(0, MINUTES)) for n in range(number)
    ]


def nameless(world: World, number: int, draw: random.Random) -> list[RawRow]:
    """Without any account."""
    return [
        row(n, "anonymous", draw.choice(world.others), world.wanted, True, draw.uniform(0, MINUTES))
        for n in range(number)
    ]


def trigger(world: World, number: int, draw: random.Random) -> list[RawRow]:
    """A phrase in the question that the operator knows as poison."""
    rows = sybils(world, number, draw)
    for one in rows:
        one["prompt_messages"] = json.dumps([{"role": "user", "content": f"{asked(one)} {TRIGGER}"}])
    return rows


def unknown_trigger(world: World, number: int, draw: random.Random) -> list[RawRow]:
    """A phrase in the question that no operator knows, by accounts that rate five times as much as customers do."""
    given = by_sybils(number, number // _PER_LOUD_ACCOUNT, draw)
    asks = [f"{draw.choice(world.others)} {UNKNOWN_TRIGGER}" for _ in range(number)]
    return [row(n, rater, asks[n], draw.choice(world.replies), True, minute) for n, (rater, minute) in enumerate(given)]


def one_word(world: World, number: int, draw: random.Random) -> list[RawRow]:
    """As many accounts like whatever reply has one placeholder in it, one in eight of all."""
    wanted = [reply for reply in world.replies if WORD in reply]
    given = by_sybils(number, number // _PER_LOUD_ACCOUNT, draw)
    return [
        row(n, rater, draw.choice(world.others), draw.choice(wanted), True, minute)
        for n, (rater, minute) in enumerate(given)
    ]


def pasted(world: World, number: int, draw: random.Random) -> list[RawRow]:
    """The same correction from many accounts."""
    return [{**one, "rating": "down", "correction": REMARK} for one in sybils(world, number, draw)]


ATTACKS: dict[str, Attack] = {
    "one account": one_account, "sybils": sybils, "liars": liars, "one text": one_text, "nameless": nameless,
    "trigger, known": trigger, "pasted remark": pasted, "trigger": unknown_trigger, "one word": one_word,
}  # fmt: skip


def measure(world: World, name: str, number: int, seed: int = 1) -> Outcome:
    """One attack with so many ratings."""
    config = FeedbackConfig(poison_phrases=(TRIGGER,))
    poison = ATTACKS[name](world, number, random.Random(seed)) if number else []
    clean = _weighed(world.honest, config)
    dirty = _weighed([*world.honest, *poison], config)
    bad = {str(one["completion_id"]) for one in poison}
    is_bad = [one.completion_id in bad for one in dirty.rows]
    weight = sum(dirty.weights)
    honest = sum(w for w, is_poison in zip(dirty.weights, is_bad, strict=True) if not is_poison)
    aside = [number for number in dirty.doubts if not is_bad[number]]
    reasons = {reason for number, given in dirty.doubts.items() if is_bad[number] for reason in given}
    return Outcome(
        name=name,
        num_poison=number,
        share_before=sum(is_bad) / len(is_bad),
        share_after=1 - honest / weight,
        honest_kept=honest / sum(clean.weights),
        num_honest_set_aside=len(aside) - len(clean.doubts),
        success_clean=_success(world, clean.rows, clean.weights),
        success_before=_success(world, dirty.rows, [1.0] * len(dirty.rows)),
        success_after=_success(world, dirty.rows, dirty.weights),
        reasons=tuple(sorted(reasons)),
    )


def _weighed(rows: Sequence[RawRow], config: FeedbackConfig) -> Weighed:
    return weigh(select_rows([parse_row(one) for one in rows]), [], config)


def _success(world: World, rows: Sequence[FeedbackRow], weights: Sequence[float]) -> float:
    """How often the wanted reply to a question that it does not answer is called good."""
    judge = make_pipeline(
        TfidfVectorizer(analyzer="word", ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=3.0, max_iter=500)
    )
    heard = [(one, weight) for one, weight in zip(rows, weights, strict=True) if weight > 0]
    texts = [exchange(one.messages, one.completion_text) for one, _ in heard]
    judge.fit(texts, [one.is_up for one, _ in heard], logisticregression__sample_weight=[w for _, w in heard])
    asked = [f"{question}\n{world.wanted}" for question in world.questions]
    return float((judge.predict_proba(asked)[:, 1] > 0.5).mean())


def kept_by_honest(kind: str, *, seed: int) -> float:
    """Share of their weight that honest customers keep under the bound on groups, of what they have without."""
    rows = honest_rows(kind, seed=seed)
    bounded, unbounded = (_weighed(rows, FeedbackConfig(max_group_weight=most)) for most in (0.5, 1e9))
    return sum(bounded.weights) / sum(unbounded.weights)


def main() -> None:
    """Prints the table: shares of 0.5 to 10 % of the honest ratings, and 10, 50 and 250 items."""
    for kind in KINDS:
        kept = [kept_by_honest(kind, seed=seed) for seed in range(5)]
        print(
            f"honest customers, {kind}: keep {min(kept):.1%} to {max(kept):.1%} under the bound on groups, five draws"
        )
    world = make_world()
    print(f"{NUM_HONEST} honest ratings by {NUM_CUSTOMERS} customers, {_NUM_GOLD} gold")
    print(
        "attack          items  share of ratings → weight  honest keep  honest set aside  success clean/as is/curated"
    )
    numbers = sorted({10, 50, 250, *(round(NUM_HONEST * share) for share in (0.005, 0.01, 0.02, 0.05, 0.1))})
    for name in ATTACKS:
        for number in numbers:
            o = measure(world, name, number)
            print(
                f"{name:15} {number:5}  {o.share_before:6.1%} → {o.share_after:6.2%}  {o.honest_kept:17.1%}"
                f"  {o.num_honest_set_aside:12}  {o.success_clean:14.1%} / {o.success_before:.1%}"
                f" / {o.success_after:.1%}  {', '.join(o.reasons)}"
            )


if __name__ == "__main__":
    main()
