"""What the console may ask for: filters, pages, and the cursors between them. Validation only."""

import base64
import binascii
import json
from datetime import datetime
from typing import Annotated, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from model_store.contract.feedback import REASON_PATTERN
from model_store.intents.sentiment import Sentiment
from service.api.schemas import SafeText
from service.errors import InvalidValueError
from service.records.review.replies import QueuePlace, ReplyPlace
from service.records.review.reply_filter import ReplyFilter

MAX_PAGE = 100
TAG_PATTERN = r"^\p{L}[\p{L} _-]{0,39}$"
"""Letters of any script, and no digit: a tag is a word, not somebody's number."""
_DEFAULT_PAGE = 30
_MAX_CURSOR_CHARS = 256
_MAX_TEXT_CHARS = 200

_Id = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_REPLY_PLACE: TypeAdapter[tuple[datetime, str]] = TypeAdapter(tuple[AwareDatetime, _Id])
_QUEUE_PLACE: TypeAdapter[tuple[int, float, datetime, str]] = TypeAdapter(
    tuple[Annotated[int, Field(ge=0, le=1)], _Share, AwareDatetime, _Id]
)
Place = TypeVar("Place")


class FilterQuery(BaseModel):
    """A filter as query parameters; what is left out is not asked about."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    q: Annotated[SafeText, StringConstraints(min_length=1, max_length=_MAX_TEXT_CHARS)] | None = None
    rating: Literal["up", "down", "none"] | None = None
    reason: Annotated[str, StringConstraints(pattern=REASON_PATTERN)] | None = None
    corrected: bool | None = None
    version: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8,64}$")] | None = None
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,8}$")] | None = None
    tag: Annotated[str, StringConstraints(pattern=TAG_PATTERN)] | None = None
    plan: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_/-]{1,100}$")] | None = None
    sentiment: Sentiment | None = None
    hand_over: bool | None = None
    safety: bool | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None

    def to_filter(self, tenant: str) -> ReplyFilter:
        """The filter, for one tenant."""
        return ReplyFilter(
            tenant=tenant,
            text=self.q,
            rating=self.rating,
            reason=self.reason,
            is_corrected=self.corrected,
            model_digest=self.version,
            language=self.language,
            tag=self.tag,
            plan=self.plan,
            sentiment=self.sentiment,
            is_hand_over=self.hand_over,
            is_safety=self.safety,
            since=self.since,
            until=self.until,
        )


class PageQuery(FilterQuery):
    """A filter, and which page of what it finds."""

    limit: int = Field(default=_DEFAULT_PAGE, ge=1, le=MAX_PAGE)
    cursor: Annotated[str, StringConstraints(max_length=_MAX_CURSOR_CHARS)] | None = None


def write_cursor(place: ReplyPlace | QueuePlace) -> str:
    """A place as clients keep it."""
    parts = [part.isoformat() if isinstance(part, datetime) else part for part in place]
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def read_reply_place(cursor: str | None) -> ReplyPlace | None:
    """Where a page of conversations begins. Raises InvalidValueError for what was not given out."""
    return None if cursor is None else ReplyPlace(*_read(cursor, _REPLY_PLACE))


def read_queue_place(cursor: str | None) -> QueuePlace | None:
    """Where a page of the queue begins. Raises InvalidValueError for what was not given out."""
    return None if cursor is None else QueuePlace(*_read(cursor, _QUEUE_PLACE))


def _read(cursor: str, shape: TypeAdapter[Place]) -> Place:
    try:
        return shape.validate_json(base64.urlsafe_b64decode(cursor))
    except (binascii.Error, ValueError) as error:  # pydantic's own error is a ValueError
        raise InvalidValueError(param="cursor", problem="Send a next_cursor as it was given.") from error
