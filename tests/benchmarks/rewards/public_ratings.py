"""Published ratings as the reward model reads them: a conversation, a reply, a thumb.

USS (Sun et al. 2021): three to seven votes of satisfaction at a customer's turn, here the one after the reply; below 3
on average is a thumb down, above 3 up, 3 neither. That turn stays unseen: scores are given before anybody reacts.
Taskmaster-4: a candidate turn, said or a call of the shop's interface, judged right or wrong.
"""

import gzip
import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.conversation import Message, Role
from model_store.contract.entities import EntityMasker, EntityVault
from model_store.contract.tokenizer import Tokenizer
from training.data.prompts import Prompt, RatedExample, build_prompt

FILES = {"USS": "uss_satisfaction.jsonl.gz", "Taskmaster-4": "tm4_reward.jsonl.gz"}
_NEUTRAL = 3.0
_TEST_SHARE, _VALIDATION_SHARE = 0.3, 0.1


@dataclass(frozen=True, slots=True)
class PublicRating:
    """One rated reply. What shares a `group` is told apart by the reply alone, so it lies in one split."""

    source: str
    group: str
    messages: tuple[Message, ...]
    reply: str
    is_up: bool


def read_ratings(name: str, folder: Path) -> list[PublicRating]:
    """All ratings of one data set. Raises OSError when it is not there."""
    read = {"USS": _uss, "Taskmaster-4": _taskmaster}[name]
    with gzip.open(folder / FILES[name], "rt", encoding="utf-8") as lines:
        return [rating for line in lines for rating in read(json.loads(line))]


def split_ratings(
    ratings: Sequence[PublicRating], seed: int, *, max_train: int, max_test: int
) -> dict[str, list[PublicRating]]:
    """Train, validation and test by group and seed, each at most so large; validation a quarter of train."""
    limits = {"train": max_train, "validation": max(1, max_train // 4), "test": max_test}
    drawn = random.Random(seed).sample(ratings, len(ratings))
    splits: dict[str, list[PublicRating]] = {name: [] for name in limits}
    for rating in drawn:
        split = _split_of(f"{seed}\n{rating.group}")
        if len(splits[split]) < limits[split]:
            splits[split].append(rating)
    return splits


def as_examples(
    ratings: Sequence[PublicRating], split: str, tokenizer: Tokenizer, *, max_tokens: int
) -> list[RatedExample]:
    """The same as rated examples; of a long conversation the end, of a long reply the beginning."""
    return [
        RatedExample(split, _prompt(rating, tokenizer, max_tokens), _reply_ids(rating, tokenizer, max_tokens), *rest)
        for rating in ratings
        for rest in [(rating.reply, rating.is_up, 1.0)]
    ]


def _prompt(rating: PublicRating, tokenizer: Tokenizer, max_tokens: int) -> Prompt:
    room = max_tokens - len(_reply_ids(rating, tokenizer, max_tokens))
    messages = rating.messages
    prompt = build_prompt(messages, tokenizer)
    while len(prompt.token_ids) > room and len(messages) > 1:
        messages = messages[1:]
        prompt = build_prompt(messages, tokenizer)
    ids = prompt.token_ids
    cut = ids if len(ids) <= room else (ids[0], *ids[len(ids) - room + 1 :])
    return Prompt(prompt.messages, cut, prompt.banned_ids, prompt.opening_ids)


def _reply_ids(rating: PublicRating, tokenizer: Tokenizer, max_tokens: int) -> tuple[int, ...]:
    return (*tokenizer.encode(rating.reply)[: max_tokens // 2], EOS_ID)


def _uss(row: dict[str, Any]) -> Iterator[PublicRating]:
    masker, vault = EntityMasker(), EntityVault()
    said: list[Message] = []
    turns = row["turns"]
    for number, turn in enumerate(turns):
        text = masker.mask(turn["text"], vault)
        after = turns[number + 1] if number + 1 < len(turns) else {}
        votes = after.get("sat") or []
        mean = sum(votes) / len(votes) if votes else _NEUTRAL
        if turn["role"] == "agent" and said and said[-1].role is Role.USER and mean != _NEUTRAL:
            yield PublicRating("USS", row["id"], tuple(said), text, mean > _NEUTRAL)
        said.append(Message(_role(turn), text))


def _taskmaster(row: dict[str, Any]) -> Iterator[PublicRating]:
    masker, vault = EntityMasker(), EntityVault()
    turns = [turn for turn in row["context"] if turn["role"] != "api"]
    messages = tuple(Message(_role(turn), masker.mask(_spoken(turn), vault)) for turn in turns)
    reply = masker.mask(_spoken(row["candidate"]), vault)
    context = hashlib.sha256(json.dumps(row["context"], sort_keys=True).encode()).hexdigest()
    if messages:
        yield PublicRating("Taskmaster-4", context, messages, reply, row["labels"]["reward"] > 0.5)


def _spoken(turn: dict[str, Any]) -> str:
    """What a turn says; a call of the shop's interface as the words that it is made of."""
    if "text" in turn:
        return str(turn["text"])
    found = json.dumps(turn.get("api", {}), ensure_ascii=False)
    return " ".join(found.translate(str.maketrans('{}[]":,_', "        ")).split())


def _role(turn: dict[str, Any]) -> Role:
    return Role.USER if turn["role"] == "user" else Role.ASSISTANT


def _split_of(key: str) -> str:
    point = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    if point < _TEST_SHARE:
        return "test"
    return "validation" if point < _TEST_SHARE + _VALIDATION_SHARE else "train"
