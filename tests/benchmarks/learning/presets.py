"""What is measured: the small network and its shop, how it is taught, and how each algorithm is set.

The card desk's pack, because a network that is made within minutes can learn its forty intents. Settings are the same
for 150 and for 1,500 ratings, and TRL gets ours. RLOO's learning rate, rollouts' temperature, KTO's least steps and the
reward model's were chosen on seed 1; KTO's rate and beta on 150 ratings of all seeds, by asks that nothing here is
judged by; the rest before the benchmark was first run (`EXPERIMENTS.md`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.config import TrainingConfig

PACK = "card_desk"
_KTO: Mapping[str, Any] = {
    **{"algorithm": "kto", "num_epochs": 2, "min_steps": 16, "replay_share": 0.0},
    **{"lr": 2e-4, "kto_beta": 2.0},  # with half of the rate and a quarter of beta: less for more KL
}
_RLOO: Mapping[str, Any] = {
    **{"algorithm": "rloo", "num_steps": 16, "kl_coefficient": 0.05, "target_kl": 1.0, "replay_share": 0.0},
    **{"lr": 2e-4, "temperature": 0.5},  # as people are answered: at 1 a third of the replies miss the question
}
_ILQL: Mapping[str, Any] = {"algorithm": "ilql", "num_epochs": 2, "min_steps": 32}
OF_TRL = {"trl-kto": "kto", "trl-rloo": "rloo"}
"""TRL's trainers, each with ours of the same name, whose settings it gets."""
ALGORITHMS: Mapping[str, Mapping[str, Any]] = {
    "kto": _KTO,
    "rloo": _RLOO,
    "trl-kto": _KTO,
    "trl-rloo": _RLOO,
    "filtered": {"algorithm": "filtered", "num_epochs": 3, "min_steps": 32},
    "ilql": _ILQL,
    "ilql-regress": {**_ILQL, "q_learning": {"extraction": "regress"}},
    "grpo": {**_RLOO, "algorithm": "grpo"},
}
NEEDS_REWARD_MODEL = frozenset({"rloo", "trl-rloo", "grpo", "filtered"})
"""The others load it too, but for their reports only."""
_CRITIC = {"lr": 5e-4, "num_epochs": 2}
_CHECKPOINT_EVERY = 20
"""Steps, of which the whole network takes some three hundred: a run that is stopped loses seconds."""


@dataclass(frozen=True)
class Preset:
    """How large everything is."""

    name: str
    hidden_size: int
    num_layers: int
    vocab_size: int
    base_tokens: int
    num_held_out: int
    """Asks that are judged by, and no thumb is about."""
    num_samples: int
    """Replies to such an ask of which the best is the bound of what can be learned."""
    num_draws: int
    """Replies to such an ask that a learned policy is judged by."""
    ratings: tuple[int, ...]
    num_seeds: int
    policy: Mapping[str, Any]


FULL = Preset("full", 128, 4, 1500, 3_600_000, 120, 16, 2, (150, 500, 1500), 3, {})
"""A third of the tokens was too few: its replies said what they set out to say one time in five."""
QUICK = Preset(
    "quick",
    hidden_size=64,
    num_layers=2,
    vocab_size=900,
    base_tokens=120_000,
    num_held_out=40,
    num_samples=4,
    num_draws=1,
    ratings=(60,),
    num_seeds=1,
    policy={"min_steps": 4, "num_steps": 2, "prompts_per_step": 4, "max_completion_tokens": 24},
)
"""To see that it runs: the network is too small to say anything."""


def base_config(preset: Preset, num_threads: int) -> TrainingConfig:
    """How the network before any thumb is made: fresh, by the stages that make every base model."""
    width = preset.hidden_size
    tokens = preset.base_tokens
    return TrainingConfig.model_validate(
        {
            "name": f"bench-learning-{preset.name}",
            "num_threads": num_threads,
            "model": {
                "hidden_size": width,
                "num_layers": preset.num_layers,
                "num_attention_heads": 4,
                "attention_head_size": width // 4,
                "feed_forward_size": 4 * width,
                "vocab_size": preset.vocab_size,
                "max_positions": 256,
                "ngram_rows": 8192,
                "message_summary": True,
            },
            "corpus": {
                "domain_pack": PACK,
                "num_generated_conversations": max(400, tokens // 60),
                "num_generated_asks": max(400, tokens // 120),
            },
            "message_summary": {"num_epochs": 2, "batch_size": 64},
            "reward": {"lr": 5e-4, "min_steps": 48},
            "pretrain": {
                "num_tokens": tokens // 4,
                "source_shares": {"domain_pack": 0.7, "domain_asks": 0.3},
                "summary_weight": 0.5,
                "decay_share": 0.0,
                "checkpoint_every": _CHECKPOINT_EVERY,
            },
            "finetune": {
                "num_tokens": tokens - tokens // 4,
                "source_shares": {"domain_pack": 0.8, "domain_asks": 0.2},
                "user_token_weight": 0.1,
                "plan_token_weight": 4.0,
                "summary_weight": 0.5,
                "decay_share": 0.6,
                "checkpoint_every": _CHECKPOINT_EVERY,
            },
        }
    )


def learning_config(base: TrainingConfig, preset: Preset, algorithm: str, *, seed: int, adapter: str) -> TrainingConfig:
    """How that network learns from thumbs; TRL's trainers get the same."""
    chosen = ALGORITHMS[algorithm]
    policy = {
        "adapter": adapter,
        "max_completion_tokens": 64,
        "max_kl": 3.0,
        **chosen,
        "lr": chosen.get("lr", 1e-4) if adapter == "none" else 2e-3,
        "q_learning": {**_CRITIC, **chosen.get("q_learning", {})},
        **preset.policy,
    }
    return TrainingConfig.model_validate({**base.model_dump(), "seed": seed, "policy": policy})
