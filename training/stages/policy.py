"""Policy: moves the policy towards the reward or the ratings, no further from the reference than the KL limit.

By RLOO, GRPO, KTO, implicit Q-learning or filtered supervised tuning. Rollouts answer what people asked and as many
authored prompts. Of the latter the intent is known: a reply that sets out to answer something else costs. What is left
out against the papers: see the algorithms in `stages.learners`.
Reads `base`, `reward_model`, `examples.jsonl`; writes `policy`.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from model_store.contract.tokenizer import Tokenizer
from training import distributed
from training.config import TrainingConfig
from training.data.domain_pack import intent_of, load_pack
from training.data.generator import ConversationGenerator
from training.data.prompts import (
    Prompt,
    RatedExample,
    build_prompt,
    prompts_with_room,
    read_examples,
    unique_prompts,
)
from training.evaluation.rewarding.composite import CompositeReward
from training.reformer.heads import RewardModel
from training.reformer.model import load_policy, save_policy
from training.rlhf.rollout import Actors, SamplingSettings
from training.stages.learners.adapter import Adapter
from training.stages.learners.filtered import FilteredLearner
from training.stages.learners.ilql import IlqlLearner
from training.stages.learners.kto import KtoLearner
from training.stages.learners.ladder import climb_ladder
from training.stages.learners.learner import STAGE, Learner
from training.stages.learners.policy_gradient import PolicyGradientLearner
from training.stages.learners.replay import Replay, authored_replies
from training.workspace import StageResult, Workspace

_NUM_MEASURED_PROMPTS = 32
"""Of people's and of authored ones each."""
_MIN_AUTHORED_PROMPTS = 64
MEASURE_SEED = 7
"""Of the rollouts before and after, so that the same policy gives the same figures."""
_ON_RATINGS: Mapping[str, Callable[..., Learner]] = {
    "kto": KtoLearner,
    "filtered": FilteredLearner,
    "ilql": IlqlLearner,
}


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Optimises the base policy and saves the result; goes on from its last checkpoint after a crash.

    Raises:
        DataNotFoundError: there is nothing to learn from.
        InvalidFeedbackDataError: a row of the curated feedback is malformed.
        DivergedError: the loss stopped being a number, again and again.
        TooFewRowsError: a batch has fewer rows than there are processes.
    """
    base, settings = workspace.path("base"), config.policy
    tokenizer = Tokenizer.load(base / "tokenizer.json")
    sampling = SamplingSettings(settings.temperature, settings.max_completion_tokens)
    actors = Actors(load_policy(base), load_policy(base), sampling)
    reward = CompositeReward(RewardModel.load(workspace.path("reward_model")), tokenizer, config)
    max_positions = int(actors.policy.config.max_position_embeddings)
    generator = ConversationGenerator(load_pack(config.corpus.domain_pack), config.seed)
    examples, prompts = read_material(config, workspace, tokenizer, generator, max_positions=max_positions)
    replies = authored_replies(generator, tokenizer, max_positions=max_positions) if settings.replay_share else []
    replay = Replay(replies, settings.replay_share, config.seed)
    learner: Learner
    if on_ratings := _ON_RATINGS.get(settings.algorithm):
        train = [example for example in examples if example.split == "train"]
        learner = on_ratings(actors, train, reward, settings, seed=config.seed, replay=replay)
    else:
        learner = PolicyGradientLearner(actors, prompts.learned, reward, settings, seed=config.seed, replay=replay)

    def measure(measured: Actors = actors) -> dict[str, float]:
        return measured.collect(prompts.measured, reward, seed=MEASURE_SEED).figures()

    before = measure(Actors(actors.reference, actors.reference, sampling))
    adapter = Adapter(actors.policy, settings, seed=config.seed)
    climb = climb_ladder(learner, actors.policy, settings, workspace, measure)
    adapter.merge()
    if distributed.is_first():
        save_policy(actors.policy, workspace.path(STAGE))
        shutil.copyfile(base / "tokenizer.json", workspace.path(STAGE) / "tokenizer.json")
    workspace.drop_checkpoint(STAGE)
    return {
        "algorithm": settings.algorithm,
        "adapter": settings.adapter,
        "num_parameters": adapter.num_parameters,
        "num_trainable": adapter.num_trainable,
        "num_steps": climb.num_steps,
        "num_prompts": len(prompts.learned),
        "stopped_by": climb.stopped_by,
        "num_retreats": climb.num_retreats,
        "share_kept": climb.share,
        "seconds": round(climb.seconds, 1),
        "kl": climb.figures["kl"],
        "kl_coefficient": learner.kl_coefficient,
        "before": before,
        "after": climb.figures,
    }


@dataclass(frozen=True, slots=True)
class PromptPools:
    """What rollouts answer: prompts to learn from, and others that no step sees, to measure before and after."""

    learned: list[Prompt]
    measured: list[Prompt]

    @classmethod
    def draw(
        cls, examples: Sequence[RatedExample], authored: Callable[[int], list[Prompt]], max_tokens: int
    ) -> "PromptPools":
        """People's prompts by split, and authored ones beside them; all with at most `max_tokens`."""
        asked = unique_prompts(example.prompt for example in examples if example.split == "train")
        learned = prompts_with_room([*asked, *authored(max(len(asked), _MIN_AUTHORED_PROMPTS))], max_tokens)
        known = {prompt.token_ids for prompt in learned}
        held_out = (example.prompt for example in examples if example.split == "validation")
        pools = (prompts_with_room(prompts, max_tokens) for prompts in (held_out, authored(_NUM_MEASURED_PROMPTS)))
        unseen = [[prompt for prompt in pool if prompt.token_ids not in known] for pool in pools]
        measured = [prompt for pool in unseen for prompt in pool[:_NUM_MEASURED_PROMPTS]]
        return cls(learned, measured or learned[:_NUM_MEASURED_PROMPTS])


def read_material(
    config: TrainingConfig,
    workspace: Workspace,
    tokenizer: Tokenizer,
    generator: ConversationGenerator,
    *,
    max_positions: int,
) -> tuple[list[RatedExample], PromptPools]:
    """What a policy learns from: ratings, and prompts for rollouts, people's and the generator's next ones.

    Raises DataNotFoundError and InvalidFeedbackDataError.
    """
    examples = read_examples(
        workspace.path("examples.jsonl"),
        tokenizer,
        max_positions=max_positions,
        correction_weight=config.feedback.correction_weight,
    )
    prompts = PromptPools.draw(
        examples,
        lambda count: authored_prompts(generator, tokenizer, count),
        max_positions - config.policy.max_completion_tokens,
    )
    return examples, prompts


def authored_prompts(generator: ConversationGenerator, tokenizer: Tokenizer, count: int) -> list[Prompt]:
    """The generator's next `count` conversations without their last reply, and what it answers where that is said."""
    return [
        build_prompt(
            conversation.messages[:-1],
            tokenizer,
            intents=frozenset({intent_of(conversation.plan)}) if conversation.plan else frozenset(),
        )
        for conversation in (generator.draw() for _ in range(count))
    ]
