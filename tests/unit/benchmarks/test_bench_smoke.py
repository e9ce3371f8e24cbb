"""`make bench` from end to end at the smallest size: that it runs, not how fast anything is."""

import importlib.util
import json
from pathlib import Path

import pytest

from service.engine.engine import Engine
from service.engine.types import EngineOptions
from tests.benchmarks.bench import main
from tests.benchmarks.engines.shapes import tiny_shape
from tests.benchmarks.engines.this_engine import bundle_of
from tests.benchmarks.over_http.replay import replay
from tests.benchmarks.over_http.sse_client import Heard

HAS_LLAMA = importlib.util.find_spec("llama_cpp") is not None
LLAMA_NOTE = "llama-cpp-python is not installed (pip install -e '.[bench]'): only its 'not installed' rows are checked"


def test_every_engine_has_figures_or_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All contenders on the tiny shape, one stream and a prompt; tables, JSON and both plots."""
    arguments = ["--quick", "--parts", "engines", "--shapes", "tiny", "--streams", "1", "--rounds", "1"]
    assert main([*arguments, "--output", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "bench.json").read_text())
    speeds = {(row["contender"], row["streams"]): row["tokens_per_cpu_second"] for row in written["engines"]}
    for name in ("this engine", "torch eager, KV cache", "Hugging Face generate, exact"):
        assert speeds[name, 1] > 0 and speeds[name, 0] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"bench.json", "bench.png", "bench.svg"}
    assert "| this engine |" in capsys.readouterr().out
    missing = {row["contender"] for row in written["engines"] if row["not_installed"]}
    assert HAS_LLAMA != ("llama.cpp Q8_0" in missing)
    if not HAS_LLAMA:
        pytest.skip(LLAMA_NOTE)


def test_the_service_is_measured_over_real_sockets(tmp_path: Path) -> None:
    """Two streams at once, each in a conversation of two turns, none of which fails; memory and the engine's own."""
    arguments = ["--quick", "--parts", "http", "--http-streams", "2", "--output", str(tmp_path)]
    assert main(arguments) == 0
    row = next(row for row in json.loads((tmp_path / "bench.json").read_text())["http"] if row["num_slots"] > 1)
    assert row["num_failed"] == 0 and row["num_requests"] == 8
    assert row["tokens_per_second"] > 0 and row["engine_tokens_per_second"] > 0
    assert row["server_cpu_ms"] > row["engine_cpu_ms"] > 0 and row["intent_cpu_ms"] > 0 and row["client_cpu_ms"] > 0
    assert row["first_token_ms"] > 0 and row["second_turn_first_token_ms"] > 0
    assert row["num_slots"] == 64 and row["resident_megabytes"] > 50


def test_a_replay_makes_the_tokens_of_all_turns(tmp_path: Path) -> None:
    """Three conversations on two streams; a turn that was answered without the network is left out."""
    shape = tiny_shape()
    engine = Engine.open(*bundle_of(shape, tmp_path), EngineOptions(num_slots=2))
    whole = Heard(is_whole=True, num_prompt_tokens=20, num_tokens=4)
    conversations = [(whole, whole), (Heard(is_whole=True), whole), (whole,)]
    assert replay(engine, shape, conversations, num_streams=2).num_tokens == 16
    assert not engine.has_work
    engine.close()
