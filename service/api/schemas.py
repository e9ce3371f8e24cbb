"""What clients may send: OpenAI's chat completions, and feedback. Validation only; nothing is decided here.

Fields that OpenAI's clients send and that change nothing here are ignored; those that would change the completion and
cannot be honoured are refused, never silently dropped.
"""

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from model_store.contract.conversation import Message, Role
from model_store.contract.feedback import (
    MAX_COMMENT_CHARS,
    MAX_CORRECTION_CHARS,
    MAX_REASONS,
    REASON_PATTERN,
    Rating,
)
from model_store.sampling import DEFAULT_TEMPERATURE, DEFAULT_TOP_P
from service.chat.decoding import UNSAFE_CHARACTERS
from service.chat.reply import ChatRequest
from service.errors import InvalidValueError

MAX_CHOICES = 8
_UNSUPPORTED_FIELDS = ("tools", "functions", "logit_bias", "audio", "web_search_options")
_NEUTRAL_VALUES: dict[str, tuple[object, ...]] = {
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}


def _clean_text(text: str) -> str:
    """NFC, with line ends as \\n. Lone surrogates, NUL and control characters are refused."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if UNSAFE_CHARACTERS.search(text):
        raise PydanticCustomError("unsafe_text", "The text holds control characters or lone surrogates. Remove them.")
    return unicodedata.normalize("NFC", text)


SafeText = Annotated[str, AfterValidator(_clean_text)]
"""Text that every part of the service can hold: NFC, no lone surrogates, no C0 or C1 controls but tab and line feed."""

_Finite = Annotated[float, Field(allow_inf_nan=False)]
CONVERSATION_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,64}$"
ConversationId = Annotated[str, StringConstraints(pattern=CONVERSATION_ID_PATTERN)]
_Stop = Annotated[SafeText, StringConstraints(min_length=1, max_length=64)]


# A union that is told apart by shape has one error, of the branch that was meant.
_BY_SHAPE = Discriminator(lambda value: "<several>" if isinstance(value, list) else "<one>")


class _Schema(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class TextPart(_Schema):
    """A part of a message's content; text is the only kind."""

    type: Literal["text"]
    text: SafeText


class RequestMessage(_Schema):
    """One message; `developer` is another word for `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        Annotated[SafeText, Tag("<one>")]
        | Annotated[list[TextPart], Field(min_length=1, max_length=64), Tag("<several>")],
        _BY_SHAPE,
    ]

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)

    def to_message(self) -> Message:
        """The message in the domain's words."""
        return Message(Role.SYSTEM if self.role == "developer" else Role(self.role), self.text)


class StreamOptions(_Schema):
    """What else a stream holds."""

    include_usage: bool = False


class RequestMetadata(_Schema):
    """The one key of OpenAI's metadata that means something here."""

    conversation_id: ConversationId | None = None


class ChatCompletionRequest(_Schema):
    """The body of POST /v1/chat/completions. `top_k`, `repetition_penalty` and `conversation_id` are extensions.

    `metadata.conversation_id` only names the conversation, whose messages all are here, as OpenAI's clients send them.
    `conversation_id` continues one that the service keeps: `messages` are what is new.
    """

    model: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    messages: Annotated[list[RequestMessage], Field(min_length=1)]
    conversation_id: ConversationId | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stop: (
        Annotated[
            Annotated[_Stop, Tag("<one>")] | Annotated[list[_Stop], Field(max_length=4), Tag("<several>")], _BY_SHAPE
        ]
        | None
    ) = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    temperature: Annotated[_Finite, Field(ge=0, le=2)] | None = None
    top_p: Annotated[_Finite, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=1, le=100_000)] | None = None
    repetition_penalty: Annotated[_Finite, Field(ge=0.5, le=2)] | None = None
    frequency_penalty: _Finite | None = None
    presence_penalty: _Finite | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    user: Annotated[SafeText, StringConstraints(max_length=256)] | None = None
    safety_identifier: Annotated[SafeText, StringConstraints(max_length=256)] | None = None
    metadata: RequestMetadata | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, data: Any) -> Any:
        if isinstance(data, dict):
            names = [name for name in _UNSUPPORTED_FIELDS if data.get(name)]
            names += [name for name, neutral in _NEUTRAL_VALUES.items() if data.get(name, None) not in (None, *neutral)]
            if names:
                raise _unsupported(names[0])
        return data

    @field_validator("frequency_penalty", "presence_penalty")
    @classmethod
    def _refuse_penalties(cls, value: float | None) -> float | None:
        if value:
            raise PydanticCustomError(
                "unsupported_parameter", "This model does not support it; use repetition_penalty, or leave it out."
            )
        return value

    @model_validator(mode="after")
    def _check_logprobs(self) -> "ChatCompletionRequest":
        if self.top_logprobs is not None and not self.logprobs:
            raise PydanticCustomError("invalid_value", "top_logprobs needs logprobs to be true.")
        return self

    @model_validator(mode="after")
    def _check_conversation(self) -> "ChatCompletionRequest":
        named = self.metadata.conversation_id if self.metadata else None
        if self.conversation_id is not None and named not in (None, self.conversation_id):
            raise PydanticCustomError("invalid_value", "conversation_id and metadata name two conversations. Send one.")
        return self

    @property
    def has_usage_delta(self) -> bool:
        """Whether a stream ends with a piece that holds only the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def to_chat_request(self, *, max_messages: int, max_message_chars: int) -> ChatRequest:
        """The request in the domain's words. Raises InvalidValueError for empty, over-long or too many messages."""
        if len(self.messages) > max_messages:
            raise InvalidValueError(param="messages", problem=f"More than {max_messages} messages. Send fewer.")
        for index, message in enumerate(self.messages):
            _check_message(f"messages.{index}.content", message, max_message_chars)
        return ChatRequest(
            model=self.model,
            messages=tuple(message.to_message() for message in self.messages),
            temperature=DEFAULT_TEMPERATURE if self.temperature is None else self.temperature,
            top_p=DEFAULT_TOP_P if self.top_p is None else self.top_p,
            top_k=self.top_k or 0,
            repetition_penalty=self.repetition_penalty or 1.0,
            seed=self.seed,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            num_choices=self.n or 1,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            num_top_logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            conversation_id=self.conversation_id or (self.metadata.conversation_id if self.metadata else None),
            is_continued=self.conversation_id is not None,
            user=self.safety_identifier or self.user,
        )


class FeedbackRequest(_Schema):
    """The body of POST /v1/feedback; `rating` null withdraws."""

    completion_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
    feedback_token: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,1024}$")]
    rating: Rating | None
    reasons: Annotated[
        list[Annotated[str, StringConstraints(pattern=REASON_PATTERN)]], Field(max_length=MAX_REASONS)
    ] = []
    comment: Annotated[SafeText, StringConstraints(max_length=MAX_COMMENT_CHARS)] | None = None
    correction: Annotated[SafeText, StringConstraints(max_length=MAX_CORRECTION_CHARS)] | None = None


def _unsupported(name: str) -> PydanticCustomError:
    return PydanticCustomError(
        "unsupported_parameter", "This model does not support {name}. Leave it out.", {"name": name}
    )


def _check_message(param: str, message: RequestMessage, max_message_chars: int) -> None:
    if not message.text.strip():
        raise InvalidValueError(param=param, problem="The message is empty. Write something.")
    if len(message.text) > max_message_chars:
        raise InvalidValueError(
            param=param, problem=f"The message is longer than {max_message_chars} characters. Shorten it."
        )
