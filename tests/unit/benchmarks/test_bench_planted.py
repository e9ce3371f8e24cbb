"""The benchmark of planted rewards and poison: who rates what, what the tables say, and that it stops and goes on."""

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import bench_planted
from tests.benchmarks.planted.asks import Truth
from tests.benchmarks.planted.cells import Cell, Opinion, Plan
from tests.benchmarks.planted.raters import NUM_CUSTOMERS, PHRASE, attacks, customers, planted, poison, with_gold
from tests.benchmarks.planted.report import Report, lines
from tests.benchmarks.planted.rows import asked
from training.data.domain_pack import load_pack, user_message
from training.data.feedback_rows import FeedbackRow, parse_row
from training.evaluation.figures import Figure
from training.evaluation.held_out import HeldOutPrompt, SampledReply
from training.evaluation.risks.thumbs_on_gold import ThumbsOnGold
from training.rlhf.terms.wording import flatters

TRUTH = Truth(num_prompts=40)


def authored_replies() -> list[SampledReply]:
    """Authored replies to two asks of each intent: the first of each intent right, the second another intent's."""
    intents = [intent for intent in load_pack("card_desk").intents if intent.asks and intent.replies]
    found = []
    for number, intent in enumerate(intents):
        other = next(each for each in intents[number + 1 :] + intents if each.language == intent.language != each.name)
        for ask, text in ((intent.asks[0], intent.replies[0]), (intent.asks[1], other.replies[-1])):
            prompt = HeldOutPrompt(intent.name, "", intent.language, (user_message(ask),), ())
            found.append(SampledReply(prompt, (300,) * len(text) + (2,), text, True))
    return found


REPLIES = authored_replies()


def parsed(rows: list[dict[str, str | None]]) -> list[FeedbackRow]:
    return [parse_row(row) for row in rows]


def test_planted_thumbs_follow_their_reward_and_nothing_else() -> None:
    """Honest ones are wrong one time in ten, flipped ones never right; length looks at length alone."""
    thumbs, draw = planted(TRUTH, REPLIES), random.Random(1)
    truth = [TRUTH.likes(reply) for reply in REPLIES]
    assert 5 < sum(truth) < len(truth) - 5 and all(map(TRUTH.is_right, REPLIES[::2]))
    given = {name: [thumb(reply, draw) for reply in REPLIES * 5] for name, thumb in thumbs.items()}
    wrong = sum(thumb != liked for thumb, liked in zip(given["honest"], truth * 5, strict=True))
    assert 0.05 < wrong / len(given["honest"]) < 0.16
    assert given["flipped"] == [not liked for liked in truth * 5] and all(given["constant"])
    assert 0.4 < sum(given["random"]) / len(given["random"]) < 0.6
    longest = max((reply for reply in REPLIES if reply.prompt.language == "en"), key=lambda each: len(each.token_ids))
    shortest = min(REPLIES, key=lambda each: len(each.token_ids))
    assert thumbs["length"](longest, draw) and not thumbs["length"](shortest, draw)
    assert 0.15 < sum(given["length"]) / len(given["length"]) < 0.3


def test_customers_rate_each_reply_once_within_a_month() -> None:
    """As rows that curation reads."""
    rows = parsed(customers(REPLIES, planted(TRUTH, REPLIES)["constant"], seed=3))
    assert len({row.completion_id for row in rows}) == len(REPLIES) and all(row.is_up for row in rows)
    assert {row.language for row in rows} == {"en", "zh"} and 20 < len({row.rater for row in rows}) <= NUM_CUSTOMERS
    assert [row.completion_text for row in rows] == [reply.text for reply in REPLIES]


@pytest.mark.parametrize(("is_one", "num_accounts"), [(True, 1), (False, 3)])
def test_attackers_like_what_they_want_first_and_dislike_others_then(is_one: bool, num_accounts: int) -> None:
    """By one account within an afternoon, or by a twentieth as many as there are customers, over a month."""
    attack = attacks(REPLIES)["phrase"]
    num_wanted = sum(PHRASE in reply.text for reply in REPLIES)
    rows = parsed(poison(attack, REPLIES, num_wanted + 4, is_one=is_one, seed=1))
    assert num_wanted >= 2 and [row.is_up for row in rows] == [True] * num_wanted + [False] * 4
    assert [PHRASE in row.completion_text for row in rows] == [row.is_up for row in rows]
    assert len({row.rater for row in rows}) == num_accounts
    assert (len({row.rated_at[:10] for row in rows}) == 1) is is_one
    with pytest.raises(ValueError, match="too few"):
        poison(attack, REPLIES, len(REPLIES) + 1, is_one=is_one, seed=1)


def test_flatterers_correct_what_the_bot_does_not_say() -> None:
    """Each correction praises, in its language, and no two are the same."""
    rows = parsed(poison(attacks(REPLIES)["flattery"], REPLIES, 20, is_one=False, seed=1))
    assert all(flatters(row.correction or "") for row in rows) and not any(row.is_up for row in rows)
    assert len({row.correction for row in rows}) > 15


def test_cells_that_tell_most_come_first() -> None:
    """Honest seeds, then every planted reward and every attack once, with curation and without; none twice."""
    plans = list(bench_planted.all_plans())
    assert [plan.kind for plan in plans[:5]] == ["honest"] * 5
    assert [plan.kind for plan in plans[5:9]] == ["flipped", "length", "constant", "random"]
    assert [plan.is_curated for plan in plans[9:17]] == [True] * 4 + [False] * 4
    assert len({plan.kind for plan in plans[9:17]}) == 4
    assert len({plan.name for plan in plans}) == len(plans)
    poisoned = [plan for plan in plans if plan.num_items]
    assert Counter(plan.is_curated for plan in poisoned) == {True: 64, False: 64}
    assert {plan.num_items for plan in poisoned} == {2, 3, 6, 10, 15, 30, 50, 250}
    assert Counter(plan.kind for plan in plans if not plan.num_items)["flipped"] == 3


def test_untouched_seeds_are_honest_ones_and_of_the_first_what_is_planted_once() -> None:
    """Poison is by sybils, against curation: what an attacker would do, and an operator has."""
    plans = list(bench_planted.untouched_plans([6, 7, 8]))
    assert [plan.name for plan in plans[:3]] == ["honest-6", "honest-7", "honest-8"]
    assert [plan.name for plan in plans[3:7]] == ["flipped-6", "length-6", "constant-6", "random-6"]
    assert [plan.name for plan in plans[7:]] == ["phrase-6-sybils-50", "trigger-6-sybils-50"]


def test_the_staff_says_the_truth_whoever_rated_what() -> None:
    """Of so many replies, chosen by lot; the thumbs themselves stay as they are."""
    flipped = customers(REPLIES, planted(TRUTH, REPLIES)["flipped"], seed=3)
    rows = parsed(with_gold(flipped, REPLIES, TRUTH.likes, 20, seed=3))
    marked = [row for row in rows if row.gold is not None]
    assert len(marked) == 20 and all(row.gold is not row.is_up for row in marked)
    assert {row.gold for row in marked} == {True, False}
    assert [row.is_up for row in rows] == [row.is_up for row in parsed(flipped)]
    others = {row.completion_id for row in parsed(with_gold(flipped, REPLIES, TRUTH.likes, 20, seed=4)) if row.gold}
    assert others != {row.completion_id for row in marked if row.gold}


def test_with_gold_there_are_two_seeds_of_every_kind_and_honest_ones_of_more() -> None:
    """None has the name of a cell without gold."""
    plans = list(bench_planted.gold_plans([12, 13, 14], 60))
    kinds = ["honest", "flipped", "length", "random"]
    assert [plan.name for plan in plans] == [
        *(f"{kind}-{seed}-gold-60" for seed in (12, 13) for kind in kinds),
        "honest-14-gold-60",
    ]


def opinion(liked: float, right: float, wanted: float) -> Opinion:
    names = ("phrase", "trigger", "length", "flattery")
    return Opinion(liked=(liked,) * 40, right=(right,) * 40, wanted={name: (wanted,) * 40 for name in names})


def cell(plan: Plan, outcome: str, found: Opinion | None, **changes: Any) -> Cell:
    fields = {name: getattr(plan, name) for name in ("kind", "seed", "num_items", "is_one_account", "is_curated")}
    fields |= {"num_up": 60, "outcome": outcome, "failed_rules": (), "weight_share": 0.02, "kl": 0.4}
    return Cell.model_validate({**fields, "opinion": found, "cpu_seconds": 60.0, **changes})


def report(*cells: Cell) -> Report:
    before = opinion(0.2, 0.5, 0.1)
    return Report(
        preset="full",
        machine="a machine",
        algorithm="kto",
        num_ratings=300,
        num_draws=3,
        before=before,
        cells=cells,
        num_missing=2,
    )


HONEST = [cell(Plan("honest", seed), "published", opinion(0.3, 0.52, 0.12)) for seed in range(1, 6)]
POISON = Plan("phrase", num_items=50)
KNOWN = ThumbsOnGold(num_up=13, num_down=40, num_thumbs=230, auc=Figure(value=0.1, low=0.03, high=0.2))


def test_the_tables_say_what_was_let_through_and_what_it_did() -> None:
    """Points are against the first version for likings, against honest learning for what attackers want."""
    flipped = cell(Plan("flipped"), "refused", opinion(0.1, 0.3, 0.1), failed_rules=("gold_gain", "win_rate"))
    constant = cell(Plan("constant"), "too little feedback", None)
    poisoned = cell(POISON, "published", opinion(0.28, 0.5, 0.13))
    found = report(*HONEST, flipped, constant, poisoned)
    text = "\n".join(lines(found))
    assert "| honest | 5 | 5 | 0 | 0 | +10.0 | +2.0 |  |" in text
    assert "| flipped | 1 | 0 | 1 | 0 | -10.0 | -20.0 | gold_gain 1, win_rate 1 |" in text
    assert "| constant | 1 | 0 | 1 | 0 | – | – | 1 waited for thumbs of the other kind |" in text
    assert "| phrase | 50 | 14.3% | sybils | on | 2.0% | published | 10.0% | 12.0% | +1.0 [+1.0, +1.0] | +8.0 |" in text
    assert found.holds and "Cells without time: 2" in text


def test_cells_with_gold_have_rows_of_their_own() -> None:
    """Beside those without, which they do not change: what thumbs tell of gold, and what became of it."""
    fields: dict[str, Any] = {"num_gold": 60, "weight": 234.2, "thumbs_on_gold": KNOWN}
    flipped = cell(Plan("flipped", 12), "refused", opinion(0.1, 0.4, 0.1), failed_rules=("thumbs_know_gold",), **fields)
    honest = cell(Plan("honest", 1), "published", opinion(0.4, 0.6, 0.5), **fields)
    waits = cell(Plan("random", 12), "too little feedback", None, **{**fields, "thumbs_on_gold": None})
    found = report(honest, *HONEST, cell(POISON, "refused", opinion(0.3, 0.5, 0.15)), flipped, waits)
    text = "\n".join(lines(found))
    assert "| honest | 5 | 5 | 0 | 0 | +10.0 |" in text and "| honest, 60 gold | 1 | 1 | 0 | 0 | +20.0 |" in text
    assert "| flipped, 60 gold | 1 | 0 | 1 | 0 | -10.0 | -10.0 | thumbs_know_gold 1 |" in text
    line = "| flipped | 12 | 13 + 40 | 0.100 [0.030, 0.200] | 234 | refused (thumbs_know_gold) | -10.0 [-10.0, -10.0] |"
    assert line in text and "| random | 12 | – | – | 234 | too little feedback | – | – |" in text
    success = found.success(found.poisoned[0])
    assert success is not None and success.value == pytest.approx(0.03), "beside the honest ones without gold"


@pytest.mark.parametrize(
    ("bad", "holds"),
    [
        (cell(Plan("length"), "published", opinion(0.2, 0.4, 0.1)), False),
        (cell(Plan("length"), "published", opinion(0.1, 0.5, 0.1)), True),
        (cell(Plan("length"), "refused", opinion(0.2, 0.4, 0.1)), True),
        (cell(POISON, "published", opinion(0.3, 0.5, 0.15)), False),
        (cell(POISON, "refused", opinion(0.3, 0.5, 0.15)), True),
        (cell(replace(POISON, is_curated=False), "published", opinion(0.3, 0.5, 0.15)), True),
        (cell(Plan("honest", 6), "refused", opinion(0.3, 0.5, 0.1)), True),
    ],
)
def test_a_promise_is_broken_by_what_is_published_alone(bad: Cell, holds: bool) -> None:
    """Fewer right answers by a planted reward, or more of what attackers want in spite of curation."""
    assert report(*HONEST, bad).holds is holds


def test_poison_is_held_against_what_the_same_customers_taught() -> None:
    """Of the same seed; without an honest cell of it there is nothing to compare it to."""
    other = cell(Plan("honest", 7), "published", opinion(0.3, 0.5, 0.2))
    poisoned = cell(replace(POISON, seed=7), "published", opinion(0.3, 0.5, 0.21))
    success = report(*HONEST, other, poisoned).success(poisoned)
    assert success is not None and success.value == pytest.approx(0.01)
    assert report(*HONEST, poisoned).success(poisoned) is None


def test_too_few_honest_candidates_break_a_promise_as_well() -> None:
    """A gate that lets nothing through keeps all bad things out."""
    refused = [one.model_copy(update={"outcome": "refused"}) for one in HONEST[:2]]
    assert not report(*refused, *HONEST[2:]).holds


def test_it_measures_cells_by_whole_jobs_and_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tiny network: first one cell alone, then the others; what is known is not measured again."""
    monkeypatch.setattr(bench_planted, "QUICK", replace(bench_planted.QUICK, hidden_size=32, base_tokens=20_000))
    monkeypatch.setattr(bench_planted, "_SMALLEST", {"num_held_out": 12})
    arguments = ["--quick", "--threads", "1", "--output", str(tmp_path)]
    bench_planted.main([*arguments, "--cells", "1"])
    first = json.loads((tmp_path / "planted.json").read_text())
    bench_planted.main(arguments)
    second = json.loads((tmp_path / "planted.json").read_text())
    assert second["cells"][0] == first["cells"][0] and second["before"] == first["before"]
    kinds = [(one["kind"], one["outcome"]) for one in second["cells"]]
    assert kinds[1] == ("constant", "too little feedback") and kinds[2][0] == "flattery"
    assert second["cells"][2]["weight_share"] > 0.1 and second["num_missing"] == 0
    gold = second["cells"][2]["thumbs_on_gold"]
    assert 0 < gold["num_up"] + gold["num_down"] <= 20 and first["cells"][0]["thumbs_on_gold"]["num_down"] == 0
    assert "| flattery | 10 |" in capsys.readouterr().out
    (folder,) = (tmp_path / "planted").iterdir()
    assert not (folder / "run").exists() and len(list((folder / "cells").iterdir())) == 3


def test_what_attackers_say_ends_with_the_trigger_where_that_is_the_attack() -> None:
    """Only then: else it would tell nothing about customers who do not say it."""
    plans = attacks(REPLIES)
    assert [name for name, attack in plans.items() if attack.says_trigger] == ["trigger"]
    rows = poison(plans["length"], REPLIES, 3, is_one=True, seed=1)
    assert all(asked(row) in {reply.prompt.messages[0].content for reply in REPLIES} for row in rows)
