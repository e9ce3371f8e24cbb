"""A replay: what a recorded completion said, told again to who sends the same request again."""

from collections.abc import AsyncIterator

from service.chat.reply import Reply
from service.chat.reply_events import FINISH_FIELDS, ReplyDelta, ReplyFinish, ReplyHead
from service.records.store import CompletionRecord


class ReplayedReply(Reply):
    """A reply of one choice that is over: nothing is made and nothing is recorded."""

    def __init__(self, completion: CompletionRecord, model_name: str, text: str, feedback_token: str) -> None:
        """`text`: what the completion reads as, its values put back."""
        head = ReplyHead(
            completion_ids=(completion.id,),
            conversation_id=completion.conversation_id,
            created_at=completion.created_at,
            model_name=model_name,
            model_digest=completion.model_digest,
        )
        super().__init__(head, completion.num_prompt_tokens)
        self._completion = completion
        self._text = text
        self._feedback_token = feedback_token

    @property
    def is_replay(self) -> bool:
        """See `Reply.is_replay`."""
        return True

    async def events(self) -> AsyncIterator[ReplyDelta | ReplyFinish]:
        """See `Reply.events`."""
        completion = self._completion
        about = {key: completion.sampling.get(key) for key in FINISH_FIELDS}
        self.num_completion_tokens = completion.num_completion_tokens
        yield ReplyDelta(0, self._text)
        yield ReplyFinish(0, completion.id, completion.finish_reason, self._feedback_token, **about)  # type: ignore[arg-type]
        self.cancel()
