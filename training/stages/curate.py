"""The second stage: from ratings to examples. Drops what teaches nothing, sets aside what is doubted, weighs, splits.

Who is believed and what is set aside: `stages.curation`. Left out on purpose: weights by age (old thumbs about the same
text are as good as new ones). The gate measures on data that no thumb touches, whatever was believed here.
"""

import hashlib
import json
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from model_store.backends.places import open_backend
from model_store.contract.conversation import Message
from model_store.curation import CurationReport
from model_store.errors import StoreError
from model_store.store import ModelStore
from training.config import FeedbackConfig, TrainingConfig
from training.data.feedback_rows import (
    ANONYMOUS_RATER,
    Example,
    FeedbackRow,
    RawRow,
    Split,
    Turn,
    parse_row,
    parse_turn,
    read_export,
    write_examples,
)
from training.data.preferences import LEARNED_PREFERENCES_NAME, PREFERENCES_NAME
from training.errors import InvalidFeedbackDataError
from training.evaluation.risks.thumbs_on_gold import GoldReply, gold_lines
from training.evaluation.thumbs_judge import MIN_PER_CLASS, independent_examples
from training.stages.curation.doubts import rater_of
from training.stages.curation.implicit import Signal, implicit_signals
from training.stages.curation.known_words import KnownWords, Speaker, known_words
from training.stages.curation.likeness import exchange
from training.stages.curation.many.curating import curate_many
from training.stages.curation.rater_model import Rater
from training.stages.curation.report import Curated, curation_report
from training.stages.curation.splits import Conversation, Said, assign_splits
from training.stages.curation.weighing import Weighed, weigh
from training.stages.snapshot import PARQUET_NAME, SNAPSHOT_NAME, TURNS_NAME
from training.workspace import StageResult, Workspace

EXAMPLES_NAME = "examples.jsonl"
REPORT_NAME = "curation.json"
GOLD_REPLIES_NAME = "gold_replies.jsonl"
"""On which the gate tries whether thumbs tell good replies from bad ones."""
_log = logging.getLogger("training")
Parsed = TypeVar("Parsed")


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Writes `examples.jsonl` and what the staff preferred, both with prompts of known words alone (`known_words`).

    And `gold_replies.jsonl`, and `curation.json`, which it leaves on the shelf too, for the service to show.

    Result: counts, and `enough`; if False also `missing` and `message` for people. A row that cannot be read is counted
    and left out: one broken row must not stop the learning from all others.
    """
    inputs = workspace.result("inputs") or {}
    made_at = datetime.fromisoformat(inputs["created_at"])
    turns_file = workspace.path(TURNS_NAME)
    turns, num_broken_turns = _parse_all(read_export(turns_file) if turns_file.is_file() else [], parse_turn)
    if workspace.path(PARQUET_NAME).is_file():
        curated = curate_many(workspace.path(PARQUET_NAME), turns, config.feedback, made_at)
    else:
        curated = _curate_in_memory(workspace.path(SNAPSHOT_NAME), turns, config.feedback, made_at)
    words = known_words(config.corpus.domain_pack, _said(curated.weighed), config.feedback)
    judged = make_examples(curated.weighed, config.feedback, seed=config.seed)
    examples = [replace(one, messages=known) for one in judged if (known := words.in_prompt(one.messages)) is not None]
    workspace.write_text(EXAMPLES_NAME, write_examples(examples))
    gold = asked_gold(curated.weighed, config.seed)
    workspace.write_text(GOLD_REPLIES_NAME, gold_lines(gold))
    workspace.write_text(LEARNED_PREFERENCES_NAME, _preferences(workspace.path(PREFERENCES_NAME), words))
    report = _without_rare_words(curated.report, words)
    workspace.write_text(REPORT_NAME, report.model_dump_json())
    if inputs.get("model_store"):
        _show(report, str(inputs["model_store"]))
    rated = [example for example in examples if example.source == "rating"]
    counts = {
        "num_rows": curated.num_rows,
        "num_broken": curated.num_broken + num_broken_turns,
        "num_examples": len(rated),
        "num_up": sum(example.is_up for example in rated),
        "num_raters": curated.num_raters,
        "num_set_aside": curated.report.num_set_aside,
        "set_aside": curated.report.by_reason,
        "num_gold": curated.num_gold,
        "num_gold_asked": len(gold),
        "num_groups": len(report.groups),
        "num_of_rare_words": len(judged) - len(examples),
        "weight": curated.report.total_weight,
        "implicit": dict(Counter(example.source for example in examples if example.source != "rating")),
        "splits": dict(Counter(example.split for example in rated)),
    }
    return {**counts, **sufficiency(rated, config.feedback)}


def _said(weighed: Weighed) -> Iterator[tuple[Speaker, Sequence[Message]]]:
    """Who said what, of all that counts. Whose words the staff has rated nobody knows."""
    for row, weight in zip(weighed.rows, weighed.weights, strict=True):
        if weight > 0:
            yield None if row.is_anonymous or row.is_from_staff else rater_of(row), row.messages
    for signal, weight in zip(weighed.signals, weighed.signal_weights, strict=True):
        if weight > 0:
            turn = signal.turn
            yield None if turn.rater == ANONYMOUS_RATER else Rater(turn.tenant, turn.rater), turn.messages


def _preferences(path: Path, words: KnownWords) -> str:
    """Lines of the pairs that the staff has chosen from, with prompts of known words; what cannot be read stays."""
    lines = []
    for row in read_export(path) if path.is_file() else ():
        try:
            messages = words.in_prompt([Message.from_dict(one) for one in json.loads(str(row["prompt_messages"]))])
        except (KeyError, TypeError, ValueError):
            lines.append(row)  # the reward model names it
            continue
        if messages is not None:
            lines.append(
                {**row, "prompt_messages": json.dumps([one.as_dict() for one in messages], ensure_ascii=False)}
            )
    return "".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in lines)


def _without_rare_words(report: CurationReport, words: KnownWords) -> CurationReport:
    """The report, which the staff reads, without words of customers that hardly anybody says."""
    groups = [
        group.model_copy(update={"word": words.known_part(group.word) or None}) if group.word else group
        for group in report.groups
    ]
    return report.model_copy(update={"groups": tuple(groups)})


def _curate_in_memory(snapshot: Path, turns: Sequence[Turn], feedback: FeedbackConfig, made_at: datetime) -> Curated:
    """What counts of the rows of a snapshot."""
    rows, num_broken = _parse_all(read_export(snapshot), parse_row)
    kept = select_rows(rows)
    weighed = weigh(kept, _signals(turns, rows), feedback)
    return Curated(
        weighed=weighed,
        report=curation_report(weighed, made_at),
        num_rows=len(rows) + num_broken,
        num_broken=num_broken,
        num_raters=len({(row.tenant, row.rater) for row in kept}),
        num_gold=len(weighed.gold),
    )


def select_rows(rows: Sequence[FeedbackRow]) -> list[FeedbackRow]:
    """Rows to learn from, in the order of rating: the latest rating of a rater, no fixed replies, nothing twice."""
    latest: dict[tuple[str, str, str], FeedbackRow] = {}
    for row in sorted(rows, key=lambda row: (row.rated_at, row.completion_id, row.rater)):
        key = (row.tenant, row.completion_id, row.rater)
        latest.pop(key, None)  # a changed mind moves to the end
        latest[key] = row
    distinct: dict[tuple[object, ...], FeedbackRow] = {}
    for row in latest.values():
        if row.is_rule_reply or not row.completion_token_ids or not row.messages:
            continue
        said = (row.tenant, row.conversation_id, row.messages, row.completion_token_ids)
        distinct.setdefault((*said, row.rater, row.is_up), row)
    return list(distinct.values())


def make_examples(weighed: Weighed, feedback: FeedbackConfig, *, seed: int) -> list[Example]:
    """Examples with split and weight: first the ratings that count, then what was meant without a thumb.

    The latter are for training alone: what a version is judged by is what people said.
    """
    splits = _splits(weighed, feedback, seed)
    rated = [
        _rated(row, splits[row.tenant, row.conversation_id], weight, feedback)
        for number, (row, weight) in enumerate(zip(weighed.rows, weighed.weights, strict=True))
        if number not in weighed.doubts and weight > 0
    ]
    meant = [
        _meant(signal, weight)
        for signal, weight in zip(weighed.signals, weighed.signal_weights, strict=True)
        if weight > 0 and splits[signal.turn.tenant, signal.turn.conversation_id] == "train"
    ]
    return rated + meant


def asked_gold(weighed: Weighed, seed: int) -> list[GoldReply]:
    """Gold on which thumbs are tried: all of it, or as much as leaves half of the ratings that count to be fitted on.

    Which then, is drawn by the hash of its words, so it stays the same as ratings come in.
    """
    thumbs: dict[int, list[str]] = defaultdict(list)
    for item, row, weight in zip(weighed.items, weighed.rows, weighed.weights, strict=True):
        if weight > 0:
            thumbs[item].append(row.completion_id)
    num_left = sum(map(len, thumbs.values())) // 2

    def drawn(item: int) -> bytes:
        row = weighed.gold_rows[item]
        words = f"{seed}\n{exchange(row.messages, row.completion_text)}"
        return hashlib.sha256(words.encode(errors="replace")).digest()

    asked = []
    for item in sorted(weighed.gold_rows, key=drawn):
        own = tuple(thumbs.get(item, ()))
        if len(own) <= num_left:
            num_left -= len(own)
            text = weighed.gold_rows[item].completion_text
            asked.append(GoldReply(text=text, is_up=weighed.gold[item], rated_as=own))
    return asked


def sufficiency(examples: Sequence[Example], feedback: FeedbackConfig) -> dict[str, object]:
    """Whether there is enough to learn from and to judge by, and how many ratings are missing.

    What counts is weight, rounded down; the gate's judge, which gets the held-back share alone, counts ratings.
    """
    up = sum(example.weight for example in examples if example.is_up)
    down = sum(example.weight for example in examples if not example.is_up)
    num_missing = max(0, feedback.min_ratings - math.floor(up + down + 1e-6))
    num_missing_of_class = max(0, feedback.min_per_class - math.floor(min(up, down) + 1e-6))
    num_missing_of_class = max(num_missing_of_class, _num_missing_for_judge(examples, feedback))
    if not num_missing and not num_missing_of_class:
        return {"enough": True}
    rarer = "thumbs up" if up < down else "thumbs down"
    parts = [f"{num_missing} more ratings"] if num_missing else []
    parts += [f"at least {num_missing_of_class} more {rarer}"] if num_missing_of_class else []
    message = f"Too few ratings to learn from: {' and '.join(parts)} needed. Nothing was changed."
    return {"enough": False, "missing": max(num_missing, num_missing_of_class), "message": message}


def _parse_all(
    raw_rows: Sequence[RawRow], parse: Callable[[Mapping[str, str | None]], Parsed]
) -> tuple[list[Parsed], int]:
    """What can be read, and how many cannot."""
    parsed: list[Parsed] = []
    for raw in raw_rows:
        try:
            parsed.append(parse(raw))
        except InvalidFeedbackDataError:
            continue
    return parsed, len(raw_rows) - len(parsed)


def _signals(turns: Sequence[Turn], rows: Sequence[FeedbackRow]) -> list[Signal]:
    """Signals about replies that nobody rated: a thumb says it better, also one that is set aside."""
    rated = {(row.tenant, row.completion_id) for row in rows}
    return [
        signal for signal in implicit_signals(turns) if (signal.turn.tenant, signal.turn.completion_id) not in rated
    ]


def _splits(weighed: Weighed, feedback: FeedbackConfig, seed: int) -> dict[Conversation, Split]:
    rated = [
        Said((row.tenant, row.conversation_id), row.messages, row.completion_text, row.rated_at)
        for number, row in enumerate(weighed.rows)
        if number not in weighed.doubts
    ]
    turns = (signal.turn for signal in weighed.signals)
    meant = [Said((turn.tenant, turn.conversation_id), turn.messages, turn.completion_text, None) for turn in turns]
    return assign_splits(
        [*rated, *meant], validation_share=feedback.validation_share, test_share=feedback.test_share, seed=seed
    )


def _rated(row: FeedbackRow, split: Split, weight: float, feedback: FeedbackConfig) -> Example:
    return Example(
        split=split,
        completion_id=row.completion_id,
        conversation_id=row.conversation_id,
        language=row.language,
        messages=row.messages,
        completion_text=row.completion_text,
        completion_token_ids=row.completion_token_ids,
        is_up=row.is_up,
        weight=weight,
        correction=row.correction if row.is_from_staff or feedback.learn_customer_corrections else None,
    )


def _meant(signal: Signal, weight: float) -> Example:
    turn = signal.turn
    return Example(
        split="train",
        completion_id=turn.completion_id,
        conversation_id=turn.conversation_id,
        language=turn.language,
        messages=turn.messages,
        completion_text=turn.completion_text,
        completion_token_ids=turn.completion_token_ids,
        is_up=signal.is_up,
        weight=weight,
        correction=None,
        source=signal.source,
    )


def _show(report: CurationReport, shelf: str) -> None:
    """Leaves the report where the service finds it. A run does not fail because nobody can look at it."""
    try:
        ModelStore(open_backend(shelf)).note_curation(report)
    except StoreError as error:
        _log.warning("the report on the ratings could not be left on the shelf: %s", error)


def _num_missing_for_judge(examples: Sequence[Example], feedback: FeedbackConfig) -> int:
    """Thumbs of the rarer kind that must still come, on average, until the gate's judge has an opinion."""
    held_back = independent_examples(examples)
    num_up = sum(example.is_up for example in held_back)
    num_short = MIN_PER_CLASS - min(num_up, len(held_back) - num_up)
    return max(0, math.ceil(num_short / (feedback.validation_share + feedback.test_share)))
