"""The explanation of one stored completion: its reward by term, its words by their shares, the ratings behind it.

Texts are masked, as stored. Shares are of the reward model's mean score: the terms around it are read off the words by
rules and say themselves what they found. How it is drawn: `page`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from pydantic import BaseModel, ConfigDict

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from model_store.knowledge.rated_replies import RatedReply, RatedReplySearch
from training.config import TrainingConfig
from training.data.feedback_rows import RawRow
from training.data.prompts import build_prompt
from training.errors import InvalidFeedbackDataError
from training.evaluation.explanations.attributions import attribute
from training.evaluation.explanations.words import Word, words_of
from training.evaluation.rewarding.composite import CompositeReward
from training.reformer.decoder import Sample
from training.reformer.heads import RewardModel, score_heads
from training.rlhf.rewards import RewardTerms

NUM_NEIGHBOURS = 5


class Neighbour(BaseModel):
    """A rated reply that resembles the one explained."""

    model_config = ConfigDict(frozen=True)

    completion_id: str
    rating: str
    reasons: tuple[str, ...]
    message: str
    reply: str
    correction: str | None


class Explanation(BaseModel):
    """What a completion earned and why. `probability` is that of a thumb up, `spread` the heads' disagreement."""

    model_config = ConfigDict(frozen=True)

    completion_id: str
    language: str
    messages: tuple[Mapping[str, str], ...]
    completion: str
    plan: str | None
    score: float
    probability: float
    spread: float
    pessimistic_score: float
    terms: dict[str, float]
    reward: float
    words: tuple[Word, ...]
    """Of the whole conversation, the completion last; their shares and `score_without_words` sum up to the score."""
    score_without_words: float
    attribution_error: float
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class StoredCompletion:
    """What the service stored of a completion; masked."""

    completion_id: str
    language: str
    messages: tuple[Message, ...]
    text: str
    token_ids: tuple[int, ...]

    @classmethod
    def from_row(cls, row: RawRow) -> "StoredCompletion":
        """Reads a row of a view or an export. Raises InvalidFeedbackDataError."""
        completion_id = str(row.get("completion_id"))
        try:
            messages = tuple(Message.from_dict(each) for each in json.loads(str(row["prompt_messages"])))
            token_ids = tuple(int(token_id) for token_id in json.loads(str(row["completion_token_ids"])))
            return cls(completion_id, str(row["language"]), messages, str(row["completion_text"]), token_ids)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidFeedbackDataError(completion_id=completion_id, problem=repr(error)) from error


class Explainer:
    """Explains with one run's reward model, its configuration and the ratings that are stored."""

    def __init__(
        self, model: RewardModel, tokenizer: Tokenizer, config: TrainingConfig, rated: Sequence[RatedReply]
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._config = config
        self._reward = CompositeReward(model, tokenizer, config)
        self._rated = RatedReplySearch(rated)

    def explain(self, stored: StoredCompletion) -> Explanation:
        """Takes seconds. Raises InvalidFeedbackDataError for a completion that this network cannot read."""
        token_ids = self._token_ids(stored)
        prompt = build_prompt(stored.messages, self._tokenizer)
        sequence = [*prompt.token_ids, *token_ids]
        longest = int(self._model.trunk.config.max_position_embeddings)
        if not stored.messages or not token_ids or len(sequence) > longest:
            problem = f"it has {len(sequence)} tokens, and {longest} are the most that can be explained"
            raise InvalidFeedbackDataError(completion_id=stored.completion_id, problem=problem)
        (terms,) = self._reward([prompt], [Sample(token_ids, (), token_ids[-1] == EOS_ID)])
        heads = score_heads(self._model, [sequence])[0]
        spread = float(heads.std(correction=0))
        shares = attribute(self._model, sequence)
        return Explanation(
            completion_id=stored.completion_id,
            language=stored.language,
            messages=tuple(message.as_dict() for message in stored.messages),
            completion=stored.text,
            plan=self._tokenizer.plan_of(token_ids),
            score=shares.score,
            probability=float(torch.sigmoid(torch.tensor(shares.score))),
            spread=spread,
            pessimistic_score=shares.score - self._config.reward.pessimism * spread,
            terms={field.name: float(getattr(terms, field.name)) for field in fields(RewardTerms)},
            reward=terms.total,
            words=words_of(sequence, shares.by_token, self._tokenizer),
            score_without_words=shares.score_without_words,
            attribution_error=shares.error,
            neighbours=self._neighbours(stored),
        )

    def _token_ids(self, stored: StoredCompletion) -> tuple[int, ...]:
        """The sampled tokens; written anew where another vocabulary made them, or none were stored."""
        known = self._tokenizer.vocab_size
        if stored.token_ids and max(stored.token_ids) < known:
            if self._tokenizer.decode(stored.token_ids).strip() == stored.text.strip():
                return stored.token_ids
        return (*self._tokenizer.encode(stored.text), EOS_ID)

    def _neighbours(self, stored: StoredCompletion) -> tuple[Neighbour, ...]:
        found = self._rated.nearest(
            last_said(stored.messages),
            stored.text,
            stored.language,
            limit=NUM_NEIGHBOURS,
            but_for=stored.completion_id,
        )
        return tuple(
            Neighbour(
                completion_id=each.completion_id,
                rating=each.rating,
                reasons=each.reasons,
                message=each.message,
                reply=each.reply,
                correction=each.correction,
            )
            for each in found
        )


def rated_replies(rows: Sequence[RawRow]) -> list[RatedReply]:
    """Rows of the view `training_examples` or of an export, the newest last; unreadable ones are left out."""
    found = []
    for row in sorted(rows, key=lambda each: str(each.get("rated_at"))):
        try:
            stored = StoredCompletion.from_row(row)
            reasons = tuple(str(reason) for reason in json.loads(str(row.get("reasons") or "[]")))
        except (InvalidFeedbackDataError, ValueError):
            continue
        found.append(
            RatedReply(
                stored.completion_id,
                stored.language,
                last_said(stored.messages),
                stored.text,
                str(row.get("rating")),
                reasons,
                row.get("correction") or None,
            )
        )
    return found


def last_said(messages: Sequence[Message]) -> str:
    """What the customer said last; "" where nobody did."""
    return next((message.content for message in reversed(messages) if message.role is Role.USER), "")
