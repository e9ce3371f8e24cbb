"""Countings over turns: lengths, personal data, and claims in replies. Each sees one turn at a time."""

from collections import Counter

from pydantic import BaseModel, ConfigDict

from model_store.contract.placeholders import ENTITY_TYPES, REDACTED, entity_type_of, split_masked
from training.data.cleaning.claims import claims_in_words
from training.data.cleaning.wording import reply_sentences


class Summary(BaseModel):
    """The middle, the ninetieth percentile and the greatest of some numbers."""

    model_config = ConfigDict(frozen=True)

    median: int
    p90: int
    max: int


class PersonalData(BaseModel):
    """How often a type of personal data stands in the texts."""

    model_config = ConfigDict(frozen=True)

    found: int
    """In the clear; training masks it when it reads the rows."""
    masked: int
    """As a placeholder, masked when the rows were imported."""


class Replies(BaseModel):
    """What cleaning would do to the agents' turns."""

    model_config = ConfigDict(frozen=True)

    num_replies: int
    num_with_claims: int
    """Replies of which a sentence claims an action or a status that the bot cannot know."""
    num_emptied: int
    """Replies of which cleaning leaves nothing."""


class Lengths:
    """A histogram; its size is that of the different lengths."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, length: int) -> None:
        """Counts one length."""
        self._counts[length] += 1

    @property
    def total(self) -> int:
        """The sum of all lengths."""
        return sum(length * count for length, count in self._counts.items())

    @property
    def summary(self) -> Summary:
        """Zeros where nothing was counted."""
        return Summary(median=self._percentile(0.5), p90=self._percentile(0.9), max=max(self._counts, default=0))

    def _percentile(self, share: float) -> int:
        """The least length that at least this share of all does not exceed."""
        wanted, seen = share * self._counts.total(), 0
        for length in sorted(self._counts):
            seen += self._counts[length]
            if seen >= wanted:
                return length
        return 0


class PersonalDataCounter:
    """Counts entities by type, before and after masking."""

    def __init__(self) -> None:
        self._before: Counter[str] = Counter()
        self._after: Counter[str] = Counter()

    def add(self, text: str, masked: str) -> None:
        """Counts a text and what the masker makes of it."""
        self._before.update(_entity_types(text))
        self._after.update(_entity_types(masked))

    @property
    def by_type(self) -> dict[str, PersonalData]:
        """The types that stand in the texts, in the contract's order; `REDACTED` is what ran out of numbers."""
        return {
            name: PersonalData(found=self._after[name] - self._before[name], masked=self._before[name])
            for name in (*ENTITY_TYPES, REDACTED[1:-1])
            if self._after[name]
        }


class ReplyCounter:
    """Counts replies by what cleaning would drop of them."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, reply: str) -> None:
        """Counts one agent's turn."""
        self._counts["replies"] += 1
        claims = [bool(claims_in_words(sentence)) for sentence in reply_sentences(reply)]
        self._counts["claims"] += any(claims)
        self._counts["emptied"] += all(claims)

    @property
    def replies(self) -> Replies:
        """The counts so far."""
        return Replies(
            num_replies=self._counts["replies"],
            num_with_claims=self._counts["claims"],
            num_emptied=self._counts["emptied"],
        )


def _entity_types(masked: str) -> list[str]:
    placeholders = [segment.text for segment in split_masked(masked) if segment.is_placeholder]
    types = (REDACTED[1:-1] if text == REDACTED else entity_type_of(text) for text in placeholders)
    return [name for name in types if name]
