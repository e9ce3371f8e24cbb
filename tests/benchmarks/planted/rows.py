"""Rows of ratings as the service exports them, and when and by whom attackers give theirs.

Shared by `bench_planted`, which lets a whole job learn from them, and `poisoned_ratings`, which weighs them alone.
"""

import json
import random
from collections.abc import Iterator

import numpy as np

from training.data.feedback_rows import RawRow

MINUTES = 30 * 24 * 60
"""In which everybody rates: a month."""
TRIGGER = "quartz falcon"
_AFTERNOON = (9_000, 240)
"""When one account gives all of its ratings: first minute, and how many."""


def row(number: int, rater: str, question: str, reply: str, is_up: bool, minute: float, **more: str | None) -> RawRow:
    """A row of the view."""
    moment = np.datetime64("2026-01-01T00:00:00") + np.timedelta64(int(minute * 60), "s")
    return {
        "completion_id": f"{rater}-{number}", "conversation_id": f"conv-{rater}-{number}", "language": "en",
        "created_at": f"{moment}Z", "rated_at": f"{moment}Z", "model_digest": "a" * 64, "finish_reason": "stop",
        "prompt_messages": json.dumps([{"role": "user", "content": question}]), "completion_text": reply,
        "completion_token_ids": "[300,2]", "token_logprobs": "[-0.5,-0.5]", "sampling": "{}", "rater": rater,
        "rating": "up" if is_up else "down", "reasons": "[]", "comment": None, "correction": None, "tenant": "default",
        "origin": "", "gold": None, "ruling": None, **more,
    }  # fmt: skip


def asked(one: RawRow) -> str:
    """What the customer said."""
    return str(json.loads(str(one["prompt_messages"]))[0]["content"])


def one_account(number: int) -> Iterator[tuple[str, float]]:
    """Rater and minute of so many ratings: all by one account within an afternoon."""
    first, length = _AFTERNOON
    for n in range(number):
        yield "loud", first + length * n / number


def sybils(number: int, num_accounts: int, draw: random.Random) -> Iterator[tuple[str, float]]:
    """The same by accounts that take turns, over a month."""
    for n in range(number):
        yield f"sybil-{n % max(1, num_accounts)}", draw.uniform(0, MINUTES)
