"""The reward-model stage on thumbs that follow an easy rule."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.tokenizer import Tokenizer
from tests.unit.stages.learning_workspace import ASKS, FILLERS, make_config, make_workspace
from training.config import RewardConfig, TrainingConfig
from training.data.contrasts import Contrasts
from training.data.domain_pack import load_pack
from training.data.preferences import LEARNED_PREFERENCES_NAME, contrasts_of, parse_preference, preferences_text
from training.data.prompts import read_examples
from training.errors import DataNotFoundError, InvalidFeedbackDataError
from training.reformer.heads import RewardModel, score_batches
from training.rlhf.estimators import log_loss
from training.stages import reward_model

POLITE, RUDE = ("certainly", "naturally"), ("nonsense", "rubbish")
"""Words that no rated reply holds: what is known of them, the pack has said."""


def config_with_pack(tmp_path: Path, **reward: Any) -> TrainingConfig:
    """A configuration with a pack of one intent, whose good replies are polite and whose bad ones rude."""
    generator = random.Random(3)

    def replies(words: tuple[str, ...]) -> list[str]:
        return [" ".join([*generator.sample(FILLERS, 4), generator.choice(words)]) for _ in range(60)]

    intent = {
        "intent": "parcel",
        "asks": [f"{ask} {filler}" for ask in ASKS[:4] for filler in FILLERS],
        "replies": {"warm": replies(POLITE)},
        "bad_replies": [{"text": text, "reason": "mechanical"} for text in replies(RUDE)],
    }
    folder = tmp_path / "pack" / "en"
    folder.mkdir(parents=True)
    (folder / "delivery.yaml").write_text(yaml.safe_dump([intent]), encoding="utf-8")
    return make_config(corpus={"domain_pack": str(tmp_path / "pack")}, reward=reward)


def test_it_separates_replies_it_has_not_seen(tmp_path: Path) -> None:
    """AUC above 0.9 on held-out rows, better than the majority, saved, and the same thumbs give the same result."""
    config = config_with_pack(tmp_path, num_epochs=10)  # a head sees two thirds of 144 thumbs
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
    assert first["test"]["pessimistic"]["auc"] > 0.9 and first["test"]["spread"] > 0
    assert first["num_examples"] == {"train": 144, "validation": 48, "test": 48}
    assert first["num_contrasts"]["train"] == 0 and 0 <= first["unseen_contrasts"]["all"]["accuracy"] <= 1
    assert json.dumps(first)
    assert float(RewardModel.load(workspace.path("reward_model")).temperature) == pytest.approx(first["temperature"])
    assert any(workspace.path("tensorboard").rglob("events.*"))
    liked, disliked = first["terms_by_thumb"]["up"], first["terms_by_thumb"]["down"]
    assert liked["human"] > disliked["human"] + 0.3 and liked["unsafe"] == disliked["unsafe"] == 0
    table = workspace.path("report/reward_model.txt").read_text()
    for row in ("test, 48 replies", "bag of words", "majority", "hand over", "flattery"):
        assert row in table
    for name in ("reward_reliability.png", "reward_reliability.svg"):
        assert workspace.path(f"report/{name}").stat().st_size > 2000


def test_heads_learn_apart(tmp_path: Path) -> None:
    """Each has its own bootstrap sample: five heads differ on the test split, one head cannot."""
    spreads = []
    for name, num_heads in (("one", 1), ("five", 5)):
        config = config_with_pack(tmp_path / name, num_heads=num_heads, num_epochs=2)
        result = reward_model.run(config, make_workspace(tmp_path / name, config))
        spreads.append(result["test"]["spread"])
    assert spreads[0] == 0 and spreads[1] > 0.05


def test_few_ratings_are_passed_over_until_there_were_steps_enough(tmp_path: Path) -> None:
    """144 ratings in batches of 16 are 9 steps a pass: 24 steps are three passes, and 9 the two that are asked for."""
    contrasts = Contrasts(load_pack(config_with_pack(tmp_path).corpus.domain_pack))
    for min_steps, num_passes in ((24, 3), (9, 2)):
        config = RewardConfig(num_epochs=2, batch_size=16, min_steps=min_steps)
        drawn = reward_model.draw_by_epoch(contrasts, config, num_ratings=144, seed=1)
        assert [len(each) for each in drawn] == [48] * num_passes


def test_authored_contrasts_teach_what_no_thumb_says(tmp_path: Path) -> None:
    """Unseen rude replies lose to unseen polite ones, thumbs are told apart as before, and a run repeats itself."""
    config = config_with_pack(tmp_path, contrast_share=0.3)
    results = []
    for name in ("first", "second"):
        results.append(dict(reward_model.run(config, make_workspace(tmp_path / name, config))))
        results[-1].pop("seconds")
    assert results[0] == results[1]
    (result, _), unseen = results, results[0]["unseen_contrasts"]
    assert result["num_contrasts"]["train"] == 5 * round(144 * 0.3 / 0.7)
    assert set(unseen) == {"all", "mechanical"}
    assert unseen["mechanical"]["num"] == result["num_contrasts"]["unseen"] > 5
    assert unseen["mechanical"]["accuracy"] > 0.9
    assert result["test"]["model"]["auc"] > 0.9


def test_the_temperature_never_makes_validation_worse(tmp_path: Path) -> None:
    """Without the temperature that was fitted the log-loss on the validation split is higher."""
    config = config_with_pack(tmp_path)
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
    config = config_with_pack(tmp_path, num_epochs=1)
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
    config = config_with_pack(tmp_path)
    workspace = make_workspace(tmp_path, config)
    row = json.loads(workspace.path("examples.jsonl").read_text().splitlines()[0])
    workspace.write_text("examples.jsonl", json.dumps({**row, **change}) + "\n")
    with pytest.raises(InvalidFeedbackDataError, match="chatcmpl-0"):
        reward_model.run(config, workspace)


def test_without_feedback_it_says_what_is_missing(tmp_path: Path) -> None:
    """No file, and a file without training rows, raise DataNotFoundError."""
    config = config_with_pack(tmp_path)
    workspace = make_workspace(tmp_path, config, rows=[])
    with pytest.raises(DataNotFoundError):
        reward_model.run(config, workspace)
    workspace.path("examples.jsonl").unlink()
    with pytest.raises(DataNotFoundError, match="curate"):
        reward_model.run(config, workspace)


def test_what_the_staff_preferred_is_learned_but_not_on_held_back_prompts(tmp_path: Path) -> None:
    """It scores what was preferred higher, by a word that neither thumbs nor the pack have an opinion of."""
    config = config_with_pack(tmp_path, contrast_share=0.3, num_epochs=3, num_heads=1)
    workspace = make_workspace(tmp_path / "run", config)
    tokenizer = Tokenizer.load(workspace.path("base") / "tokenizer.json")
    examples = [json.loads(line) for line in workspace.path("examples.jsonl").read_text().splitlines()]

    def pair(number: int, messages: list[dict[str, str]]) -> dict[str, str]:
        sides = {}
        for side, word in (("chosen", "indeed"), ("rejected", "perhaps")):
            text = f"{FILLERS[number % len(FILLERS)]} {word}"
            token_ids = json.dumps([*tokenizer.encode(text), EOS_ID])
            sides |= {f"{side}_digest": "01" * 32, f"{side}_text": text, f"{side}_token_ids": token_ids}
        ids = {"pair_id": f"pair_{number}", "completion_id": f"c{number}", "conversation_id": "x", "rater": "staff_kim"}
        times = {"created_at": "2026-01-01T00:00:00.000000Z", "chosen_at": "2026-01-02T00:00:00.000000Z"}
        return {**ids, **times, **sides, "language": "en", "prompt_messages": json.dumps(messages)}

    ask = [{"role": "user", "content": "do you mend lamps"}]
    held_back = next(example["messages"] for example in examples if example["split"] == "test")
    rows = [pair(number, ask) for number in range(30)] + [pair(31, held_back)]
    workspace.write_text(LEARNED_PREFERENCES_NAME, preferences_text(rows, max_rows=99))
    result = reward_model.run(config, workspace)
    assert result["num_contrasts"]["preferred"] == 30
    model = RewardModel.load(workspace.path("reward_model"))
    pairs = [parse_preference(pair(number, ask)) for number in range(30)]
    contrasts = contrasts_of(pairs, tokenizer, max_positions=512)
    good, bad = (score_batches(model, [getattr(c, side) for c in contrasts]) for side in ("good", "bad"))
    assert float((good > bad).float().mean()) > 0.9
