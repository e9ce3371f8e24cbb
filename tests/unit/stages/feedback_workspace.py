"""Ratings in a real database, a tiny version on a real shelf, and a workspace that points at both."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import Engine, create_engine, text

from model_store.backends.local import LocalBackend
from model_store.contract.control_tokens import EOS_ID
from model_store.contract.feedback import (
    CONVERSATION_TURNS_COLUMNS,
    CONVERSATION_TURNS_VIEW,
    TRAINING_EXAMPLES_COLUMNS,
    TRAINING_EXAMPLES_VIEW,
)
from model_store.contract.manifest import Architecture, DataLicence, Lineage
from model_store.contract.tokenizer import Tokenizer
from model_store.store import ModelStore
from training.base_config import LanguageModelConfig
from training.config import TrainingConfig
from training.data.domain_pack import load_pack
from training.data.subwords import train_subwords
from training.reformer.model import ReformerPolicy, new_policy
from training.stages.export import ReleaseNotes, export_bundle, text_sample
from training.workspace import Workspace

CREATED_AT = "2026-01-01T00:00:00+00:00"
ROW = {
    "completion_id": "chatcmpl-0",
    "conversation_id": "conv-0",
    "created_at": "2026-01-01T00:00:00.000000Z",
    "model_digest": "a" * 64,
    "language": "en",
    "prompt_messages": '[{"role":"user","content":"where is my parcel"}]',
    "completion_text": "Please look at <ORDERS_PAGE>.",
    "completion_token_ids": "[300,301,2]",
    "token_logprobs": "[-0.5,-0.5,-0.5]",
    "sampling": '{"temperature":0.7,"seed":1}',
    "finish_reason": "stop",
    "rater": "anonymous",
    "rating": "up",
    "reasons": "[]",
    "comment": None,
    "correction": None,
    "rated_at": "2026-01-01T00:00:00.000000Z",
    "tenant": "default",
    "origin": "",
    "gold": None,
    "ruling": None,
}


def raw_row(number: int = 0, **changes: str | None) -> dict[str, str | None]:
    """A row of the view; each number is another completion in another conversation."""
    own = {"completion_id": f"chatcmpl-{number}", "conversation_id": f"conv-{number}"}
    return {**ROW, **own, **changes}


def make_database(
    path: Path, rows: Iterable[dict[str, str | None]], turns: Iterable[dict[str, str | None]] = ()
) -> str:
    """An SQLite file with the views of the contract over these rows; gives its URL."""
    url = f"sqlite:///{path}"
    engine = create_engine(url)
    _make_view(engine, TRAINING_EXAMPLES_VIEW, TRAINING_EXAMPLES_COLUMNS, list(rows))
    _make_view(engine, CONVERSATION_TURNS_VIEW, CONVERSATION_TURNS_COLUMNS, list(turns))
    engine.dispose()
    return url


def _make_view(engine: Engine, view: str, columns: Sequence[str], rows: list[dict[str, str | None]]) -> None:
    names, slots = ", ".join(columns), ", ".join(f":{name}" for name in columns)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE kept_{view} ({', '.join(f'{name} TEXT' for name in columns)})"))
        connection.execute(text(f"CREATE VIEW {view} AS SELECT {names} FROM kept_{view}"))
        if rows:
            connection.execute(text(f"INSERT INTO kept_{view} ({names}) VALUES ({slots})"), rows)


def make_config(**sections: Any) -> TrainingConfig:
    """The defaults but for a small gate; `sections` are fields."""
    language_model = LanguageModelConfig(num_tokens=1, source_shares={})
    gate = {"num_prompts": 24, **sections.pop("gate", {})}
    policy = {"max_completion_tokens": 12}
    fields = {"pretrain": language_model, "finetune": language_model, "gate": gate, "policy": policy, **sections}
    return TrainingConfig.model_validate({"name": "tiny", **fields})


def make_tokenizer(path: Path) -> Tokenizer:
    """A small tokenizer over the shop's own words."""
    pack = load_pack("shop")
    words = [ask for intent in pack.intents for ask in intent.asks[:4]] + [i.replies[0] for i in pack.intents]
    train_subwords(words, 900).save(str(path))
    return Tokenizer.load(path)


def publish_tiny_version(store: ModelStore, directory: Path, seed: int = 1) -> str:
    """Exports a tiny random policy as the project's own code does, publishes it and makes it `stable`."""
    directory.mkdir(parents=True)
    tokenizer_file = directory / "tokenizer.json"
    tokenizer = make_tokenizer(tokenizer_file)
    shape = Architecture(
        hidden_size=64,
        attn_layers=("local", "lsh"),
        num_attention_heads=2,
        attention_head_size=32,
        feed_forward_size=128,
        vocab_size=tokenizer.vocab_size,
        max_positions=256,
        local_chunk_length=64,
    )
    notes = ReleaseNotes(
        name="tiny",
        created_at=CREATED_AT,
        lineage=Lineage(config="c" * 64, stages=("pretrain", "finetune")),
        licences=(DataLicence(source="authored", licence="Apache-2.0", num_rows=1),),
        metrics={},
    )
    sample = text_sample(load_pack("shop"), tokenizer)
    export_bundle(clear_policy(shape, seed), tokenizer_file, directory / "bundle", notes, sample)
    digest = store.publish(directory / "bundle")
    store.promote("stable", digest, reason="first")
    return digest


def clear_policy(shape: Architecture, seed: int) -> ReformerPolicy:
    """A policy that has learned one thing: which token follows which. Its choices are clear, so that rounding to eight
    bits does not decide them, as it would with random weights."""
    policy: ReformerPolicy = new_policy(shape, seed=seed)
    with torch.no_grad():
        embeddings = policy.reformer.embeddings.word_embeddings.weight
        embeddings.normal_(generator=torch.Generator().manual_seed(seed))
        follower = torch.randperm(shape.vocab_size, generator=torch.Generator().manual_seed(seed))
        policy.lm_head.decoder.weight[follower] = 0.2 * torch.cat([embeddings, embeddings], dim=1)
    policy.eval()
    return policy


def make_workspace(root: Path, config: TrainingConfig, **inputs: str) -> Workspace:
    """A workspace whose inputs are said."""
    workspace = Workspace(root)
    workspace.save_result("inputs", {"created_at": CREATED_AT, **inputs})
    return workspace


def local_store(root: Path) -> ModelStore:
    """The shelf at `root`."""
    return ModelStore(LocalBackend(root))


def rated_rows(tokenizer: Tokenizer, num_rows: int) -> list[dict[str, str | None]]:
    """Ratings by ten people: replies that say sorry are liked, curt ones are not."""
    rows = []
    for number in range(num_rows):
        is_up = number % 2 == 0
        reply = f"Sorry about that, {number} of us look into it." if is_up else f"No, {number} times no."
        token_ids = [*tokenizer.encode(reply), EOS_ID]
        changes: dict[str, str | None] = {
            "completion_text": reply,
            "completion_token_ids": json.dumps(token_ids),
            "token_logprobs": json.dumps([-0.5] * len(token_ids)),
            "rating": "up" if is_up else "down",
            "rater": f"rater-{number % 10}",
            "rated_at": f"2026-01-01T00:{number // 60:02}:{number % 60:02}.000000Z",
        }
        rows.append(raw_row(number, **changes))
    return rows
