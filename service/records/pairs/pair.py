"""A pair as a plain value, and what is counted of many."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from model_store.contract.conversation import Message
from model_store.contract.feedback import Choice


@dataclass(frozen=True, slots=True)
class PairedReply:
    """One side of a pair; masked. No token ids: a rule gave the reply."""

    model_digest: str
    text: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencePair:
    """Two replies in the order in which one rater sees them, and the rater's choice once it is made."""

    id: str
    tenant: str
    completion_id: str
    rater: str
    first: PairedReply
    second: PairedReply
    offered_at: datetime
    choice: Choice | None = None
    chosen_at: datetime | None = None


class PairPrompt(NamedTuple):
    """A recorded prompt that two versions can answer; masked."""

    completion_id: str
    language: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class PairCounts:
    """How often each of two versions was preferred, a prompt counted once: by the first choice that was made of it."""

    num_first: int
    num_second: int
    num_ties: int

    @property
    def num_decided(self) -> int:
        """Prompts of which one version's reply was preferred."""
        return self.num_first + self.num_second


def count_wins(rows: Sequence[tuple[str, str | None]], second: str) -> PairCounts:
    """Counts winners: `rows` are (completion, the digest of the preferred version, or None for a tie), oldest first."""
    by_prompt: dict[str, str | None] = {}
    for completion_id, winner in rows:
        by_prompt.setdefault(completion_id, winner)
    num_ties = sum(winner is None for winner in by_prompt.values())
    num_second = sum(winner == second for winner in by_prompt.values())
    return PairCounts(len(by_prompt) - num_ties - num_second, num_second, num_ties)
