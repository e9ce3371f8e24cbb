"""The second stage: from ratings to examples. Drops what cannot be learned from, splits, and weighs.

Left out on purpose: weights by age (old thumbs about the same text are as good as new ones) and guesses at who is
honest; one named rater's share is bounded instead, and the gate measures on data that no thumb touches.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence

from training.config import FeedbackConfig, TrainingConfig
from training.data.feedback_rows import (
    ANONYMOUS_RATER,
    Example,
    FeedbackRow,
    Split,
    parse_row,
    read_export,
    write_examples,
)
from training.errors import InvalidFeedbackDataError
from training.evaluation.thumbs_judge import MIN_PER_CLASS, independent_examples
from training.stages.snapshot import SNAPSHOT_NAME
from training.workspace import StageResult, Workspace

EXAMPLES_NAME = "examples.jsonl"
_HASH_RANGE = 2**64


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Writes `examples.jsonl`. Result: counts, and `enough`; if False also `missing` and `message` for people.

    A row that cannot be read is counted and left out: one broken row must not stop the learning from all others.
    """
    rows: list[FeedbackRow] = []
    num_broken = 0
    for raw in read_export(workspace.path(SNAPSHOT_NAME)):
        try:
            rows.append(parse_row(raw))
        except InvalidFeedbackDataError:
            num_broken += 1
    kept = select_rows(rows)
    examples = make_examples(kept, config.feedback, seed=config.seed)
    workspace.write_text(EXAMPLES_NAME, write_examples(examples))
    counts = {
        "num_rows": len(rows) + num_broken,
        "num_broken": num_broken,
        "num_examples": len(examples),
        "num_up": sum(example.is_up for example in examples),
        "num_raters": len({row.rater for row in kept}),
        "splits": dict(Counter(example.split for example in examples)),
    }
    return {**counts, **sufficiency(examples, config.feedback)}


def select_rows(rows: Sequence[FeedbackRow]) -> list[FeedbackRow]:
    """Rows to learn from, in the order of rating: the latest rating of a rater, no fixed replies, nothing twice."""
    latest: dict[tuple[str, str], FeedbackRow] = {}
    for row in sorted(rows, key=lambda row: (row.rated_at, row.completion_id, row.rater)):
        key = (row.completion_id, row.rater)
        latest.pop(key, None)  # a changed mind moves to the end
        latest[key] = row
    distinct: dict[tuple[object, ...], FeedbackRow] = {}
    for row in latest.values():
        if row.is_rule_reply or not row.completion_token_ids or not row.messages:
            continue
        said = (row.conversation_id, row.messages, row.completion_token_ids)
        distinct.setdefault((*said, row.rater, row.is_up), row)
    return list(distinct.values())


def make_examples(rows: Sequence[FeedbackRow], feedback: FeedbackConfig, *, seed: int) -> list[Example]:
    """Examples with split and weight; a conversation lies in one split as a whole."""
    weights = rater_weights(Counter(row.rater for row in rows), feedback.max_share_per_rater)
    return [
        Example(
            split=split_of(row.conversation_id, feedback, seed=seed),
            completion_id=row.completion_id,
            conversation_id=row.conversation_id,
            language=row.language,
            messages=row.messages,
            completion_text=row.completion_text,
            completion_token_ids=row.completion_token_ids,
            is_up=row.is_up,
            weight=weights[row.rater],
            correction=row.correction,
        )
        for row in rows
    ]


def split_of(conversation_id: str, feedback: FeedbackConfig, *, seed: int) -> Split:
    """The split of a conversation: drawn by hash, so it stays the same as ratings come in."""
    digest = hashlib.sha256(f"{seed}\n{conversation_id}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") / _HASH_RANGE
    if point < feedback.test_share:
        return "test"
    return "validation" if point < feedback.test_share + feedback.validation_share else "train"


def rater_weights(num_ratings: Mapping[str, int], max_share: float) -> dict[str, float]:
    """The weight of one rating of each rater, at most 1, so that no named rater has more than `max_share` of all
    weight.

    Anonymous ratings come from many people and are not bounded. With so few raters that somebody must have more than
    `max_share`, all named ones get the same.
    """
    totals = {rater: float(number) for rater, number in num_ratings.items()}
    if ANONYMOUS_RATER not in totals and totals:
        max_share = max(max_share, 1 / len(totals))
    named = sorted((rater for rater in totals if rater != ANONYMOUS_RATER), key=lambda rater: -totals[rater])
    for num_capped in range(len(named) + 1):
        # With the k largest raters at the bound b: b = share · (k·b + rest), solved for b.
        rest = sum(totals.values()) - sum(totals[rater] for rater in named[:num_capped])
        free = 1 - max_share * num_capped
        bound = max_share * rest / free if free > 1e-9 else math.inf
        if num_capped == len(named) or totals[named[num_capped]] <= bound:
            break
    if math.isinf(bound) and named:
        bound = totals[named[-1]]
    return {rater: 1.0 if rater == ANONYMOUS_RATER else min(1.0, bound / total) for rater, total in totals.items()}


def sufficiency(examples: Sequence[Example], feedback: FeedbackConfig) -> dict[str, object]:
    """Whether there is enough to learn from and to judge by, and how many ratings are missing.

    What counts is weight, rounded down; the gate's judge, which gets the held-back share alone, counts ratings.
    """
    up = sum(example.weight for example in examples if example.is_up)
    down = sum(example.weight for example in examples if not example.is_up)
    num_missing = max(0, feedback.min_ratings - math.floor(up + down + 1e-9))
    num_missing_of_class = max(0, feedback.min_per_class - math.floor(min(up, down) + 1e-9))
    num_missing_of_class = max(num_missing_of_class, _num_missing_for_judge(examples, feedback))
    if not num_missing and not num_missing_of_class:
        return {"enough": True}
    rarer = "thumbs up" if up < down else "thumbs down"
    parts = [f"{num_missing} more ratings"] if num_missing else []
    parts += [f"at least {num_missing_of_class} more {rarer}"] if num_missing_of_class else []
    message = f"Too few ratings to learn from: {' and '.join(parts)} needed. Nothing was changed."
    return {"enough": False, "missing": max(num_missing, num_missing_of_class), "message": message}


def _num_missing_for_judge(examples: Sequence[Example], feedback: FeedbackConfig) -> int:
    """Thumbs of the rarer kind that must still come, on average, until the gate's judge has an opinion."""
    held_back = independent_examples(examples)
    num_up = sum(example.is_up for example in held_back)
    num_short = MIN_PER_CLASS - min(num_up, len(held_back) - num_up)
    return max(0, math.ceil(num_short / (feedback.validation_share + feedback.test_share)))
