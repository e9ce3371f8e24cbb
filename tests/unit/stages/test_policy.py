"""The policy stage: it climbs, it stops in time, and it goes on after a crash as if nothing had been."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from tests.unit.stages.learning_workspace import ASKS, make_config, make_workspace
from training.config import TrainingConfig
from training.data.prompts import Prompt, RatedExample, build_prompt, read_examples
from training.errors import DivergedError
from training.reformer.decoder import Sample
from training.reformer.model import load_policy
from training.rlhf.logprobs import CompletionBatch
from training.rlhf.losses import sequence_sum
from training.rlhf.rewards import RewardTerms
from training.rlhf.rollout import Actors, RolloutPrompt, SamplingSettings
from training.stages import policy, reward_model
from training.stages.learners.kto import KtoLearner
from training.stages.learners.ladder import climb_ladder
from training.stages.learners.learner import Updater
from training.stages.learners.policy_gradient import PolicyGradientLearner
from training.stages.learners.way_back import Measure, copy_weights, walk_back
from training.workspace import Workspace


def _share_of_even_ids(prompts: Sequence[RolloutPrompt], samples: Sequence[Sample]) -> list[RewardTerms]:
    """A reward that a rule gives: the share of tokens with an even id."""
    shares = [sum(token_id % 2 == 0 for token_id in sample.token_ids) / len(sample.token_ids) for sample in samples]
    return [RewardTerms(share, *[0.0] * 7) for share in shares]


def _actors(workspace: Workspace, config: TrainingConfig) -> Actors:
    base = workspace.path("base")
    return Actors(load_policy(base), load_policy(base), SamplingSettings(1.0, config.policy.max_completion_tokens))


def _prompts(workspace: Workspace) -> list[Prompt]:
    tokenizer = Tokenizer.load(workspace.path("base") / "tokenizer.json")
    return [build_prompt([Message(Role.USER, ask)], tokenizer) for ask in ASKS]


def _examples(workspace: Workspace) -> list[RatedExample]:
    tokenizer = Tokenizer.load(workspace.path("base") / "tokenizer.json")
    return read_examples(workspace.path("examples.jsonl"), tokenizer, max_positions=192, correction_weight=1.0)


def _measure(actors: Actors, prompts: Sequence[Prompt]) -> Measure:
    return lambda: actors.collect(list(prompts) * 8, _share_of_even_ids, seed=1).figures()


def _weights(directory: Path) -> Mapping[str, Tensor]:
    weights: Mapping[str, Tensor] = load_policy(directory).state_dict()
    return weights


@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_a_policy_gradient_raises_the_reward_of_a_rule(tmp_path: Path, algorithm: str) -> None:
    """From about a half of even ids to at least 15 points more, at a KL that is reported."""
    settings = {"num_steps": 12, "prompts_per_step": 8, "lr": 3e-3, "kl_coefficient": 0.01}
    config = make_config(policy={"algorithm": algorithm, **settings})
    workspace = make_workspace(tmp_path, config)
    actors, prompts = _actors(workspace, config), _prompts(workspace)
    before = actors.collect(prompts * 8, _share_of_even_ids, seed=1).figures()
    climb = climb_ladder(
        PolicyGradientLearner(actors, prompts, _share_of_even_ids, config.policy, seed=1),
        actors.policy,
        config.policy,
        workspace,
        _measure(actors, prompts),
    )
    after = climb.figures
    assert climb.stopped_by == "finished" and climb.num_steps == 12 and climb.share == 1.0
    assert before["kl"] == pytest.approx(0.0, abs=1e-6)
    assert after["reward"] > before["reward"] + 0.15
    assert after["kl"] > 0.05


def test_kto_makes_liked_replies_likelier_than_disliked_ones(tmp_path: Path) -> None:
    """The mean log-ratio of thumbs up rises above that of thumbs down, on rows it has not seen."""
    config = make_config(policy={"algorithm": "kto", "num_epochs": 3, "kto_beta": 0.1, "lr": 2e-3})
    workspace = make_workspace(tmp_path, config)
    actors, examples = _actors(workspace, config), _examples(workspace)
    train = [example for example in examples if example.split == "train"]
    learner = KtoLearner(actors, train, _share_of_even_ids, config.policy, seed=1)
    assert learner.num_steps == 27
    climb_ladder(learner, actors.policy, config.policy, workspace, _measure(actors, _prompts(workspace)))
    test = [example for example in examples if example.split == "test"]
    packed = actors.pack([e.prompt for e in test], [e.completion_ids for e in test])
    ratios = sequence_sum(actors.logprobs(packed) - actors.reference_logprobs(packed), packed.mask)
    is_up = torch.tensor([example.is_up for example in test])
    assert ratios[is_up].mean() > ratios[~is_up].mean() + 0.3


def test_the_reference_reads_a_rated_reply_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All 144 before the first step; later only eight mismatched pairs a step, which are new each time."""
    config = make_config(policy={"algorithm": "kto", "num_epochs": 3})
    workspace = make_workspace(tmp_path, config)
    actors, read = _actors(workspace, config), list[int]()
    measure = actors.reference_logprobs

    def counted(batch: CompletionBatch) -> Tensor:
        read.append(len(batch.token_ids))
        return measure(batch)

    monkeypatch.setattr(actors, "reference_logprobs", counted)
    train = [example for example in _examples(workspace) if example.split == "train"]
    learner = KtoLearner(actors, train, _share_of_even_ids, config.policy, seed=1)
    assert sum(read) == len(train) == 144
    learner.step(1, Updater(actors.policy, 1e-3, learner.num_updates))
    assert sum(read) == 144 + 8 < 144 + config.policy.batch_size


def test_a_policy_that_went_too_far_walks_back_into_the_limit(tmp_path: Path) -> None:
    """It is left on the line between where it began and where its steps led, at the KL that is reported."""
    settings = {"num_steps": 12, "prompts_per_step": 8, "lr": 4e-3, "kl_coefficient": 0.0, "target_kl": None}
    workspace = make_workspace(tmp_path, make_config())
    kept = {}
    for limit in (50.0, 0.5):
        config = make_config(policy={**settings, "max_kl": limit})
        actors, prompts = _actors(workspace, config), _prompts(workspace)
        learner = PolicyGradientLearner(actors, prompts, _share_of_even_ids, config.policy, seed=1)
        measure = _measure(actors, prompts)
        start = copy_weights(actors.policy)
        climb = climb_ladder(learner, actors.policy, config.policy, workspace, measure)
        assert climb.figures == measure() and climb.figures["kl"] <= limit
        kept[limit] = climb
        workspace.drop_checkpoint("policy")
    assert kept[50.0].share == 1.0 and kept[50.0].num_retreats == 0 and kept[50.0].figures["kl"] > 0.5
    assert 0 < kept[0.5].share < 1 and kept[0.5].figures["kl"] > 0.05
    assert kept[0.5].figures["reward"] > 0.5
    assert any(not torch.equal(tensor, start[name]) for name, tensor in actors.policy.state_dict().items())


def test_far_beyond_the_limit_it_retreats_and_slows_down_three_times(tmp_path: Path) -> None:
    """A learning rate far too high: three retreats, each with half the rate and twice the coefficient, then the end."""
    config = make_config(policy={"num_steps": 30, "lr": 1e-1, "kl_coefficient": 0.01, "target_kl": None, "max_kl": 0.1})
    workspace = make_workspace(tmp_path, config)
    actors, prompts = _actors(workspace, config), _prompts(workspace)
    learner = PolicyGradientLearner(actors, prompts, _share_of_even_ids, config.policy, seed=1)
    climb = climb_ladder(learner, actors.policy, config.policy, workspace, _measure(actors, prompts))
    assert climb.stopped_by == "max_kl" and climb.num_steps < 30
    assert climb.num_retreats == 3 and learner.kl_coefficient == pytest.approx(0.08)
    assert climb.figures["kl"] <= 0.1


def test_the_way_back_ends_at_the_reference_where_nothing_else_is_within(tmp_path: Path) -> None:
    """A KL that does not fall, or is not a number, leaves the weights that there were in the beginning."""
    policy_there = load_policy(make_workspace(tmp_path, make_config()).path("base"))
    start = copy_weights(policy_there)
    for kl, num_measurements in ((9.0, 5), (float("nan"), 2)):
        with torch.no_grad():
            for parameter in policy_there.parameters():
                parameter += 1.0
        measured = []

        def measure(kl: float = kl, measured: list[float] = measured) -> dict[str, float]:
            measured.append(kl)
            return {"kl": kl}

        arrival = walk_back(policy_there, start, measure, limit=3.0)
        assert arrival.share == 0.0 and len(measured) == num_measurements
        assert all(torch.equal(tensor, start[name]) for name, tensor in policy_there.state_dict().items())


def test_the_kl_coefficient_is_adapted_to_its_target(tmp_path: Path) -> None:
    """An unmoved policy is below any target: the penalty weakens step by step; without a target it stays."""
    config = make_config(policy={"num_steps": 3, "lr": 1e-9, "target_kl": 1.0, "kl_gain": 0.5})
    workspace = make_workspace(tmp_path, config)
    actors, prompts = _actors(workspace, config), _prompts(workspace)
    learner = PolicyGradientLearner(actors, prompts, _share_of_even_ids, config.policy, seed=1)
    climb_ladder(learner, actors.policy, config.policy, workspace, _measure(actors, prompts))
    assert learner.kl_coefficient == pytest.approx(0.05 * 0.9**3)
    fixed = config.policy.model_copy(update={"target_kl": None})
    steady = PolicyGradientLearner(actors, prompts, _share_of_even_ids, fixed, seed=1)
    steady.step(0, Updater(actors.policy, 1e-9, 2))
    assert steady.kl_coefficient == 0.05


def test_it_stops_when_its_minutes_are_over(tmp_path: Path) -> None:
    """A time limit below one step's ends the climb after the first step."""
    config = make_config(policy={"num_steps": 30, "max_minutes": 1e-9})
    workspace = make_workspace(tmp_path, config)
    actors = _actors(workspace, config)
    learner = PolicyGradientLearner(actors, _prompts(workspace), _share_of_even_ids, config.policy, seed=1)
    measure = _measure(actors, _prompts(workspace))
    climb = climb_ladder(learner, actors.policy, config.policy, workspace, measure)
    assert climb.stopped_by == "max_minutes" and climb.num_steps <= 1


def test_numbers_that_are_none_are_skipped_three_times_and_then_stop_the_run(tmp_path: Path) -> None:
    """Three losses of NaN change no weight; the fourth raises DivergedError."""
    config = make_config()
    learning = load_policy(make_workspace(tmp_path, config).path("base"))
    before = {name: tensor.clone() for name, tensor in learning.state_dict().items()}
    update = Updater(learning, 1e-3, num_updates=10)

    def nan_loss() -> Tensor:
        return sum((p.sum() for p in learning.parameters()), torch.zeros(())) * float("nan")

    for _ in range(3):
        update(nan_loss)
    assert all(torch.equal(tensor, before[name]) for name, tensor in learning.state_dict().items())
    with pytest.raises(DivergedError):
        update(nan_loss)


def test_a_policy_from_which_nothing_can_be_drawn_stops_the_run(tmp_path: Path) -> None:
    """A learning rate that ruins it at once: whoever measures it meets no numbers, and says so by name."""
    config = make_config(policy={"algorithm": "kto", "lr": 1e30}, reward={"num_epochs": 1})
    workspace = make_workspace(tmp_path, config, num_rows=60)
    reward_model.run(config, workspace)
    with pytest.raises(DivergedError, match="policy at step"):
        policy.run(config, workspace)
    assert not workspace.path("policy").exists()


class _DyingWorkspace(Workspace):
    """Dies right after its second checkpoint is on disk, as a killed process would."""

    num_left = 2

    def save_checkpoint(self, name: str, state: Mapping[str, Any]) -> None:
        super().save_checkpoint(name, state)
        self.num_left -= 1
        if self.num_left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("algorithm", ["rloo", "kto", "filtered", "ilql"])
def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path, algorithm: str) -> None:
    """Stopped after its second checkpoint and started again, the stage saves bit for bit what an unbroken run saves."""
    config = make_config(reward={"num_epochs": 1}, policy={"algorithm": algorithm, "num_steps": 8})
    whole = make_workspace(tmp_path / "whole", config, num_rows=100)
    reward_model.run(config, whole)
    dying = _DyingWorkspace(shutil.copytree(whole.root, tmp_path / "broken"))
    expected = policy.run(config, whole)
    with pytest.raises(KeyboardInterrupt):
        policy.run(config, dying)
    assert not dying.path("policy").exists()
    resumed = Workspace(dying.root)
    result = policy.run(config, resumed)
    first, second = _weights(whole.path("policy")), _weights(resumed.path("policy"))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert any(not torch.equal(tensor, _weights(whole.path("base"))[name]) for name, tensor in first.items())
    assert {**result, "seconds": 0} == {**expected, "seconds": 0}
    assert {"reward_human", "reward_wrong_plan"} <= result["after"].keys()
    assert (resumed.path("policy") / "tokenizer.json").exists()
    assert resumed.load_checkpoint("policy") is None
