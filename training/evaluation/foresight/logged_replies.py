"""Rated replies as they were drawn, and how likely a candidate would be to give the same ones.

The service logs each token's log-probability under the distribution that it was drawn from, and temperature and top-p.
A candidate is measured as served: same bans, same openings, its own nucleus. Left out: greedy replies, which
had no alternative; top-k and repetition penalties, which few clients ask for; and fixed replies, which no model made.
Also left out: what the intent model would have said to the candidate's plan.
Logged with eight-bit weights, measured here without: a token at the very edge of the nucleus may fall out of it.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_store.contract.feedback import STAFF_RATER_PREFIX
from model_store.contract.tokenizer import Tokenizer
from model_store.phrases import PhraseBook
from model_store.sampling import OPENING_MIN_P
from model_store.shares import Count
from training import distributed
from training.data.feedback_rows import FeedbackRow, parse_row
from training.data.prompts import Prompt, build_prompt
from training.errors import InvalidFeedbackDataError
from training.evaluation.foresight.off_policy import WeighedRatings
from training.reformer.decoder import (
    BANNED_LOGIT,
    drawing_distribution,
    left_open,
    opening_distribution,
    sample_completions,
)
from training.reformer.heads import RewardModel, score_batches
from training.reformer.model import ReformerPolicy
from training.rlhf.logprobs import completion_distributions, pack_completions

_BATCH_SIZE = 32
_MAX_REPLIES = 1000
"""The newest: two completions of the candidate are drawn beside each."""
_NUM_DRAWN = 2


@dataclass(frozen=True, slots=True)
class LoggedReply:
    """A reply that a model drew and a customer rated."""

    conversation_id: str
    prompt: Prompt
    token_ids: tuple[int, ...]
    logprob: float
    """Natural log of the probability that it was drawn with, whole."""
    temperature: float
    top_p: float
    is_plan_pinned: bool
    """Whether its first token is taken to be the candidate's too: a rule settled it, or the intent model had a say."""
    is_up: bool


def read_logged(
    rows: Iterable[Mapping[str, Any]], tokenizer: Tokenizer, conversations: Collection[str], *, max_positions: int
) -> list[LoggedReply]:
    """Usable replies of these conversations, the newest, in the rows' order.

    Rows that cannot be read are left out: who curates counts them.
    """
    known = frozenset(conversations)
    found = [
        reply
        for raw in rows
        if raw.get("conversation_id") in known
        and (reply := _logged(raw, tokenizer)) is not None
        and len(reply.prompt.token_ids) + len(reply.token_ids) <= max_positions
    ]
    return found[-_MAX_REPLIES:]


def _logged(raw: Mapping[str, Any], tokenizer: Tokenizer) -> LoggedReply | None:
    """None for a reply that tells nothing about other models."""
    try:
        row = parse_row(raw)
        logprobs = [float(value) for value in json.loads(str(raw["token_logprobs"]))]
        sampling = dict(json.loads(str(raw["sampling"])))
        temperature, top_p = float(sampling.get("temperature", 0.0)), float(sampling.get("top_p", 1.0))
        is_plain = sampling.get("top_k", 0) == 0 and sampling.get("repetition_penalty", 1.0) == 1.0
    except (InvalidFeedbackDataError, KeyError, TypeError, ValueError):
        return None
    is_whole = len(logprobs) == len(row.completion_token_ids) > 0
    is_known = all(0 <= token_id < tokenizer.vocab_size for token_id in row.completion_token_ids)
    if not (is_whole and is_known and is_plain and temperature > 0 and _is_a_customers(row)):
        return None
    if "intent_model" in sampling:
        logprobs = logprobs[1:]
    return LoggedReply(
        conversation_id=row.conversation_id,
        prompt=build_prompt(row.messages, tokenizer),
        token_ids=row.completion_token_ids,
        logprob=sum(logprobs),
        temperature=temperature,
        top_p=top_p,
        is_plan_pinned=bool(sampling.get("is_plan_pinned")) or "intent_model" in sampling,
        is_up=row.is_up,
    )


def _is_a_customers(row: FeedbackRow) -> bool:
    return bool(row.messages) and not row.is_rule_reply and not row.rater.startswith(STAFF_RATER_PREFIX)


def rated_conversations(rows: Iterable[Mapping[str, Any]], model_digest: str) -> Count:
    """Customers' thumbs on a version's replies, the first of each conversation: the canary counts the same way."""
    votes: dict[tuple[str, str], bool] = {}
    rated = [row for row in rows if row.get("model_digest") == model_digest and row.get("rating") in ("up", "down")]
    for row in sorted(rated, key=lambda row: (str(row.get("rated_at")), str(row.get("completion_id")))):
        if not str(row.get("rater")).startswith(STAFF_RATER_PREFIX):
            conversation = (str(row.get("tenant")), str(row.get("conversation_id")))
            votes.setdefault(conversation, row["rating"] == "up")
    return Count(sum(votes.values()), len(votes))


def weigh(
    replies: Sequence[LoggedReply],
    candidate: ReformerPolicy,
    reward_model: RewardModel,
    *,
    max_new_tokens: int,
    seed: int,
) -> WeighedRatings:
    """What each rating is worth for a candidate. Draws its own replies to the same prompts for the reward model."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(reply.conversation_id for reply in replies))}
    logprobs = served_logprobs(candidate, replies)
    logged = np.array([reply.logprob for reply in replies])
    drawn = _draw(candidate, replies, max_new_tokens=max_new_tokens, seed=seed)
    scores = score_batches(reward_model, [[*reply.prompt.token_ids, *reply.token_ids] for reply in replies])
    own = score_batches(reward_model, [[*prompt, *completion] for prompt, completion in drawn])
    return WeighedRatings(
        conversations=np.array([numbers[reply.conversation_id] for reply in replies], np.int64),
        weights=np.exp(np.array(logprobs) - logged),
        ups=np.array([float(reply.is_up) for reply in replies]),
        predicted=scores.sigmoid().double().numpy(),
        expected=own.sigmoid().double().reshape(_NUM_DRAWN, len(replies)).mean(0).numpy(),
    )


@torch.no_grad()
def served_logprobs(policy: ReformerPolicy, replies: Sequence[LoggedReply]) -> list[float]:
    """The log-probability of drawing each reply from a policy that is served; -inf for one that cannot be drawn.

    Several processes share the replies.
    """
    was_training = policy.training
    policy.eval()
    own = distributed.own_rows(len(replies))
    order = sorted(own, key=lambda index: _sampling(replies[index]))
    found = [0.0] * len(replies)
    for (temperature, top_p), indices in groupby(order, key=lambda index: _sampling(replies[index])):
        for chunk in _chunks(list(indices)):
            chosen = [replies[index] for index in chunk]
            for index, nats in zip(chunk, _batch_logprobs(policy, chosen, temperature, top_p), strict=True):
                found[index] = nats
    policy.train(was_training)
    return distributed.gather([found[index] for index in own], len(replies))


def _batch_logprobs(
    policy: ReformerPolicy, replies: Sequence[LoggedReply], temperature: float, top_p: float
) -> Iterator[float]:
    batch = pack_completions(
        [reply.prompt.token_ids for reply in replies],
        [reply.token_ids for reply in replies],
        [reply.prompt.banned_ids for reply in replies],
        int(policy.config.vocab_size),
        opening_ids=[reply.prompt.opening_ids for reply in replies],
    )
    at_one = completion_distributions(policy, batch, 1.0)
    start = 0
    for reply in replies:
        rows = at_one[start : start + len(reply.token_ids)]
        start += len(reply.token_ids)
        if policy.phrases is not None:
            rows = _kept_to(policy.phrases, rows, reply)
        probabilities = drawing_distribution(rows, temperature=temperature, top_p=top_p)
        if reply.prompt.opening_ids:
            probabilities[0] = opening_distribution(
                rows[:1], temperature=temperature, top_p=top_p, min_p=OPENING_MIN_P
            )[0]
        nats = probabilities.gather(1, torch.tensor(reply.token_ids)[:, None])[:, 0].log()
        yield float(nats[1:].sum() if reply.is_plan_pinned else nats.sum())


def _kept_to(book: PhraseBook, rows: Tensor, reply: LoggedReply) -> Tensor:
    """Logits [tokens, V] of a reply, kept to the authors' phrases as far as it is no plan, which may not be closed."""
    place, kept = book.open(reply.prompt.banned_ids, reply.prompt.token_ids), []
    for number, (token_id, row) in enumerate(zip(reply.token_ids, rows, strict=True)):
        is_plan = number == 0 and bool(reply.prompt.opening_ids)
        if is_plan:
            closed = sorted(reply.prompt.opening_ids - left_open(place, reply.prompt.opening_ids))
            kept.append(row.index_fill(0, torch.tensor(closed, dtype=torch.long), BANNED_LOGIT))
        else:
            kept.append(torch.from_numpy(place.keep(row.numpy())))
        place.append(token_id)
    return torch.stack(kept)


def _draw(
    policy: ReformerPolicy, replies: Sequence[LoggedReply], *, max_new_tokens: int, seed: int
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """`_NUM_DRAWN` rounds of one completion to every prompt, as the service would draw it."""
    drawn: dict[int, tuple[int, ...]] = {}
    repeated = [reply for _ in range(_NUM_DRAWN) for reply in replies]
    order = sorted(range(len(repeated)), key=lambda index: _sampling(repeated[index]))
    for (temperature, top_p), group in groupby(order, key=lambda index: _sampling(repeated[index])):
        indices = list(group)
        prompts = [repeated[index].prompt for index in indices]
        samples = sample_completions(
            policy,
            [prompt.token_ids for prompt in prompts],
            banned_ids=[prompt.banned_ids for prompt in prompts],
            opening_ids=[prompt.opening_ids for prompt in prompts],
            temperature=temperature,
            top_p=top_p,
            opening_min_p=OPENING_MIN_P,
            max_new_tokens=max_new_tokens,
            seed=seed,
        )
        drawn.update(zip(indices, (sample.token_ids for sample in samples), strict=True))
    return [(reply.prompt.token_ids, drawn[index]) for index, reply in enumerate(repeated)]


def _sampling(reply: LoggedReply) -> tuple[float, float]:
    return reply.temperature, reply.top_p


def _chunks(indices: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(indices), _BATCH_SIZE):
        yield indices[start : start + _BATCH_SIZE]
