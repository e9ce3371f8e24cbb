"""What a learning run thought of the ratings: which it set aside and why, and what it knows of each rater.

Written by training's stage `curate`, kept on the shelf, shown by the service at /review/ratings. Ids and figures only,
of texts single words at most. What a person decides about a rating goes the other way, in the view
`training_examples` (`gold`, `ruling`).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from model_store.contract.feedback import Rating

Reason = Literal[
    "staff", "contradicts_gold", "unreliable_rater", "flood", "burst", "poison_phrase", "copied_remark", "repeated"
]
REASON_WORDS: Mapping[str, str] = {
    "staff": "Somebody of the staff set it aside.",
    "contradicts_gold": "It says the opposite of what the staff calls the truth about this reply.",
    "unreliable_rater": "This rater is surely wrong more often than right.",
    "flood": "This rater gave too many ratings within a day.",
    "burst": "This rater gave ratings faster than anybody reads.",
    "poison_phrase": "It holds a phrase that the operator calls poison.",
    "copied_remark": "Several raters sent the same remark, word for word.",
    "repeated": "This rater said the same about the same words before.",
}
"""Every reason, as people read it."""
TraitKind = Literal["asks", "likes_asked", "dislikes_asked", "likes", "dislikes", "likes_all", "dislikes_all", "often"]
TRAIT_WORDS: Mapping[TraitKind, str] = {
    "asks": "They say {word}.",
    "likes_asked": "They rate up what answers {word}.",
    "dislikes_asked": "They rate down what answers {word}.",
    "likes": "They rate up replies with {word}.",
    "dislikes": "They rate down replies with {word}.",
    "likes_all": "They rate everything up.",
    "dislikes_all": "They rate everything down.",
    "often": "They rate far more often than others do.",
}
"""What all but every rating of a group has, as people read it."""
MAX_SET_ASIDE = 5_000
MAX_RATERS = 5_000
MAX_GROUPS = 50
MAX_GROUP_RATERS = 100


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class SetAside(_Record):
    """A rating that was not learned from."""

    tenant: str
    completion_id: str
    rater: str
    rating: Rating
    rated_at: str
    reasons: tuple[Reason, ...]


class RaterFigures(_Record):
    """What is known of a rater; a rating that was set aside is in these numbers too."""

    tenant: str
    rater: str
    num_ratings: int
    num_up: int
    num_set_aside: int
    num_compared: int
    """Ratings of words about which most of the others said the same."""
    num_agreed: int
    """Of these, how many said what most of the others said."""
    num_gold: int
    """Ratings of words about which the staff knows the truth."""
    num_gold_right: int
    reliability: float = Field(ge=0, le=1)
    """Estimated probability that a rating of this rater is right."""
    weight: float = Field(ge=0)
    """What all ratings of this rater together counted."""


class RaterName(_Record):
    """Who it is."""

    tenant: str
    rater: str


class GroupFigures(_Record):
    """Accounts that rate as if they were one, and weighed more than their share."""

    raters: tuple[RaterName, ...] = Field(max_length=MAX_GROUP_RATERS)
    num_raters: int
    kind: TraitKind
    word: str | None
    """Of the bot, or one that many people use; None: one of the group's own, or none at all."""
    share_of_raters: float = Field(ge=0, le=1)
    weight_before: float = Field(ge=0)
    weight: float = Field(ge=0)
    share_of_weight: float = Field(ge=0, le=1)


class CurationReport(_Record):
    """One run's curation. Lists are cut at their ends; the numbers are whole."""

    made_at: datetime
    num_ratings: int
    num_set_aside: int
    total_weight: float
    by_reason: dict[Reason, int]
    set_aside: tuple[SetAside, ...] = Field(max_length=MAX_SET_ASIDE)
    """The newest first."""
    raters: tuple[RaterFigures, ...] = Field(max_length=MAX_RATERS)
    """Who rated most first."""
    groups: tuple[GroupFigures, ...] = Field((), max_length=MAX_GROUPS)
    """Those that lost most first."""
