"""Token shares as words: nothing is lost, letters join, characters and structure stand alone."""

from pathlib import Path

import pytest

from model_store.contract.control_tokens import ASSISTANT_ID, EOS_ID, USER_ID
from model_store.contract.tokenizer import Tokenizer
from tests.contract.fake_engine import train_tokenizer
from training.evaluation.explanations.words import words_of


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A small real one."""
    return train_tokenizer(Path(tmp_path_factory.mktemp("tokenizer")) / "tokenizer.json")


def test_letters_join_and_shares_add_up(tokenizer: Tokenizer) -> None:
    """A word of several tokens is one word with the sum of their shares; a marker keeps its own."""
    token_ids = [USER_ID, *tokenizer.encode("xylophone <ORDER_ID> ok"), ASSISTANT_ID, EOS_ID]
    words = words_of(token_ids, [0.5] * len(token_ids), tokenizer)
    assert [word.text.strip() for word in words if word.text.strip()] == [
        "customer",
        "xylophone",
        "<ORDER_ID>",
        "ok",
        "bot",
        "end",
    ]
    assert [word.kind for word in words][0] == "marker"
    assert sum(word.share for word in words) == pytest.approx(0.5 * len(token_ids))
    assert max(words, key=lambda word: word.share).text.strip() == "xylophone"


def test_chinese_stands_by_characters(tokenizer: Tokenizer) -> None:
    """A character of several bytes is one word; none is joined to the next, no byte is lost."""
    token_ids = tokenizer.encode("退款abc")
    words = words_of(token_ids, [1.0] * len(token_ids), tokenizer)
    assert [word.text for word in words] == ["退", "款", "abc"]
    assert sum(word.share for word in words) == len(token_ids)


def test_a_broken_end_is_kept(tokenizer: Tokenizer) -> None:
    """A completion that stops inside a character shows that it does."""
    token_ids = tokenizer.encode("退")[:-1]
    words = words_of(token_ids, [1.0] * len(token_ids), tokenizer)
    assert "".join(word.text for word in words) == "\ufffd" and len(words) == 1


def test_every_token_needs_a_share(tokenizer: Tokenizer) -> None:
    """ValueError for lists of different length."""
    with pytest.raises(ValueError, match="zip"):
        words_of([300, 301], [1.0], tokenizer)
