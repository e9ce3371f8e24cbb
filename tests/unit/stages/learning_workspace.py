"""A workspace as the earlier stages leave it: a tiny base policy, its tokenizer, thumbs that follow an easy rule."""

import json
import random
from pathlib import Path
from typing import Any

import torch

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.manifest import Architecture
from model_store.contract.tokenizer import Tokenizer
from training.base_config import LanguageModelConfig
from training.config import TrainingConfig
from training.data.subwords import train_subwords
from training.reformer.model import new_policy, save_policy
from training.workspace import Workspace

ASKS = ("where is my parcel", "i forgot my password", "can i return this", "the invoice is wrong", "我的包裹在哪里")
KIND_WORDS = ("sorry", "gladly", "please", "welcome", "happy")
CURT_WORDS = ("no", "whatever", "wait", "later", "impossible")
FILLERS = ("we", "look", "into", "the", "order", "page", "today", "and", "then", "answer")


def make_config(**sections: Any) -> TrainingConfig:
    """A configuration whose training takes seconds; `sections` replace `reward` and `policy`, or are added."""
    language_model = LanguageModelConfig(num_tokens=1, source_shares={})
    reward = {"lr": 2e-3, "num_epochs": 5, "batch_size": 16, "contrast_share": 0.0, "off_plan_penalty": 0.0}
    policy = {
        "num_steps": 4,
        "prompts_per_step": 4,
        "lr": 1e-3,
        "max_completion_tokens": 10,
        "max_kl": 50.0,
        "batch_size": 16,
    }
    return TrainingConfig.model_validate(
        {
            **sections,
            "pretrain": language_model,
            "finetune": language_model,
            "reward": {**reward, **sections.get("reward", {})},
            "policy": {**policy, **sections.get("policy", {})},
        }
    )


def make_workspace(
    root: Path, config: TrainingConfig, rows: list[dict[str, Any]] | None = None, num_rows: int = 240
) -> Workspace:
    """Writes `base` and `examples.jsonl`: `rows`, or `num_rows` thumbs that follow the rule."""
    torch.manual_seed(0)
    workspace = Workspace(root)
    base = workspace.path("base")
    base.mkdir(exist_ok=True)
    backend = train_subwords([*ASKS, *KIND_WORDS, *CURT_WORDS, *FILLERS] * 20, 600)
    backend.save(str(base / "tokenizer.json"))
    tokenizer = Tokenizer.load(base / "tokenizer.json")
    shape = Architecture(
        hidden_size=64,
        attn_layers=("local", "lsh"),
        num_attention_heads=2,
        attention_head_size=32,
        feed_forward_size=128,
        vocab_size=tokenizer.vocab_size,
        max_positions=192,
        local_chunk_length=64,
    )
    save_policy(new_policy(shape, seed=1), base)
    written = rated_rows(tokenizer, num_rows) if rows is None else rows
    workspace.write_text("examples.jsonl", "".join(json.dumps(row) + "\n" for row in written))
    return workspace


def rated_rows(tokenizer: Tokenizer, num_rows: int) -> list[dict[str, Any]]:
    """Replies of random words; the thumb is up exactly when a kind word is among them."""
    generator = random.Random(5)
    rows = []
    for number in range(num_rows):
        is_up = generator.random() < 0.5
        words = [*generator.sample(FILLERS, 5), generator.choice(KIND_WORDS if is_up else CURT_WORDS)]
        generator.shuffle(words)
        text = " ".join(words)
        rows.append(
            {
                "split": ("train", "train", "train", "validation", "test")[number % 5],
                "completion_id": f"chatcmpl-{number}",
                "conversation_id": f"conversation-{number}",
                "language": "en",
                "messages": [{"role": "user", "content": generator.choice(ASKS)}],
                "completion_text": text,
                "completion_token_ids": [*tokenizer.encode(text), EOS_ID],
                "is_up": is_up,
                "weight": 1.0,
                "correction": None,
            }
        )
    return rows
