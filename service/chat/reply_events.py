"""What a reply shows of itself, whoever makes it: its head, pieces of text, and the end of each choice."""

from dataclasses import dataclass
from datetime import datetime

from service.chat.decoding import TokenLogprob
from service.records.store import FinishReason

FINISH_FIELDS = ("plan", "plan_confidence", "rule", "quick_replies")
"""What of a record's `sampling` is told with the end of a choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyHead:
    """What is known of a reply before its first word."""

    completion_ids: tuple[str, ...]
    conversation_id: str
    created_at: datetime
    model_name: str
    model_digest: str


@dataclass(frozen=True, slots=True)
class ReplyDelta:
    """A piece of one choice: text to show and, where asked for, the tokens that brought it."""

    choice_index: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplyFinish:
    """The end of one choice; it is recorded by now."""

    choice_index: int
    completion_id: str
    finish_reason: FinishReason
    feedback_token: str
    plan: str | None = None
    """What the model set out to say; None for a rule that ran before it, and for a model that does not plan."""
    plan_confidence: float | None = None
    rule: str | None = None
    """The rule whose fixed text was said instead of the model's words, if one was."""
    quick_replies: list[str] | None = None
