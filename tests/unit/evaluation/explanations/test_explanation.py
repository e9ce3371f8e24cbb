"""Explanations of stored completions with a run's reward model, as JSON and as a page, and what they refuse."""

import json
from pathlib import Path

import pytest
import torch

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.tokenizer import Tokenizer
from tests.unit.stages.learning_workspace import make_config, make_workspace
from training.data.feedback_rows import RawRow
from training.errors import DataNotFoundError, InvalidFeedbackDataError
from training.evaluation.explanations.explanation import Explainer, StoredCompletion
from training.evaluation.explanations.page import explanation_page
from training.evaluation.explanations.sources import newest_run, open_explainer, read_exported
from training.reformer.heads import RewardModel
from training.reformer.model import load_policy

HOSTILE = "<script>alert(1)</script> today"


def row(tokenizer: Tokenizer, number: int, reply: str, **fields: str | None) -> RawRow:
    """One line of an export."""
    return {
        "completion_id": f"cmpl-{number}",
        "language": "en",
        "prompt_messages": json.dumps([{"role": "user", "content": f"where is my parcel {HOSTILE if number else ''}"}]),
        "completion_text": reply,
        "completion_token_ids": json.dumps([*tokenizer.encode(reply), EOS_ID]),
        "rating": "up",
        "reasons": "[]",
        "correction": None,
        "rated_at": f"2026-01-0{number + 1}T00:00:00Z",
        **fields,
    }


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a reward model of two heads, which nothing but chance has taught."""
    config = make_config()
    made = make_workspace(tmp_path_factory.mktemp("runs") / "learn-1", config, rows=[])
    model = RewardModel(load_policy(made.path("base")), num_heads=2)
    torch.nn.init.normal_(model.head.weight, std=0.2)
    model.save(made.path("reward_model"))
    made.save_result("reward_model", {})
    return made.root


@pytest.fixture(scope="module")
def export(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ratings: one reply holds markup, the other is like it and was disliked for a reason."""
    tokenizer = Tokenizer.load(workspace / "base" / "tokenizer.json")
    rows = [
        row(tokenizer, 0, "we look into the order today"),
        row(tokenizer, 1, HOSTILE, rating="down", reasons='["mechanical"]', correction="look <here>"),
    ]
    path = tmp_path_factory.mktemp("export") / "feedback.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def test_a_completion_is_explained_in_full(workspace: Path, export: Path) -> None:
    """Terms sum up to the reward, words to the score; the other rating is the neighbour, the own one is not."""
    stored, rows = read_exported("cmpl-0", export)
    found = open_explainer(workspace, make_config(), rows).explain(stored)
    assert found.reward == pytest.approx(sum(found.terms.values()))
    assert set(found.terms) >= {"human", "overlap", "unsafe", "bias", "flattery", "overlong", "repetition", "hand_over"}
    total = found.score_without_words + sum(word.share for word in found.words) + found.attribution_error
    assert total == pytest.approx(found.score, abs=1e-5)
    assert 0 < found.probability < 1 and found.spread > 0 and found.pessimistic_score < found.score
    assert "".join(word.text for word in found.words if word.kind == "word").endswith("we look into the order today")
    (near,) = found.neighbours
    assert (near.completion_id, near.rating, near.reasons) == ("cmpl-1", "down", ("mechanical",))
    assert json.loads(found.model_dump_json())["completion"] == "we look into the order today"


def test_the_page_shows_texts_as_texts(workspace: Path, export: Path) -> None:
    """Markup in messages, replies, corrections comes out escaped; nothing is loaded and nothing runs."""
    stored, rows = read_exported("cmpl-0", export)
    page = explanation_page(open_explainer(workspace, make_config(), rows).explain(stored))
    assert "<script" not in page and "&lt;script&gt;" in page and "look &lt;here&gt;" in page
    assert "default-src 'none'" in page and "http://" not in page and "https://" not in page
    for heading in ("Reward by term", "Words that raised or lowered the score", "The nearest rated replies"):
        assert heading in page


def test_a_completion_of_another_vocabulary_is_read_by_its_text(workspace: Path) -> None:
    """Token ids that say something else, or nothing, here are not trusted."""
    tokenizer = Tokenizer.load(workspace / "base" / "tokenizer.json")
    explainer = Explainer(RewardModel.load(workspace / "reward_model"), tokenizer, make_config(), [])
    for token_ids in ([10**6], [300, 301], []):
        stored = StoredCompletion.from_row(
            row(tokenizer, 0, "we answer today", completion_token_ids=json.dumps(token_ids))
        )
        words = explainer.explain(stored).words
        assert "".join(word.text for word in words if word.kind == "word").endswith("we answer today")


def test_what_is_not_there_is_named(workspace: Path, export: Path, tmp_path: Path) -> None:
    """An unknown completion, a folder without a reward model, runs without any, a broken and a too long row."""
    with pytest.raises(DataNotFoundError, match="cmpl-9"):
        read_exported("cmpl-9", export)
    with pytest.raises(DataNotFoundError, match="--workspace"):
        open_explainer(tmp_path, make_config(), [])
    with pytest.raises(DataNotFoundError, match="training run"):
        newest_run(tmp_path)
    assert newest_run(workspace.parent) == workspace
    with pytest.raises(InvalidFeedbackDataError, match="cmpl-7"):
        StoredCompletion.from_row({"completion_id": "cmpl-7", "prompt_messages": "{"})
    stored, rows = read_exported("cmpl-0", export)
    tokenizer = Tokenizer.load(workspace / "base" / "tokenizer.json")
    long = StoredCompletion.from_row(row(tokenizer, 0, "order " * 300))
    with pytest.raises(InvalidFeedbackDataError, match="most that can be explained"):
        open_explainer(workspace, make_config(), rows).explain(long)
    assert stored.completion_id == "cmpl-0"
