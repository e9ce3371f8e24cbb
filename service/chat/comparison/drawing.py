"""Drawing: what a version says to a prompt, made by the serving engine as for a customer, and recorded nowhere."""

from concurrent.futures import Future
from dataclasses import dataclass

from model_store.contract.conversation import Message
from model_store.sampling import DEFAULT_TOP_P
from service.chat.chatbot import Chatbot
from service.chat.model_router import LoadedModel
from service.chat.reply import ChatRequest
from service.chat.reply_events import ReplyDelta
from service.errors import CompletionFailedError
from service.records.store import Claim, CompletionRecord


@dataclass(frozen=True, slots=True)
class DrawnReply:
    """A reply as a customer would have read it, and the record that would have been kept of it, masked."""

    text: str
    record: CompletionRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What to draw. `is_masked`: the messages come from the records. The same draw gives the same reply."""

    messages: tuple[Message, ...]
    temperature: float = 0.0
    seed: int = 0
    is_masked: bool = False


class _Hand:
    """Takes the completion that would have been recorded."""

    def __init__(self) -> None:
        self.record: CompletionRecord | None = None

    async def record_completion(self, completion: CompletionRecord, claim: Claim | None = None) -> str:
        """Keeps it until it is looked at; nobody can rate it."""
        self.record = completion
        return ""

    def release(self, claim: Claim) -> Future[None]:
        """There are no claims here."""
        released: Future[None] = Future()
        released.set_result(None)
        return released

    def note_first_token(self, seconds: float) -> None:
        """No customer has waited for it."""


async def draw_reply(chatbot: Chatbot, model: LoadedModel, wanted: Draw) -> DrawnReply:
    """The version's reply. Raises what `Chatbot.draw` and the reply's events raise."""
    request = ChatRequest(
        model=model.digest,
        messages=wanted.messages,
        temperature=wanted.temperature,
        top_p=DEFAULT_TOP_P,
        seed=wanted.seed,
        is_masked=wanted.is_masked,
    )
    hand = _Hand()
    reply = await chatbot.draw(request, model, hand)
    try:
        pieces = [event.text async for event in reply.events() if isinstance(event, ReplyDelta)]
    finally:
        reply.cancel()
    if hand.record is None:
        raise CompletionFailedError()
    return DrawnReply("".join(pieces), hand.record)
