"""TRL's KTO and RLOO on the same network, ratings, prompts and reward as ours: a stand-in for the policy stage.

Learning rate, batches, steps, beta, clip and what advantages are divided by are ours; so is the sampler, which is
faster than Hugging Face's. TRL has no replay of authored replies, no KL that is kept to a target, no KL limit and no
measurements on the way; bans hold where it samples, not in its log-probabilities; its ratios are whole completions'.
It takes part in the table through `cells`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import KTOConfig, KTOTrainer, RLOOConfig, RLOOTrainer

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.tokenizer import Tokenizer
from tests.benchmarks.learning.trl_policy import TrlPolicy, load_trl_policy, spelled, spelling_tokenizer
from training.config import TrainingConfig
from training.data.domain_pack import load_pack
from training.data.generator import ConversationGenerator
from training.data.prompts import Prompt, RatedExample
from training.evaluation.rewarding.composite import CompositeReward
from training.precision import has_fast_bfloat16
from training.reformer.decoder import Sample
from training.reformer.heads import RewardModel
from training.reformer.model import load_policy, save_policy
from training.rlhf.losses import kto_class_weights
from training.rlhf.rollout import Actors, SamplingSettings
from training.stages.learners.learner import WARM_UP_SHARE
from training.stages.learners.ratings import Ratings
from training.stages.policy import MEASURE_SEED, read_material
from training.workspace import StageResult, Workspace


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Trains the base policy with TRL and saves it where the policy stage would; measures its KL as that does."""
    base, settings = workspace.path("base"), config.policy
    tokenizer = Tokenizer.load(base / "tokenizer.json")
    policy = load_trl_policy(base, workspace.path("trl-base"))
    reward = CompositeReward(RewardModel.load(workspace.path("reward_model")), tokenizer, config)
    max_positions = int(policy.config.max_position_embeddings)
    generator = ConversationGenerator(load_pack(config.corpus.domain_pack), config.seed)
    examples, prompts = read_material(config, workspace, tokenizer, generator, max_positions=max_positions)
    if settings.algorithm == "kto":
        train = [example for example in examples if example.split == "train"]
        trainer = _kto_trainer(policy, train, config, workspace.path("trl"))
    else:
        trainer = _rloo_trainer(policy, prompts.learned, reward, config, workspace.path("trl"))
    trainer.train()
    learned = load_policy(base)
    learned.load_state_dict(policy.state_dict())
    actors = Actors(learned, load_policy(base), SamplingSettings(settings.temperature, settings.max_completion_tokens))
    after = actors.collect(prompts.measured, reward, seed=MEASURE_SEED).figures()
    save_policy(learned, workspace.path("policy"))
    return {
        "kl": after["kl"],
        "num_steps": trainer.state.global_step,
        "stopped_by": "finished",
        "share_kept": 1.0,
        "num_trainable": sum(p.numel() for p in policy.parameters() if p.requires_grad),
    }


def _kto_trainer(policy: TrlPolicy, train: Sequence[RatedExample], config: TrainingConfig, folder: Path) -> KTOTrainer:
    settings = config.policy
    ratings = Ratings(train, settings.batch_size, config.seed)
    up, down = kto_class_weights(torch.tensor([example.is_up for example in ratings.examples]))
    rows = [
        {
            "prompt": spelled(example.prompt.token_ids),
            "completion": spelled(example.completion_ids),
            "label": example.is_up,
        }
        for example in ratings.examples
    ]
    arguments = KTOConfig(
        **_shared_arguments(config, folder, num_steps=ratings.num_steps(settings.num_epochs, settings.min_steps)),
        per_device_train_batch_size=settings.batch_size,
        beta=settings.kto_beta,
        desirable_weight=up,
        undesirable_weight=down,
        max_length=int(policy.config.max_position_embeddings),
        precompute_ref_log_probs=True,  # over many passes the cheaper of its two ways
    )
    return KTOTrainer(
        policy,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=spelling_tokenizer(int(policy.config.vocab_size)),
    )


def _rloo_trainer(
    policy: TrlPolicy, prompts: Sequence[Prompt], reward: CompositeReward, config: TrainingConfig, folder: Path
) -> RLOOTrainer:
    settings = config.policy
    by_spelling = {spelled(prompt.token_ids): prompt for prompt in prompts}
    policy.prompts = {prompt.token_ids: prompt for prompt in prompts}

    def rewards(prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        samples = [Sample(tuple(ids), (), ids[-1] == EOS_ID) for ids in completion_ids]
        return [terms.total for terms in reward([by_spelling[text] for text in prompts], samples)]

    arguments = RLOOConfig(
        **_shared_arguments(config, folder, num_steps=settings.num_steps * settings.updates_per_step),
        per_device_train_batch_size=settings.prompts_per_step * settings.samples_per_prompt,
        num_generations=settings.samples_per_prompt,
        num_iterations=settings.updates_per_step,
        max_completion_length=settings.max_completion_tokens,
        temperature=settings.temperature,
        beta=settings.kl_coefficient,
        epsilon=settings.clip_range,
        normalize_advantages=True,
    )
    return RLOOTrainer(
        policy,
        reward_funcs=rewards,
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": text} for text in by_spelling]),
        processing_class=spelling_tokenizer(int(policy.config.vocab_size)),
    )


def _shared_arguments(config: TrainingConfig, folder: Path, *, num_steps: int) -> dict[str, Any]:
    """Our optimiser, precision and schedule; nothing is reported, saved or recomputed."""
    return {
        "output_dir": str(folder),
        "max_steps": num_steps,
        "seed": config.seed,
        "learning_rate": config.policy.lr,
        "lr_scheduler_type": "linear",
        "warmup_steps": round(WARM_UP_SHARE * num_steps),
        "optim": "adamw_torch_fused",
        "adam_beta2": 0.95,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "bf16": has_fast_bfloat16(),
        "use_cpu": True,
        "gradient_checkpointing": False,
        "report_to": "none",
        "logging_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
