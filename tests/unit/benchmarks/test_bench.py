"""The comparison's pure parts: sizes, turns, ratios, tables, and what a client understands of a stream."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.bench_plot import save_plot
from tests.benchmarks.bench_report import Report, lines, targets
from tests.benchmarks.engines import floor
from tests.benchmarks.engines.contender import PacedRun, Timing
from tests.benchmarks.engines.llama_file import FIRST_WORD, llama_text, write_llama
from tests.benchmarks.engines.rounds import PREFILL, Row, summary
from tests.benchmarks.engines.shapes import (
    LlamaShape,
    large_shape,
    llama_shape,
    matrix_sizes,
    num_weights,
    shipped_shape,
    tiny_shape,
)
from tests.benchmarks.engines.this_engine import staggered_lengths
from tests.benchmarks.over_http.conversations import Conversation, ServiceAsker, draw_conversations, hold, percentile
from tests.benchmarks.over_http.cores import Cores, cpu_seconds_of, running_on
from tests.benchmarks.over_http.http_rounds import SERVICE, HttpRow
from tests.benchmarks.over_http.sse_client import Heard, ask

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def row(contender: str, streams: int, tokens_per_cpu_second: float, **changes: object) -> Row:
    """A row of the tiny shape, by the clock as fast as by CPU time."""
    fields = {"tokens_per_second": tokens_per_cpu_second, "tokens_per_cpu_second": tokens_per_cpu_second}
    return Row.model_validate({"shape": "tiny", "contender": contender, "streams": streams, **fields, **changes})


def report(*rows: Row, http: tuple[HttpRow, ...] = ()) -> Report:
    """A report of one machine."""
    return Report(machine="a machine", versions={"python": "3"}, matmul_megabytes={}, engines=rows, http=http)


def test_streams_that_are_read_first_get_shorter_prompts() -> None:
    """130 tokens take three pieces and 127 two, so the first of three streams decodes five steps meanwhile."""
    assert staggered_lengths(1, 130) == [130]
    assert staggered_lengths(3, 130) == [125, 127, 130]
    assert min(staggered_lengths(64, 10)) == 1


def test_a_token_is_multiplied_by_every_matrix_once() -> None:
    """The tiny shape: a local and an LSH layer of 64, two heads of 32, 128 inside, 512 words over two streams."""
    sizes = [(192, 64), (64, 64), (128, 64), (64, 128), (128, 64), (64, 64), (128, 64), (64, 128), (512, 128)]
    assert matrix_sizes(tiny_shape().architecture) == sizes
    assert num_weights(sizes) == 126_976


def test_the_llama_has_our_layers_and_about_our_feed_forward_weights() -> None:
    """Three matrices of 704 for two of 1024 and of 1376 for 2048, in whole blocks of 32; heads must fill the width."""
    shipped, large = (llama_shape(shape.architecture) for shape in (shipped_shape(), large_shape()))
    assert (shipped.feed_forward_size, large.feed_forward_size) == (704, 1376)
    assert (large.hidden_size, large.num_layers, large.num_heads, large.vocab_size) == (512, 8, 8, 16_384)
    with pytest.raises(ValueError, match="2 heads x 16 are not 64"):
        llama_shape(tiny_shape().architecture.model_copy(update={"attention_head_size": 16}))


def test_prompts_of_two_seeds_share_no_beginning() -> None:
    """A cache of prefixes cannot find them again; the same seed gives the same text, and a longer one goes on."""
    shape = tiny_shape()
    assert shape.prompt(50, seed=1) == shape.prompt(50, seed=1)
    assert len({shape.prompt(1, seed=seed) for seed in range(20)}) > 15
    assert len(shape.prompt(50, seed=1)) == 50


def test_a_paced_run_makes_as_many_steps_as_it_is_told_to() -> None:
    """It waits between turns, tells the time of its own thread, and ends when it is stopped."""
    made: list[str] = []

    def generate(mark: Callable[[], None]) -> None:
        while True:
            made.append(threading.current_thread().name)
            mark()

    run = PacedRun(generate)
    assert len(made) == 1
    timing = run.steps(5, tokens_a_step=3)
    assert len(made) == 6 and timing.num_tokens == 15
    assert 0 <= timing.cpu_seconds <= timing.wall_seconds + 0.1
    run.stop()
    assert len(set(made)) == 1 and threading.current_thread().name not in made


def test_a_paced_run_that_ends_early_says_so() -> None:
    """A generation without room for the steps is an error, not a fast one."""

    def generate(mark: Callable[[], None]) -> None:
        mark()
        mark()

    run = PacedRun(generate)
    with pytest.raises(RuntimeError, match="ended before"):
        run.steps(5, tokens_a_step=1)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: install gcc")
def test_the_floor_multiplies_what_it_reads(tmp_path: Path) -> None:
    """Its last product is numpy's, so no compiler has left the work out."""
    runner = floor.FloorRunner(tiny_shape(), tmp_path)
    assert runner.decode(2).num_tokens == 2
    for index in (0, 1, 511):
        found, expected = runner.product(index)
        assert found == expected != 0


def test_medians_are_by_the_clock_and_by_cpu_time() -> None:
    """Of three rounds the middle one, each figure by itself."""
    timings = [Timing(10, 1.0, 0.5), Timing(10, 2.0, 1.0), Timing(10, 4.0, 0.1)]
    found = summary("tiny", "this engine", 4, timings)
    assert (found.tokens_per_second, found.tokens_per_cpu_second, found.num_rounds) == (5.0, 20.0, 3)


def test_ratios_are_told_with_what_is_aimed_at() -> None:
    """300 against 150 is twice; one and a half is aimed at. Against the floor of 1,000 it is 0.3 of the half."""
    rows = (row("this engine", 1, 300), row("llama.cpp Q8_0", 1, 150), row("floor: int8 GEMV", 1, 1000))
    found = {target.what: (target.value, target.is_met) for target in targets(report(*rows))}
    assert found["tiny, 1 stream: x llama.cpp Q8_0"] == (2.0, True)
    assert found["tiny, 1 stream: x floor: int8 GEMV"] == (0.3, False)


def test_what_clients_get_is_compared_with_the_bare_engine() -> None:
    """Share of the CPU time at 16 streams, second turn against first, failures, and memory with 64 slots."""
    http = HttpRow(
        server=SERVICE,
        streams=16,
        tokens_per_second=90,
        engine_tokens_per_second=200,
        server_cpu_ms=1.0,
        engine_cpu_ms=0.9,
        first_token_ms=50,
        second_turn_first_token_ms=20,
        num_requests=32,
        num_slots=64,
        resident_megabytes=300,
    )
    found = {target.what.split(": ")[1]: (target.value, target.is_met) for target in targets(report(http=(http,)))}
    assert found["share of the bare engine's speed"] == (0.9, True)
    assert found["second turn's first token, of the first's"] == (0.4, False)
    assert found["streams that failed"] == (0, True)
    assert found["MB resident, 64 slots"] == (300, True)


def test_a_client_gets_a_core_of_its_own_where_there_are_two() -> None:
    """What runs meanwhile, children included, stays on the cores named; afterwards all is as before."""
    usable = os.sched_getaffinity(0)
    cores = Cores.apart()
    assert cores.servers | cores.clients == usable and len(cores.servers) == 1
    assert (cores.servers == cores.clients) == (len(usable) == 1) == ("share" in str(cores))
    with running_on(cores.servers):
        code = "import os; print(*os.sched_getaffinity(0))"
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
        assert set(map(int, told.split())) == cores.servers
    assert os.sched_getaffinity(0) == usable


def test_the_cpu_time_of_another_process_is_told() -> None:
    """Of this one it is what this one says itself."""
    before = time.process_time()
    assert before <= cpu_seconds_of(os.getpid()) <= time.process_time()


def test_the_tables_say_what_is_not_installed_and_where_the_core_was_shared() -> None:
    """A contender without figures keeps its row, and twice the CPU time by the clock is marked."""
    missing = row("llama.cpp Q8_0", PREFILL, 0, not_installed="llama-cpp-python")
    text = "\n".join(lines(report(missing, row("this engine", 1, 300, tokens_per_second=150))))
    assert "| llama.cpp Q8_0 | not installed: llama-cpp-python | |" in text
    assert "| this engine | 300 (150) * |" in text and "The core was shared" in text


def test_the_plot_is_written_as_png_and_svg(tmp_path: Path) -> None:
    """A panel a shape and one for HTTP; an empty report draws nothing."""
    http = HttpRow(server=SERVICE, streams=1, tokens_per_second=10, num_requests=2)
    save_plot(report(row("this engine", 1, 300), row("this engine", PREFILL, 900), http=(http,)), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"bench.png", "bench.svg"}
    save_plot(report(), tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


def test_llama_texts_of_one_seed_begin_alike() -> None:
    """A second turn goes on from the first, and every word is a token of the vocabulary."""
    assert llama_text(40, 512, seed=3).startswith(llama_text(10, 512, seed=3))
    ids = [int(word) for word in llama_text(40, 512, seed=3).split("t")[1:]]
    assert len(ids) == 40 and min(ids) >= 0 and max(ids) < 512 - FIRST_WORD


def test_the_llama_file_holds_the_shape(tmp_path: Path) -> None:
    """Read back with the library that wrote it: 8-bit matrices of the right sizes, and words that the tokenizer can
    put together letter by letter, because all their beginnings are tokens.
    """
    gguf = pytest.importorskip("gguf", reason="pip install -e '.[bench]'")
    path = tmp_path / "tiny.gguf"
    write_llama(path, LlamaShape(64, 2, 2, 96, 512), "Q8_0")
    reader = gguf.GGUFReader(path)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert len(tensors) == 3 + 2 * 9
    assert list(tensors["blk.1.ffn_down.weight"].shape) == [96, 64]
    assert tensors["output.weight"].tensor_type == gguf.GGMLQuantizationType.Q8_0
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    words = {f"t{word}" for word in range(512 - FIRST_WORD)}
    assert len(tokens) == 512 and set(tokens[FIRST_WORD:]) == words
    assert all(word[:end] in words for word in words for end in range(2, len(word)))
    assert not tensors["output.weight"].data[0].any() and tensors["output.weight"].data[-1].any()


def test_no_two_people_ask_the_same() -> None:
    """Two asks each, all different, the same for the same seed."""
    asks = [f"ask {number}" for number in range(10)]
    drawn = draw_conversations(asks, 5, seed=1)
    assert sorted(ask for conversation in drawn for ask in conversation.asks) == asks
    assert drawn == draw_conversations(asks, 5, seed=1) != draw_conversations(asks, 5, seed=2)


def test_percentiles_are_values_that_occurred() -> None:
    """The middle and the last but one of a hundred; nothing has the percentile 0."""
    values = list(np.arange(100.0))
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([], 0.5)) == (50.0, 99.0, 0.0)


@asynccontextmanager
async def serving(answer: Callable[[dict[str, object]], bytes]) -> AsyncIterator[int]:
    """A socket that reads one request a connection and sends what `answer` makes of its body; gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        writer.write(answer(json.loads(await reader.readexactly(length))))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def chunks(*events: object) -> bytes:
    """Events as chunks of a stream; text is sent as it is."""
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    bodies = [f"data: {text}\n\n".encode() for text in texts]
    return CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(body), body) for body in bodies) + b"0\r\n\r\n"


def delta(text: str) -> dict[str, object]:
    """An event that brings text."""
    return {"choices": [{"delta": {"content": text}}], "usage": None}


def heard_from(answer: bytes) -> Heard:
    """What a client hears from a server that sends these bytes."""

    async def listen() -> Heard:
        async with serving(lambda _: answer) as port:
            return await ask(port, "/", {})

    return asyncio.run(listen())


def test_a_client_hears_text_times_and_usage() -> None:
    """Two pieces of text, one gap, the server's own count of tokens; the role's event is no text."""
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}
    heard = heard_from(chunks(delta(""), delta("Hello"), delta(" 你好"), usage, "[DONE]"))
    assert (heard.is_whole, heard.text, heard.num_prompt_tokens, heard.num_tokens) == (True, "Hello 你好", 7, 5)
    assert len(heard.arrivals) == 2 and len(heard.gaps) == 1 and heard.gaps[0] >= 0


def test_pieces_count_as_tokens_where_the_server_does_not_count() -> None:
    """OpenAI's older format, without usage."""
    heard = heard_from(chunks({"choices": [{"text": "t300"}]}, {"choices": [{"text": "t301"}]}, "[DONE]"))
    assert (heard.is_whole, heard.text, heard.num_tokens) == (True, "t300t301", 2)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 503 Busy\r\n\r\n", chunks(delta("half")), chunks({"error": {"code": "failed"}}), b""]
)
def test_a_stream_without_its_end_has_failed(answer: bytes) -> None:
    """A refusal, a broken connection, an error event, and silence."""
    assert not heard_from(answer).is_whole


def test_every_conversation_is_held_turn_by_turn() -> None:
    """Three conversations on two streams: the second turn repeats what was heard; one that fails ends there."""
    bodies: list[list[dict[str, str]]] = []

    def answer(body: dict[str, object]) -> bytes:
        messages = body["messages"]
        assert isinstance(messages, list)
        bodies.append(messages)
        return b"" if messages[0]["content"] == "fail" else chunks(delta("Hi "), delta("you"), "[DONE]")

    async def run() -> object:
        conversations = [Conversation(0, ("a", "b")), Conversation(1, ("fail", "c")), Conversation(2, ("d", "e"))]
        async with serving(answer) as port:
            return await hold(port, ServiceAsker(), conversations, num_streams=2)

    played = asyncio.run(run())
    assert [len(turns) for turns in played.conversations] == [2, 1, 2]
    assert (played.num_requests, played.num_failed) == (5, 1)
    assert len(played.first_token_seconds(0)) == len(played.first_token_seconds(1)) == 2
    assert len(played.gaps) == 4 and played.tokens_per_second > 0
    assert ["a", "Hi you", "b"] in [[message["content"] for message in messages] for messages in bodies]
