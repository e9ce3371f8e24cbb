"""The benchmark of learning round after round: who rates what, what the matrix says, and that it stops and goes on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from model_store.backends.local import LocalBackend
from model_store.contract.tokenizer import Tokenizer
from model_store.store import ModelStore
from tests.benchmarks import bench_continual
from tests.benchmarks.continual.crowds import CROWDS, Audience, Scores
from tests.benchmarks.continual.matrix import Report, lines, row_of, save_plot
from tests.benchmarks.continual.rounds import Round
from tests.unit.reformer.tiny_policy import smallest_shape
from tests.unit.stages.feedback_workspace import make_tokenizer
from training.data.domain_pack import load_pack
from training.data.feedback_rows import parse_row
from training.data.subwords import name_plans
from training.evaluation.figures import paired_difference
from training.reformer.model import new_policy

PACK = load_pack("card_desk")
TOPICS = {intent.name: intent.topic for intent in PACK.intents}


def scores(thumbs_up: float, gold: tuple[float, ...]) -> Scores:
    by_crowd = {crowd.name: thumbs_up + number / 100 for number, crowd in enumerate(CROWDS)}
    return Scores(thumbs_up=by_crowd, gold=gold, reserved=0.5, kl_from_first=0.25, distinct2=0.2)


def a_round(number: int, outcome: str, before: Scores, candidate: Scores) -> Round:
    return Round.model_validate(
        {
            "number": number,
            "crowd": CROWDS[number - 1].name,
            "num_ratings": 300,
            "num_up": 60,
            "outcome": outcome,
            "reasons": ("It forgot.",) if outcome == "refused" else (),
            "version": "f" * 64,
            "kl": 0.75,
            "candidate": candidate,
            "after": candidate if outcome == "published" else before,
            "gold_change": paired_difference(before.gold, candidate.gold),
            "seconds": 12.0,
        }
    )


FIRST = scores(0.2, (0.5,) * 40)
BETTER = scores(0.3, (0.6,) * 40)
WORSE = scores(0.4, (0.25,) * 40)


def report(*rounds: Round) -> Report:
    return Report(
        preset="full",
        machine="a machine",
        algorithm="rloo",
        num_prompts=40,
        num_draws=4,
        first=FIRST,
        rounds=rounds,
        num_missing=5 - len(rounds),
    )


def test_the_matrix_has_a_row_for_what_is_served_after_each_round() -> None:
    """A refused candidate changes nothing of what is served, but says what it would have been worth."""
    found = report(a_round(1, "published", FIRST, BETTER), a_round(2, "refused", BETTER, WORSE))
    text = "\n".join(lines(found))
    assert "| before | 20.0% | 21.0% | 22.0% | 23.0% | 24.0% | 50.0% | 50.0% | 0.25 | 0.200 |" in text
    assert [row_of(version) for _, version in found.versions()] == [row_of(FIRST), row_of(BETTER), row_of(BETTER)]
    assert "300 ratings, 60 up; published as ffffffffffff; its own crowd 20.0% → 30.0%, gold +10.0 points" in text
    assert "refused; its own crowd 31.0% → 41.0%, gold -35.0 points" in text and "  - It forgot." in text
    assert "Of 1 published versions none is surely worse on the gold set" in text and found.worse_on_gold == []
    assert "Rounds without time: 3" in text


def test_a_published_version_that_is_worse_on_the_gold_set_is_called_so() -> None:
    """The gate should have refused it."""
    found = report(a_round(1, "published", FIRST, WORSE))
    assert [one.number for one in found.worse_on_gold] == [1]
    assert "1 are surely worse on the gold set (rounds 1)" in "\n".join(lines(found))


def test_the_heat_map_is_the_same_for_the_same_figures(tmp_path: Path) -> None:
    """PNG and SVG, byte for byte."""
    for name in ("first", "second"):
        save_plot(report(a_round(1, "published", FIRST, BETTER)), tmp_path / name)
    for kind in ("png", "svg"):
        first, second = ((tmp_path / name / f"continual.{kind}").read_bytes() for name in ("first", "second"))
        assert first == second and len(first) > 5000


def test_crowds_ask_mostly_about_their_own_topics_and_nobody_about_the_reserved_ones(tmp_path: Path) -> None:
    """Their ratings are rows that curation reads; a crowd without topics asks about all that is not reserved."""
    tokenizer = Tokenizer(name_plans(make_tokenizer(tmp_path / "tokenizer.json").backend, PACK.plans))
    policy = new_policy(smallest_shape(tokenizer.vocab_size), seed=1)
    audience = Audience(tokenizer, num_held_out=36)
    asks = {ask: intent.name for intent in PACK.intents for ask in intent.asks}
    for crowd in (CROWDS[1], CROWDS[4]):
        rows = audience.rate(policy, crowd, 60, round_number=2, digest="d" * 64)
        assert rows == audience.rate(policy, crowd, 60, round_number=2, digest="d" * 64)
        parsed = [parse_row(row) for row in rows]
        assert len({row.completion_id for row in parsed}) == 60 and len({row.rated_at for row in parsed}) == 60
        topics = [TOPICS[asks[text]] for row in parsed if (text := row.messages[0].content) in asks]
        assert len(topics) > 20 and not {"settings", "safety"} & set(topics)
        share = sum(topic in crowd.topics for topic in topics) / len(topics)
        assert 0.5 < share < 0.9 if crowd.topics else len(set(topics)) == 4
    found = audience.scores(policy, policy, num_draws=1)
    assert set(found.thumbs_up) == {crowd.name for crowd in CROWDS} and len(found.gold) == 36
    assert found.kl_from_first == 0.0


def test_it_runs_round_after_round_and_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tiny network: without minutes one round, then a second one alone, on a real shelf."""
    tiny = replace(bench_continual.QUICK, hidden_size=32, base_tokens=20_000)
    monkeypatch.setattr(bench_continual, "QUICK", tiny)
    monkeypatch.setattr(bench_continual, "_SMALLEST", {"num_held_out": 12})
    arguments = ["--quick", "--rounds", "2", "--threads", "1", "--ratings", "60", "--output", str(tmp_path)]
    bench_continual.main([*arguments, "--minutes", "0"])
    first = json.loads((tmp_path / "continual.json").read_text())
    assert len(first["rounds"]) == 1 and first["num_missing"] == 1
    bench_continual.main(arguments)
    second = json.loads((tmp_path / "continual.json").read_text())
    assert second["rounds"][0] == first["rounds"][0] and second["first"] == first["first"]
    assert [one["outcome"] for one in second["rounds"]] == ["published"] * 2
    assert "Rounds without time" not in capsys.readouterr().out.splitlines()[-1]
    (folder,) = (tmp_path / "continual").iterdir()
    assert len(ModelStore(LocalBackend(folder / "models")).history("stable")) == 3
    assert (tmp_path / "continual.png").exists() and (tmp_path / "continual.svg").exists()
