"""The sweep over sizes and amounts of data, on four intents and a few thousand tokens: under ten seconds."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from model_store.contract.tokenizer import Tokenizer
from model_store.store import DEFAULT_BUNDLE
from tests.benchmarks.sweep_base import Bench, Size, count_asks, main, run_sweep, with_share_of_asks
from tests.benchmarks.sweep_report import TEACHER, Settings
from training.config import load_config
from training.data.domain_pack import DomainPack, load_pack
from training.data.subwords import name_plans

SMALL = Path(__file__).parents[3] / "training" / "configs" / "small.yaml"
INTENTS = ("lost_or_stolen_card", "forgotten_pin", "charged_twice", "close_card")
SIZES = (Size(64, 2), Size(128, 2))
SHARES = (0.25, 1.0)


@pytest.fixture(scope="module")
def pack() -> DomainPack:
    """Four intents of the card desk, which is read in a moment, with twenty asks each."""
    desk = load_pack("card_desk")
    few = tuple(replace(intent, asks=intent.asks[:20]) for intent in desk.intents if intent.name in INTENTS)
    return replace(desk, intents=few, flows=())


@pytest.fixture(scope="module")
def bench(pack: DomainPack) -> Bench:
    """The shipped settings with few tokens."""
    config = load_config(SMALL)
    tokenizer = Tokenizer(name_plans(Tokenizer.load(Path(DEFAULT_BUNDLE) / "tokenizer.json").backend, pack.plans))
    settings = Settings(
        config=config.digest,
        pack_asks=count_asks(pack),
        num_tokens=4000,
        batch_tokens=512,
        num_asks=200,
        num_mixtures=100,
        seed=1,
        num_threads=1,
    )
    return Bench(pack, tokenizer, config, settings)


def test_a_share_of_the_asks_is_drawn_from_every_intent(pack: DomainPack) -> None:
    """A quarter of each, the same for one seed, part of the half; what is held out and the plans stay."""
    quarter, half = (with_share_of_asks(pack, share, seed=1) for share in (0.25, 0.5))
    for whole, some, more in zip(pack.intents, quarter.intents, half.intents, strict=True):
        assert len(some.asks) == 5 and set(some.asks) < set(more.asks) < set(whole.asks)
        assert some.held_out_asks == whole.held_out_asks
    assert quarter.plans == pack.plans
    assert quarter == with_share_of_asks(pack, 0.25, seed=1) != with_share_of_asks(pack, 0.25, seed=2)


def test_every_size_is_measured_at_every_share_once(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Table, JSON and plots hold the teacher and both networks twice; a second run measures what is new and no more."""
    first = run_sweep(bench, SIZES[:1], SHARES, tmp_path)
    both = run_sweep(bench, SIZES, SHARES, tmp_path)
    assert both.rows[: len(first.rows)] == first.rows  # seconds included: these were not trained again
    names = [(row.network, row.share) for row in both.rows]
    assert sorted(names) == sorted((name, share) for name in (TEACHER, "64x2", "128x2") for share in SHARES)

    held_out = {language: 0 for language in bench.pack.languages}
    for intent in bench.pack.intents:
        held_out[intent.language] += len(intent.held_out_asks)
    for row in both.rows:
        assert row.pack_asks == round(row.share * count_asks(bench.pack))
        for language, figure in row.right_plan.items():
            assert figure.low <= figure.value <= figure.high
            assert (figure.value * held_out[language]) % 1 == pytest.approx(0, abs=1e-6)
    small, large = (both.row(name, 1.0) for name in ("64x2", "128x2"))
    assert small and small.cost and large and large.cost
    assert small.cost.parameters < large.cost.parameters
    assert 4000 <= small.cost.num_tokens < 4000 + 512 and small.cost.num_tokens == large.cost.num_tokens
    assert small.cost.asks_read > 10 and small.cost.mixtures_read > 10

    printed = capsys.readouterr().out.strip().splitlines()
    table = [line for line in printed[-8:] if line.startswith("|")]
    assert len(table) == 8 and len({line.count("|") for line in table}) == 1
    assert json.loads((tmp_path / "sweep.json").read_text())["settings"]["num_tokens"] == 4000
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "sweep.svg").read_text()


def test_rows_of_other_settings_are_not_mixed_in(bench: Bench, tmp_path: Path) -> None:
    """With another number of tokens everything is measured anew."""
    run_sweep(bench, SIZES[:1], SHARES[:1], tmp_path)
    shorter = replace(bench, settings=bench.settings.model_copy(update={"num_tokens": 1000}))
    again = run_sweep(shorter, SIZES[:1], SHARES[:1], tmp_path)
    row = again.row("64x2", 0.25)
    assert len(again.rows) == 2 and row and row.cost and row.cost.num_tokens < 2000


@pytest.mark.parametrize("option", [("--sizes", "100x4"), ("--sizes", "128x3"), ("--shares", "0")])
def test_what_is_no_network_and_no_share_is_refused(option: tuple[str, str]) -> None:
    """Heads are 64 wide, layers come in pairs, and nothing is learned from no asks."""
    with pytest.raises(SystemExit) as refusal:
        main(option)
    assert refusal.value.code == 2
