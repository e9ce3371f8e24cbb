"""Real dialogues: cleaned, masked, cut into windows and batched."""

import gzip
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from model_store.contract.chat_template import render
from model_store.contract.control_tokens import ASSISTANT_ID, BOS_ID, EOS_ID
from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from training.data.corpora import load_corpus, load_extra_asks
from training.data.domain_pack import load_pack
from training.data.subwords import name_plans, train_subwords
from training.data.windows import (
    LISTENER,
    PLAN,
    SPEAKER,
    STRUCTURE,
    BatchStream,
    PlannedConversation,
    WindowSet,
    cut_windows,
    pad_batch,
    tempered_shares,
)
from training.errors import DataNotFoundError, ImportFormatError

TOKENIZER = Tokenizer(train_subwords(["hello there", "订单号", "your order <ORDER_ID> is late"] * 20, 600))


def test_windows_hold_whole_messages_and_know_who_speaks() -> None:
    """A long conversation is cut between messages; every window begins with the start token and has a reply in it."""
    messages = [Message(Role.USER, "hello there"), Message(Role.ASSISTANT, "your order <ORDER_ID> is late")] * 6
    windows = cut_windows([PlannedConversation(messages)], TOKENIZER, 32)
    assert len(windows) > 1
    for index in range(len(windows)):
        ids, kinds, _ = windows.window(index)
        assert ids[0] == BOS_ID and kinds[0] == STRUCTURE and len(ids) <= 32
        assert kinds[ids == EOS_ID].tolist() == [SPEAKER] * int((ids == EOS_ID).sum())
        assert {LISTENER, SPEAKER} <= set(kinds.tolist())


def test_only_the_last_reply_of_a_window_has_a_plan() -> None:
    """History comes back from clients without plans, so training shows it without them."""
    planned = Tokenizer(name_plans(TOKENIZER.backend, ["late"]))
    messages = [Message(Role.USER, "hello"), Message(Role.ASSISTANT, "hello there")] * 2
    ids, kinds = cut_windows([PlannedConversation(messages, "late")], planned, 64).window(0)[:2]
    (position,) = np.flatnonzero(kinds == PLAN)
    assert ids[position] == planned.plans["late"] and ids[position - 1] == ASSISTANT_ID
    assert position > int(np.flatnonzero(kinds == SPEAKER)[0])


def test_an_ask_alone_ends_with_the_plan_as_a_prompt_would() -> None:
    """The window is the prompt that serving renders and the plan behind it, nothing else."""
    planned = Tokenizer(name_plans(TOKENIZER.backend, ["late"]))
    messages = [Message(Role.USER, "your order is late")]
    ids, kinds = cut_windows([PlannedConversation(messages, "late")], planned, 64).window(0)[:2]
    assert tuple(ids[:-1]) == render(messages, planned, for_completion=True).token_ids
    assert ids[-1] == planned.plans["late"] and kinds[-1] == PLAN and SPEAKER not in kinds


def test_a_message_that_nobody_wrote_teaches_nothing_but_the_plan() -> None:
    """The window is the prompt that serving renders, whole at its end however long; only an opinion counts."""
    opinion = np.array([0.25, 0.75], np.float16)
    for text in ("hello there", "hello there " * 40):
        window = cut_windows([PlannedConversation([Message(Role.USER, text)], None, opinion)], TOKENIZER, 32).window(0)
        prompt = render([Message(Role.USER, text)], TOKENIZER, for_completion=True).token_ids
        assert window.kinds.tolist() == [STRUCTURE] * len(window.token_ids) and len(window.token_ids) <= 32
        assert tuple(window.token_ids[:4]) == prompt[:4] and window.token_ids[-1] == ASSISTANT_ID == prompt[-1]
        assert window.plan_probabilities is not None and window.plan_probabilities.tolist() == [0.25, 0.75]


def test_a_batch_knows_where_its_taught_replies_open() -> None:
    """Rows without a teacher's opinion are left out; padding does not move the opening."""
    conversations = [
        PlannedConversation([Message(Role.USER, "hello"), Message(Role.ASSISTANT, "hello there there there")]),
        PlannedConversation([Message(Role.USER, "there")], None, np.array([1.0], np.float16)),
    ]
    windows = cut_windows(conversations, TOKENIZER, 64)
    batch = pad_batch([windows.window(index) for index in range(2)])
    assert batch.teacher_rows.tolist() == [1] and batch.plan_probabilities.tolist() == [[1.0]]
    assert batch.openings.tolist() == [windows.length(1) - 1]


def test_windows_survive_the_disk(tmp_path: Path) -> None:
    """Saved windows are read back the same, teachers' opinions included."""
    messages = [Message(Role.USER, "a"), Message(Role.ASSISTANT, "b")]
    opinion = np.array([0.5, 0.5], np.float16)
    conversations = [PlannedConversation(messages), PlannedConversation(messages[:1], None, opinion)]
    windows = cut_windows(conversations, TOKENIZER, 64)
    windows.save(tmp_path / "w.npz")
    again = WindowSet.load(tmp_path / "w.npz")
    for index in range(2):
        assert again.window(index).token_ids.tolist() == windows.window(index).token_ids.tolist()
        assert again.window(index).kinds.tolist() == windows.window(index).kinds.tolist()
    assert again.window(0).plan_probabilities is None
    assert np.array_equal(again.window(1).plan_probabilities, opinion)  # type: ignore[arg-type]


def test_ways_to_ask_come_from_the_sources_that_are_there(tmp_path: Path) -> None:
    """A folder of one's own rows has none; a source of labelled questions brings its questions, masked."""
    pack = load_pack("shop")
    assert load_extra_asks(tmp_path, pack) == {}
    row = {"source": "clinc150", "split": "train", "text": "is order 12345678 on its way", "intent": "order_status"}
    with gzip.open(tmp_path / "intents.jsonl.gz", "wt") as stream:
        stream.write(json.dumps(row) + "\n")
    assert load_extra_asks(tmp_path, pack) == {"track_package": ["is order <ORDER_ID> on its way"]}


def test_temperature_evens_out_sources_of_different_sizes() -> None:
    """At 1 shares are those of the tokens, at 2 of their roots, times what was given; without one they stay."""

    def tokens(number: int) -> WindowSet:
        return WindowSet(np.zeros(number), np.zeros(number), np.array([0, number]), np.zeros((0, 0)), np.zeros(1))

    sources = {"large": tokens(9_000), "small": tokens(1_000), "tiny": tokens(10)}
    even = {"large": 1.0, "small": 1.0, "absent": 1.0}
    assert tempered_shares(sources, even, None) == even
    assert tempered_shares(sources, even, 1) == pytest.approx({"large": 0.9, "small": 0.1})
    assert tempered_shares(sources, even, 2) == pytest.approx({"large": 0.75, "small": 0.25})
    assert tempered_shares(sources, {**even, "small": 3.0}, 2) == pytest.approx({"large": 0.5, "small": 0.5})


def test_a_resumed_stream_goes_on_where_it_was() -> None:
    """Batch n depends on the seed and n alone, and no batch is wider than asked for."""
    turns = [[Message(Role.USER, "hello " * n), Message(Role.ASSISTANT, "there")] for n in range(1, 40)]
    long = [PlannedConversation(messages) for messages in turns]
    sources = {"a": cut_windows(long, TOKENIZER, 200), "b": cut_windows(long[:5], TOKENIZER, 200)}

    def stream(skip: int, count: int) -> list[list[list[int]]]:
        batches = BatchStream(sources, {"a": 0.7, "b": 0.3, "absent": 1.0}, batch_tokens=512, seed=1).batches(skip=skip)
        return [batch.token_ids.tolist() for batch in itertools.islice(batches, count)]

    assert stream(0, 30)[20:] == stream(20, 10)
    assert all(len(batch) * len(batch[0]) <= 512 for batch in stream(0, 30))


def test_a_corpus_is_read_from_its_training_split(tmp_path: Path) -> None:
    """Only training rows are read; a missing or broken file is named."""
    turns = [{"role": "user", "text": "hi"}, {"role": "agent", "text": "hello"}]
    with gzip.open(tmp_path / "own.jsonl.gz", "wt") as stream:
        for split in ("train", "dev"):
            stream.write(json.dumps({"split": split, "turns": turns}) + "\n")
    assert len(load_corpus(tmp_path, "own", 10).conversations) == 1
    with pytest.raises(DataNotFoundError, match="nothing"):
        load_corpus(tmp_path, "nothing", 10)
    with gzip.open(tmp_path / "bad.jsonl.gz", "wt") as stream:
        stream.write("{oops\n")
    with pytest.raises(ImportFormatError, match="line 1"):
        load_corpus(tmp_path, "bad", 10)
