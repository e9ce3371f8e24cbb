"""The message summary: the sum of one message's n-grams, at the reply's opening and nowhere else."""

import pytest
import torch

from model_store.contract.control_tokens import ASSISTANT_ID, BOS_ID, USER_ID
from model_store.contract.manifest import Architecture
from tests.unit.reformer.some_ngrams import NGRAM_ROWS
from tests.unit.reformer.tiny_policy import random_prompt, tiny_policy
from training.reformer.message_summary import message_starts

POLICY = tiny_policy(ngram_rows=NGRAM_ROWS, message_summary=True)


def two_messages(first: list[int], second: list[int]) -> torch.Tensor:
    """[1, S]: a message, its reply, and another message with a reply opened."""
    reply = random_prompt(5, seed=9)
    return torch.tensor([[BOS_ID, USER_ID, *first, ASSISTANT_ID, *reply, USER_ID, *second, ASSISTANT_ID]])


def test_a_message_begins_at_the_last_turn_marker_of_the_customer() -> None:
    """Before the first marker it begins with the text."""
    text = torch.tensor([[BOS_ID, 300, USER_ID, 301, ASSISTANT_ID, 302, USER_ID, 303]])
    assert message_starts(text).tolist() == [[0, 0, 2, 2, 2, 2, 6, 6]]


def test_only_where_a_reply_opens_does_the_summary_add_anything() -> None:
    """Everywhere else the embedding is the one of a network without a summary."""
    without = tiny_policy(ngram_rows=NGRAM_ROWS)
    without.load_state_dict(POLICY.state_dict(), strict=False)
    text = two_messages(random_prompt(7, seed=1), random_prompt(4, seed=2))
    difference = (POLICY.embed(text) - without.embed(text)).abs().sum(-1)
    assert torch.equal(difference > 1e-6, text == ASSISTANT_ID)


def test_the_summary_is_of_the_last_message_alone() -> None:
    """What was said before the last message changes nothing at the last opening; the message does."""
    with torch.no_grad():
        last, same, other = (
            POLICY.summary_logits(two_messages(first, second), torch.tensor([0]), torch.tensor([-1]))
            for first, second in (([300] * 6, [310, 311]), ([301] * 6, [310, 311]), ([300] * 6, [310, 312]))
        )
    assert torch.allclose(last, same, atol=1e-4)
    assert not torch.allclose(last, other, atol=1e-2)


def test_a_message_in_pieces_has_the_summary_of_the_whole() -> None:
    """The earlier part of the message, and two tokens before it, are all that a later piece needs."""
    text = two_messages(random_prompt(6, seed=3), random_prompt(9, seed=4))
    start, cut = text[0].tolist().index(USER_ID, 2), text.shape[1] - 4
    whole = POLICY.embed(text)
    positions = torch.arange(cut, text.shape[1])[None]
    piece = POLICY.embed(text[:, cut:], positions, text[:, start - 2 : cut])
    assert torch.allclose(piece, whole[:, cut:], atol=1e-5)


def test_in_training_a_share_of_the_tokens_is_not_heard() -> None:
    """Without dropout training and evaluation agree; with it they do not."""
    text = two_messages(random_prompt(6, seed=3), random_prompt(9, seed=4))
    policy = tiny_policy(ngram_rows=NGRAM_ROWS, message_summary=True)
    assert policy.summary is not None
    expected = policy.embed(text)
    policy.train()
    assert torch.allclose(policy.embed(text), expected, atol=1e-5)
    policy.summary.dropout.share = 0.5
    assert not torch.allclose(policy.embed(text), expected, atol=1e-3)


def test_a_summary_without_tables_is_refused() -> None:
    """There would be nothing but single tokens to sum."""
    fields = POLICY.config.to_dict()
    shape = {
        name: fields[name]
        for name in ("hidden_size", "attn_layers", "num_attention_heads", "attention_head_size", "vocab_size")
    }
    with pytest.raises(ValueError, match="set ngram_rows"):
        Architecture(**shape, feed_forward_size=128, max_positions=192, local_chunk_length=64, message_summary=True)
