"""Learners on ratings beside KTO, and adapters: what they learn, what they leave out, what is left of them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from model_store.contract.tokenizer import Tokenizer
from tests.unit.reformer.tiny_policy import random_prompt, tiny_policy
from tests.unit.stages.learning_workspace import make_config, make_workspace
from training.config import PolicyConfig, TrainingConfig
from training.data.prompts import RatedExample, read_examples
from training.errors import DataNotFoundError
from training.reformer.critic import Critic
from training.reformer.heads import RewardModel
from training.reformer.model import load_policy
from training.rlhf.losses import sequence_sum
from training.rlhf.rollout import Actors, RewardFunction, SamplingSettings
from training.stages import policy, reward_model
from training.stages.learners.adapter import Adapter
from training.stages.learners.filtered import FilteredLearner, best_scored
from training.stages.learners.ilql import IlqlLearner
from training.stages.learners.ladder import climb_ladder
from training.stages.learners.learner import Learner, Updater
from training.stages.learners.ratings import Ratings, packed
from training.stages.policy import CompositeReward
from training.workspace import Workspace


def reward_of(workspace: Workspace, config: TrainingConfig) -> RewardFunction:
    """An untrained reward model with the other terms around it."""
    tokenizer = Tokenizer.load(workspace.path("base") / "tokenizer.json")
    return CompositeReward(RewardModel(load_policy(workspace.path("base"))), tokenizer, config)


def actors_of(workspace: Workspace, config: TrainingConfig) -> Actors:
    base = workspace.path("base")
    return Actors(load_policy(base), load_policy(base), SamplingSettings(1.0, config.policy.max_completion_tokens))


def examples_of(workspace: Workspace) -> dict[str, list[RatedExample]]:
    tokenizer = Tokenizer.load(workspace.path("base") / "tokenizer.json")
    found = read_examples(workspace.path("examples.jsonl"), tokenizer, max_positions=192, correction_weight=1.0)
    return {split: [e for e in found if e.split == split] for split in ("train", "test")}


def log_ratios(actors: Actors, examples: list[RatedExample]) -> Tensor:
    completions = packed(actors, examples)
    difference = actors.logprobs(completions) - actors.reference_logprobs(completions)
    return sequence_sum(difference, completions.mask)


Q_LEARNING = {"lr": 3e-3, "num_epochs": 6}
CASES = {
    "filtered": (FilteredLearner, {"lr": 1e-3}),
    "ilql, distilled": (IlqlLearner, {"lr": 2e-3, "q_learning": Q_LEARNING}),
    "ilql, regressed": (IlqlLearner, {"lr": 2e-3, "q_learning": {**Q_LEARNING, "extraction": "regress"}}),
}


@pytest.mark.parametrize("case", CASES)
def test_liked_replies_become_likelier_than_disliked_ones(tmp_path: Path, case: str) -> None:
    """The mean log-ratio of thumbs up rises above that of thumbs down, on rows that were not learned from."""
    learner_class, settings = CASES[case]
    config = make_config(policy={"algorithm": case.partition(",")[0], "num_epochs": 4, "max_minutes": 60, **settings})
    workspace = make_workspace(tmp_path, config)
    actors, examples = actors_of(workspace, config), examples_of(workspace)
    reward = reward_of(workspace, config)
    learner: Learner = learner_class(actors, examples["train"], reward, config.policy, seed=1)

    def measure() -> dict[str, float]:
        return actors.collect([example.prompt for example in examples["test"]], reward, seed=1).figures()

    climb = climb_ladder(learner, actors.policy, config.policy, workspace, measure)
    assert climb.stopped_by == "finished" and climb.share == 1.0
    ratios = log_ratios(actors, examples["test"])
    is_up = torch.tensor([example.is_up for example in examples["test"]])
    assert ratios[is_up].mean() > ratios[~is_up].mean() + 0.3


def test_a_critic_learns_first_and_leaves_the_policy_alone(tmp_path: Path) -> None:
    """In its steps no weight of the policy changes; after them a liked reply's last token is worth more."""
    config = make_config(policy={"algorithm": "ilql", "q_learning": Q_LEARNING})
    workspace = make_workspace(tmp_path, config)
    actors, examples = actors_of(workspace, config), examples_of(workspace)
    learner = IlqlLearner(actors, examples["train"], reward_of(workspace, config), config.policy, seed=1)
    assert (learner.num_steps, learner.num_updates) == (54 + 24, 24)
    update = Updater(actors.policy, 1e-3, 10)
    figures = [learner.step(number, update) for number in range(54)]
    assert all(figure.kl is None and figure.scalars["critic_q1"] >= 0 for figure in figures)
    assert all(map(torch.equal, actors.policy.state_dict().values(), actors.reference.state_dict().values()))
    critic = Critic(actors.reference, mean_reward=0.5, seed=1)
    critic.load_state_dict(learner.state()["critic"])
    completions = packed(actors, examples["test"])
    with torch.no_grad():
        values = critic(completions.token_ids, completions.mask)
    by_token = torch.zeros(completions.mask.shape).masked_scatter(
        completions.mask, values.target.gather(-1, completions.token_ids[:, 1:][completions.mask][:, None])[:, 0]
    )
    last = by_token[torch.arange(len(by_token)), completions.mask.long().cumsum(1).argmax(1)]
    is_up = torch.tensor([example.is_up for example in examples["test"]])
    assert last[is_up].mean() > last[~is_up].mean() + 0.2


def test_only_the_best_scored_of_the_liked_replies_are_imitated(tmp_path: Path) -> None:
    """Half of those rated up, the ones with the higher rewards, in their order; none that was rated down."""
    config = make_config()
    workspace = make_workspace(tmp_path, config)
    examples, reward = examples_of(workspace)["train"], reward_of(workspace, config)
    liked = [example for example in examples if example.is_up]
    kept = best_scored(examples, reward, 0.5)
    assert len(kept) == round(len(liked) / 2) and all(example.is_up for example in kept)
    assert [example for example in liked if example in kept] == kept
    cut = liked[0]
    worse = RatedExample("train", cut.prompt, cut.completion_ids[:-1], cut.completion_text, True, 1.0)
    assert best_scored([worse, cut], reward, 0.5) == [cut]  # one without an end costs a penalty
    assert best_scored([], reward, 0.5) == []
    with pytest.raises(DataNotFoundError):
        FilteredLearner(actors_of(workspace, config), [], reward, config.policy, seed=1)


def test_few_ratings_are_passed_over_until_there_were_steps_enough(tmp_path: Path) -> None:
    """144 rows in batches of 16: 9 steps a pass, at least 24; every pass takes each row at most once."""
    workspace = make_workspace(tmp_path, make_config())
    ratings = Ratings(examples_of(workspace)["train"], 16, seed=1)
    assert [ratings.num_steps(epochs, 24) for epochs in (1, 3)] == [24, 27]
    first_pass = [example.completion_ids for number in range(9) for example in ratings.batch(number)]
    assert len(first_pass) == 144 == len({id(ids) for ids in first_pass})
    assert ratings.batch(3) == ratings.batch(3) != ratings.batch(12)


@pytest.mark.parametrize(("kind", "most"), [("lora", 0.35), ("ia3", 0.02)])
def test_an_adapter_is_merged_into_a_plain_policy(kind: str, most: float) -> None:
    """It begins as the policy it is beside, few parameters learn, and merged it computes what it computed before."""
    learning, untouched = tiny_policy(), tiny_policy()
    token_ids = torch.tensor([random_prompt(40, seed) for seed in range(4)])
    adapter = Adapter(learning, PolicyConfig(adapter=kind), seed=1)
    assert 0 < adapter.num_trainable < most * adapter.num_parameters
    with torch.no_grad():
        assert torch.allclose(learning.encode(token_ids), untouched.encode(token_ids), atol=1e-6)
    update = Updater(learning, 1e-2, num_updates=8)
    losses = [update(lambda: learning(token_ids, labels=token_ids).loss) for _ in range(8)]
    assert losses[-1] < losses[0] - 0.05
    with torch.no_grad():
        expected = learning.encode(token_ids)
        adapter.merge()
        assert torch.allclose(learning.encode(token_ids), expected, atol=2e-4)
    assert learning.state_dict().keys() == untouched.state_dict().keys()
    assert not torch.allclose(expected, untouched.encode(token_ids), atol=1e-2)


def test_without_an_adapter_everything_is_trained() -> None:
    """All but what is learned before the layers and the head's unused bias."""
    adapter = Adapter(tiny_policy(), PolicyConfig(), seed=1)
    assert 0.99 * adapter.num_parameters < adapter.num_trainable < adapter.num_parameters
    adapter.merge()


def test_a_run_with_an_adapter_saves_a_plain_policy(tmp_path: Path) -> None:
    """The stage's checkpoint is one that the rest of training reads; the result says how few parameters learned."""
    config = make_config(reward={"num_epochs": 1}, policy={"algorithm": "kto", "adapter": "lora", "lr": 1e-2})
    workspace = make_workspace(tmp_path, config)
    reward_model.run(config, workspace)
    result = policy.run(config, workspace)
    assert result["adapter"] == "lora" and 0 < result["num_trainable"] < result["num_parameters"] / 2
    learned, base = load_policy(workspace.path("policy")), load_policy(workspace.path("base"))
    assert learned.state_dict().keys() == base.state_dict().keys()
    changed = [
        name for name, tensor in learned.state_dict().items() if not torch.equal(tensor, base.state_dict()[name])
    ]
    assert changed and all("encoder.layers" in name for name in changed)
