"""Perplexity by source, against a plain forward pass, and which conversations are read."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from model_store.store import DEFAULT_BUNDLE
from tests.unit.reformer.tiny_policy import tiny_policy
from training.data.corpora import load_corpus, read_held_back_rows, read_rows
from training.data.domain_pack import load_pack
from training.data.prompts import render_prompt
from training.evaluation.judge import pack_judge
from training.evaluation.subject import Subject
from training.evaluation.wording.source_perplexity import perplexity_table, reply_nats, source_perplexities

ASKED = "Which pillow do you have for people who sleep on their side?"
ANSWERED = "A firm one with a hollow for the ear suits most of them."


@pytest.fixture(scope="module")
def subject() -> Subject:
    """A tiny policy with the vocabulary that ships."""
    tokenizer = Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")
    policy = tiny_policy(max_positions=128, vocab_size=tokenizer.vocab_size)
    return Subject(policy, tokenizer, load_pack("shop"), pack_judge("shop"))


def dialogue(split: str | None, answer: str) -> dict[str, object]:
    """A row of the uniform form."""
    turns = [{"role": "user", "text": ASKED}, {"role": "agent", "text": answer}]
    return {"id": answer, "source": "x", "lang": "en", "split": split, "turns": turns}


def write(folder: Path, source: str, *rows: dict[str, object]) -> None:
    with gzip.open(folder / f"{source}.jsonl.gz", "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


def test_nats_are_those_of_a_plain_forward_pass(subject: Subject) -> None:
    """A reply's tokens but the first, each given everything before it."""
    messages = (Message(Role.USER, ASKED), Message(Role.ASSISTANT, ANSWERED))
    (nats,) = reply_nats(subject, [messages], seed=0)
    prompt = render_prompt(messages[:1], subject.tokenizer)
    reply = [*subject.tokenizer.encode(ANSWERED), EOS_ID]
    with torch.no_grad():
        logits = subject.policy(torch.tensor([[*prompt, *reply]])).logits[0].float().log_softmax(-1)
    expected = [float(logits[len(prompt) + place - 1, reply[place]]) for place in range(1, len(reply))]
    assert nats == pytest.approx(-sum(expected) / len(expected), rel=1e-4)


def test_conversations_that_do_not_fit_are_left_out(subject: Subject) -> None:
    """The others count."""
    short = (Message(Role.USER, ASKED), Message(Role.ASSISTANT, ANSWERED))
    long = (Message(Role.USER, ASKED * 20), Message(Role.ASSISTANT, ANSWERED))
    assert len(reply_nats(subject, [short, long], seed=0)) == 1
    assert reply_nats(subject, [], seed=0) == []


def test_conversations_that_training_leaves_out_are_preferred(subject: Subject, tmp_path: Path) -> None:
    """Where a source has none, its training split is read and said to be."""
    write(tmp_path, "star", dialogue("train", ANSWERED), dialogue("dev", "A soft one keeps the neck straight."))
    write(tmp_path, "crosswoz", dialogue("dev", ANSWERED))
    assert [row["id"] for row in read_held_back_rows(tmp_path, "star")] == ["A soft one keeps the neck straight."]
    assert [row["id"] for row in read_rows(tmp_path, "star")] == [ANSWERED]
    assert list(read_held_back_rows(tmp_path, "crosswoz")) == []
    assert len(load_corpus(tmp_path, "star", 10, held_back=True).conversations) == 1
    found = source_perplexities(subject, tmp_path, seed=0)
    assert {source: each.is_held_back for source, each in found.items()} == {"crosswoz": False, "star": True}
    assert found["star"].perplexity > 1 and found["star"].num_replies == 1
    assert perplexity_table(found).splitlines()[0].endswith("1 replies, seen in training")
