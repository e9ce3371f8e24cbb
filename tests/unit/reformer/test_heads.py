"""The reward model: a number a head, read where the text ends, and one number of them."""

from pathlib import Path

import torch

from tests.unit.reformer.tiny_policy import random_prompt, tiny_policy
from training.reformer.heads import RewardModel, pad_right, pessimistic, score_batches, score_heads


def _reward_model(num_heads: int = 1) -> RewardModel:
    model = RewardModel(tiny_policy(), num_heads)
    torch.manual_seed(1)
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


def test_first_scores_are_zero() -> None:
    """An untrained head says nothing: probability one half."""
    model = RewardModel(tiny_policy()).eval()
    assert model(*pad_right([random_prompt(9, 1), random_prompt(80, 2)])).tolist() == [[0.0], [0.0]]


def test_fresh_heads_disagree_about_a_score_of_zero() -> None:
    """Before any rating the mean says nothing, and the spread says that nothing is known."""
    model = RewardModel(tiny_policy(), num_heads=4)
    heads = score_heads(model, [random_prompt(9, 1), random_prompt(30, 2)])
    assert heads.shape == (2, 4)
    assert torch.allclose(heads.mean(-1), torch.zeros(2), atol=1e-3)  # bfloat16 where the processor has it
    assert heads.std(-1).min() > 0.01


def test_what_heads_disagree_about_scores_less() -> None:
    """Mean 2 for both; standard deviations 0 and 1, so that half of one is taken off the second."""
    heads = torch.tensor([[2.0, 2.0], [1.0, 3.0]])
    assert pessimistic(heads, 0.5).tolist() == [2.0, 1.5]
    assert pessimistic(heads, 0.0).tolist() == [2.0, 2.0]


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
        first, second = model(*pad_right([[*prompt, 300], [*prompt, 301]]))[:, 0].tolist()
    assert abs(first - second) > 1e-3


def test_the_trunk_is_a_copy() -> None:
    """Training the reward model leaves the policy alone."""
    policy = tiny_policy()
    model = RewardModel(policy)
    with torch.no_grad():
        model.trunk.reformer.embeddings.word_embeddings.weight.zero_()
    assert policy.reformer.embeddings.word_embeddings.weight.abs().sum() > 0


def test_a_saved_model_scores_the_same(tmp_path: Path) -> None:
    """Trunk, heads and temperature come back."""
    model = _reward_model(num_heads=3)
    model.temperature.fill_(2.5)
    model.save(tmp_path / "reward")
    sequences = [random_prompt(length, length) for length in (40, 3, 90)]
    expected = score_batches(model, sequences, pessimism=0.5)
    assert torch.equal(score_batches(RewardModel.load(tmp_path / "reward"), sequences, pessimism=0.5), expected)
    assert expected.abs().min() > 0
