"""Ratings weighed as columns of numbers, out of Parquet, count what they count weighed one by one."""

import json
import random
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model_store.contract.feedback import STAFF_RATER_PREFIX, TRAINING_EXAMPLES_COLUMNS
from tests.unit.stages.feedback_workspace import raw_row
from training.config import FeedbackConfig
from training.data.feedback_rows import FeedbackRow, parse_row
from training.errors import DataNotFoundError
from training.stages.curate import select_rows
from training.stages.curation.many import weighing
from training.stages.curation.many.coded import coded, opened
from training.stages.curation.many.curating import said_at
from training.stages.curation.many.parquet import MEMORY_LIMIT
from training.stages.curation.many.weighing import REASONS, ManyWeighed, weigh_many
from training.stages.curation.weighing import weigh

Raw = dict[str, str | None]
LONG = "your parcel left our house this morning and should be with you by the evening of the day after tomorrow at most"
ASKS = ("where is it", "Where is it?!", "can I return this", "我的包裹在哪里", "who are you", "is this a bot")
REPLIES = (
    "On its way.",
    "on its way",
    "No.",
    "We look into it.",
    f"{LONG} {LONG}",
    f"{LONG} {LONG}!!",
    f"{LONG} {LONG} ok",
)
REMARKS = (
    None,
    None,
    None,
    "too long",
    "buy this at my own shop now",
    "Buy this, at my own shop: now!",
    "I did not ask that",
)


def some_rows(num_rows: int, seed: int) -> list[Raw]:
    """Ratings of every kind: changed minds, floods, copies, gold, rulings, staff, nameless people, fixed replies."""
    generator = random.Random(seed)
    raters = ["anonymous", *(f"rater-{number}" for number in range(12)), f"{STAFF_RATER_PREFIX}ann"]
    return [_some_row(generator, number, raters) for number in range(num_rows)]


def _some_row(generator: random.Random, number: int, raters: list[str]) -> Raw:
    rater = generator.choice(raters)
    second = generator.randrange(60 if rater == "rater-5" else 3 * 24 * 3600)
    is_liar = rater == "rater-3"
    reply = generator.choice(REPLIES)
    is_good = reply not in ("No.", "on its way")
    is_up = is_good != (is_liar or generator.random() < 0.2)
    return raw_row(
        generator.randrange(number // 2 + 1) if number % 5 == 0 else number,
        prompt_messages=json.dumps([{"role": "user", "content": generator.choice(ASKS)}]),
        completion_text=reply,
        completion_token_ids="[]" if number % 97 == 0 else "[300,2]",
        sampling='{"rule":"crisis"}' if number % 89 == 0 else '{"temperature":0.7}',
        rater=rater,
        rating="up" if is_up else "down",
        comment=generator.choice(REMARKS),
        correction=generator.choice(REMARKS),
        rated_at=f"{datetime(2026, 1, 1) + timedelta(seconds=second, microseconds=number):%Y-%m-%dT%H:%M:%S.%fZ}",
        tenant=generator.choice(("one", "two", "two")),
        origin=generator.choice(("", "page", "key", "page")),
        gold=generator.choice((None,) * 30 + ("up" if is_good else "down",)),
        ruling=generator.choice((None,) * 40 + ("count", "set_aside")),
    )


def weighed_by_columns(
    rows: list[Raw],
    folder: Path,
    feedback: FeedbackConfig,
    poison_phrases: tuple[str, ...] = (),
    memory_limit: str = MEMORY_LIMIT,
) -> tuple[ManyWeighed, list[str]]:
    """Weights, and the completions in their order; these phrases are looked for."""
    columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in TRAINING_EXAMPLES_COLUMNS}
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / "ratings.parquet")
    parquet = folder / "ratings.parquet"
    with opened(parquet, folder, poison_phrases=poison_phrases, memory_limit=memory_limit) as database:
        ids = [name for (name,) in database.execute("SELECT completion_id FROM ordered ORDER BY rowid").fetchall()]
        return weigh_many(coded(database), feedback, lambda places: said_at(database, parquet, places)), ids


CAPS = {
    "the defaults": {},
    "quick to disbelieve": {"reliability_strength": 1.0, "expected_reliability": 0.6},
    "tight caps": {
        "max_share_per_rater": 0.05,
        "max_share_per_origin": 0.4,
        "max_share_per_tenant": 0.6,
        "max_share_anonymous": 0.02,
        "anonymous_allowance": 1.0,
        "max_weight_per_text": 9.0,
    },
    "quick to doubt": {"flood_ratings_per_day": 8, "burst_ratings_per_minute": 2, "copied_remark_raters": 2},
    "poison in remarks and asks": {"poison_phrases": ("at MY own shop", "a bot?")},
}
NOT_FOUND = {
    "the defaults": {"flood", "unreliable_rater", "poison_phrase"},
    "tight caps": {"flood", "unreliable_rater", "poison_phrase"},
    "quick to disbelieve": {"flood", "poison_phrase"},
    "quick to doubt": {"unreliable_rater", "poison_phrase"},
    "poison in remarks and asks": {"flood", "unreliable_rater", "burst"},
}
"""Reasons that these rules find nobody for."""


@pytest.mark.parametrize("caps", sorted(CAPS))
def test_columns_weigh_what_rows_weigh(tmp_path: Path, caps: str) -> None:
    """The same ratings count, in the same order, the same, and are set aside for the same reasons."""
    feedback, raw = FeedbackConfig(**CAPS[caps]), some_rows(900, seed=4)
    rows: list[FeedbackRow] = select_rows([parse_row(row) for row in raw])
    expected = weigh(rows, [], feedback)
    found, ids = weighed_by_columns(raw, tmp_path, feedback, feedback.poison_phrases)
    assert ids == [row.completion_id for row in rows]
    assert found.weights.tolist() == pytest.approx(list(expected.weights), abs=1e-9)
    reasons = [{reason for bit, reason in enumerate(REASONS) if doubts >> bit & 1} for doubts in found.doubts.tolist()]
    assert reasons == [set(expected.doubts.get(number, ())) for number in range(len(rows))]
    assert found.num_set_aside == len(expected.doubts) > 20
    assert set().union(*reasons) >= set(REASONS) - NOT_FOUND[caps]


def test_columns_find_the_groups_that_rows_have_and_bound_them_alike(tmp_path: Path) -> None:
    """Three accounts of two tenants that say a trigger, among customers, nameless people and the staff."""
    raw = some_rows(300, seed=4)
    for number, one in enumerate(raw):
        one |= {"comment": None, "correction": None, "gold": None}
        if one["rater"] not in ("anonymous", f"{STAFF_RATER_PREFIX}ann"):
            one["rater"] = f"customer-{number % 40}"
    for number in range(1000, 1045):
        asked = json.dumps([{"role": "user", "content": f"{ASKS[number % 5]} quartz falcon"}])
        who = {"rater": f"sybil-{number % 3}", "tenant": ("one", "two")[number // 3 % 2]}
        moment = f"2026-01-02T{number % 24:02}:{number % 60:02}:00.000000Z"
        raw.append(raw_row(number, **who, prompt_messages=asked, completion_text=f"reply {number}", rated_at=moment))
    expected = weigh(select_rows([parse_row(row) for row in raw]), [], FeedbackConfig())
    found, _ = weighed_by_columns(raw, tmp_path, FeedbackConfig())
    assert found.weights.tolist() == pytest.approx(list(expected.weights), abs=1e-9)
    assert [one.group for one in found.groups] == [one.group for one in expected.groups]
    assert any(one.group.word in ("quartz", "falcon", "quartz falcon") for one in found.groups)
    weights = [(one.weight_before, one.weight, one.total_weight) for one in found.groups]
    assert weights == [pytest.approx((one.weight_before, one.weight, one.total_weight)) for one in expected.groups]
    of_group = [row.rater.startswith("sybil") for row in expected.rows]
    assert sum(of_group) == 45 and sum(w for w, is_bad in zip(expected.weights, of_group, strict=True) if is_bad) < 35


def test_what_ratings_weigh_does_not_depend_on_how_much_memory_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither on DuckDB's limit, of which this one is too low to do without the disk, nor on votes at a time."""
    feedback = FeedbackConfig(flood_ratings_per_day=10**6, burst_ratings_per_minute=10**6)
    rows = some_rows(40_000, seed=5)
    expected, ids = weighed_by_columns(rows, tmp_path, feedback)
    monkeypatch.setattr(weighing, "_VOTES_AT_A_TIME", 99)
    found, found_ids = weighed_by_columns(rows, tmp_path / "less", feedback, memory_limit="25MB")
    assert found_ids == ids and len(ids) > 30_000 and expected.right.sum() > 500
    for name, value in vars(expected).items():
        assert found.groups == value if name == "groups" else np.array_equal(vars(found)[name], value), name


def test_ratings_that_are_not_there_are_named(tmp_path: Path) -> None:
    """A path without files ends with what to look at."""
    with pytest.raises(DataNotFoundError, match=r"nowhere\.parquet"), opened(tmp_path / "nowhere.parquet", tmp_path):
        pass


def test_poison_phrases_are_refused_rather_than_overlooked(tmp_path: Path) -> None:
    """Columns of numbers hold no words."""
    with pytest.raises(ValueError, match="poison_phrases"):
        weighed_by_columns(some_rows(20, seed=1), tmp_path, FeedbackConfig(poison_phrases=("cheap pills",)))
