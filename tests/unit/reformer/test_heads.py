"""The reward model: one number, read where the text ends."""

from pathlib import Path

import torch

from tests.unit.reformer.tiny_policy import random_prompt, tiny_policy
from training.reformer.heads import RewardModel, pad_right, score_batches


def _reward_model() -> RewardModel:
    model = RewardModel(tiny_policy())
    torch.manual_seed(1)
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


def test_first_scores_are_zero() -> None:
    """An untrained head says nothing: probability one half."""
    model = RewardModel(tiny_policy()).eval()
    assert model(*pad_right([random_prompt(9, 1), random_prompt(80, 2)])).tolist() == [0.0, 0.0]


def test_padding_does_not_change_a_score() -> None:
    """The score is read at the last real token, so a longer neighbour in the batch is not seen."""
    model, short = _reward_model(), random_prompt(9, 1)
    with torch.no_grad():
        alone = model(*pad_right([short]))
        beside = model(*pad_right([short, random_prompt(120, 2)]))
    assert torch.allclose(alone[0], beside[0], atol=1e-5)


def test_the_last_token_changes_the_score() -> None:
    """A head on token 0, as in the stock classifier of a causal model, would not notice."""
    model, prompt = _reward_model(), random_prompt(9, 1)
    with torch.no_grad():
        first, second = model(*pad_right([[*prompt, 300], [*prompt, 301]])).tolist()
    assert abs(first - second) > 1e-3


def test_the_trunk_is_a_copy() -> None:
    """Training the reward model leaves the policy alone."""
    policy = tiny_policy()
    model = RewardModel(policy)
    with torch.no_grad():
        model.trunk.reformer.embeddings.word_embeddings.weight.zero_()
    assert policy.reformer.embeddings.word_embeddings.weight.abs().sum() > 0


def test_a_saved_model_scores_the_same(tmp_path: Path) -> None:
    """Trunk, head and temperature come back."""
    model = _reward_model()
    model.temperature.fill_(2.5)
    model.save(tmp_path / "reward")
    sequences = [random_prompt(length, length) for length in (40, 3, 90)]
    expected = score_batches(model, sequences)
    assert torch.equal(score_batches(RewardModel.load(tmp_path / "reward"), sequences), expected)
    assert expected.abs().min() > 0
