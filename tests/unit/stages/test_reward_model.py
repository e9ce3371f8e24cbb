"""The reward-model stage on thumbs that follow an easy rule."""

import json
from pathlib import Path

import pytest

from model_store.contract.tokenizer import Tokenizer
from tests.unit.stages.learning_workspace import make_config, make_workspace
from training.data.prompts import read_examples
from training.errors import DataNotFoundError, InvalidFeedbackDataError
from training.reformer.heads import RewardModel, score_batches
from training.rlhf.estimators import log_loss
from training.stages import reward_model


def test_it_separates_replies_it_has_not_seen(tmp_path: Path) -> None:
    """AUC above 0.9 on held-out rows, better than the majority, saved, and the same thumbs give the same result."""
    config = make_config()
    results = []
    for name in ("first", "second"):
        workspace = make_workspace(tmp_path / name, config)
        results.append(dict(reward_model.run(config, workspace)))
    for result in results:
        result.pop("seconds")
    first, second = results
    assert first == second
    assert first["test"]["model"]["auc"] > 0.9 and first["validation"]["model"]["auc"] > 0.9
    assert first["test"]["model"]["log_loss"] < first["test"]["majority"]["log_loss"]
    assert first["test"]["bag_of_words"]["auc"] > 0.9
    assert first["num_examples"] == {"train": 144, "validation": 48, "test": 48}
    assert json.dumps(first)
    assert float(RewardModel.load(workspace.path("reward_model")).temperature) == pytest.approx(first["temperature"])
    assert any(workspace.path("tensorboard").rglob("events.*"))


def test_the_temperature_never_makes_validation_worse(tmp_path: Path) -> None:
    """Without the temperature that was fitted the log-loss on the validation split is higher."""
    config = make_config()
    workspace = make_workspace(tmp_path, config)
    result = reward_model.run(config, workspace)
    tokenizer = Tokenizer.load(workspace.path("base") / "tokenizer.json")
    rows = read_examples(workspace.path("examples.jsonl"), tokenizer, max_positions=192, correction_weight=1.0)
    validation = [row for row in rows if row.split == "validation"]
    model = RewardModel.load(workspace.path("reward_model"))
    model.temperature.fill_(1.0)
    scores = score_batches(model, [row.sequence for row in validation]).tolist()
    assert result["temperature"] != 1.0
    assert result["validation"]["model"]["log_loss"] < log_loss(scores, [row.is_up for row in validation])


def test_a_correction_is_learned_from_as_a_good_reply(tmp_path: Path) -> None:
    """One row of the train split with a correction makes two examples; in the test split it stays one."""
    config = make_config(reward={"num_epochs": 1})
    workspace = make_workspace(tmp_path, config)
    rows = [json.loads(line) for line in workspace.path("examples.jsonl").read_text().splitlines()]
    for row in rows:
        if row["completion_id"] in {"chatcmpl-0", "chatcmpl-4"}:
            row["correction"] = "gladly we look into the order"
    workspace.write_text("examples.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    result = reward_model.run(config, workspace)
    assert result["num_examples"] == {"train": 145, "validation": 48, "test": 48}


@pytest.mark.parametrize(
    "change", [{"completion_token_ids": [10**6]}, {"messages": "hello"}, {"split": "later"}, {"weight": "much"}]
)
def test_a_malformed_row_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    """Tokens beyond the vocabulary, wrong types and unknown splits raise InvalidFeedbackDataError with the row's id."""
    config = make_config()
    workspace = make_workspace(tmp_path, config)
    row = json.loads(workspace.path("examples.jsonl").read_text().splitlines()[0])
    workspace.write_text("examples.jsonl", json.dumps({**row, **change}) + "\n")
    with pytest.raises(InvalidFeedbackDataError, match="chatcmpl-0"):
        reward_model.run(config, workspace)


def test_without_feedback_it_says_what_is_missing(tmp_path: Path) -> None:
    """No file, and a file without training rows, raise DataNotFoundError."""
    config = make_config()
    workspace = make_workspace(tmp_path, config, rows=[])
    with pytest.raises(DataNotFoundError):
        reward_model.run(config, workspace)
    workspace.path("examples.jsonl").unlink()
    with pytest.raises(DataNotFoundError, match="curate"):
        reward_model.run(config, workspace)
