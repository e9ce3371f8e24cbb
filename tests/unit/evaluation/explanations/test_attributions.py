"""Integrated gradients: they sum up, they find the token that matters, and the message gets what its summary brings."""

import pytest
import torch

from model_store.contract.control_tokens import ASSISTANT_ID, BOS_ID, EOS_ID, USER_ID
from tests.unit.reformer.some_ngrams import NGRAM_ROWS
from tests.unit.reformer.tiny_policy import random_prompt, tiny_policy
from training.evaluation.explanations.attributions import attribute
from training.reformer.heads import RewardModel, pad_right


def reward_model(*, has_summary: bool = False) -> RewardModel:
    """Three heads on a tiny trunk, with weights small enough for a smooth path."""
    policy = tiny_policy(ngram_rows=NGRAM_ROWS, message_summary=True) if has_summary else tiny_policy()
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.ndim == 2:
                parameter.mul_(0.4)
    model = RewardModel(policy, num_heads=3)
    torch.manual_seed(1)
    torch.nn.init.normal_(model.head.weight, std=0.2)
    return model.eval()


def conversation(seed: int) -> list[int]:
    """A message of nine tokens and a reply of six."""
    return [BOS_ID, USER_ID, *random_prompt(9, seed), ASSISTANT_ID, *random_prompt(6, seed + 1), EOS_ID]


@pytest.mark.parametrize("has_summary", [False, True])
def test_the_shares_sum_up_to_the_score(has_summary: bool) -> None:
    """With what the positions alone score they give the model's own score, within a hundredth of the difference."""
    model, token_ids = reward_model(has_summary=has_summary), conversation(1)
    found = attribute(model, token_ids, num_steps=48)
    with torch.no_grad():
        score = float(model(*pad_right([token_ids])).mean())
    assert found.score == pytest.approx(score, abs=1e-4)
    assert len(found.by_token) == len(token_ids)
    assert abs(found.error) < 0.02 * max(0.5, abs(found.score - found.score_without_words))


def test_the_token_that_decides_has_the_largest_share() -> None:
    """A model that reads one direction of the last state off: the token that was made to have it leads."""
    model, token_ids = reward_model(), conversation(3)
    trunk = model.trunk
    with torch.no_grad():
        for layer in trunk.reformer.encoder.layers:  # silent layers: the state is the embedding
            layer.attention.output.dense.weight.zero_()
            layer.feed_forward.output.dense.weight.zero_()
            layer.feed_forward.output.dense.bias.zero_()
        direction = torch.zeros(64)
        direction[0] = 1.0
        trunk.reformer.embeddings.word_embeddings.weight[EOS_ID] = 5 * direction
        model.head.weight.copy_(torch.cat([direction, direction]).expand(3, -1))
    shares = attribute(model, token_ids).by_token
    assert shares[-1] > 0.5
    assert max(abs(share) for share in shares[:-1]) < 0.01


def test_what_the_summary_brings_is_the_messages() -> None:
    """With silent layers only the opening's state counts; its share lies on the message, not on the marker alone."""
    model = reward_model(has_summary=True)
    token_ids = [BOS_ID, USER_ID, *random_prompt(9, 5), ASSISTANT_ID]
    with torch.no_grad():
        for layer in model.trunk.reformer.encoder.layers:
            layer.attention.output.dense.weight.zero_()
            layer.feed_forward.output.dense.weight.zero_()
            layer.feed_forward.output.dense.bias.zero_()
    found = attribute(model, token_ids)
    assert sum(abs(share) > 1e-4 for share in found.by_token[2:11]) >= 8
    assert abs(found.error) < 0.01
