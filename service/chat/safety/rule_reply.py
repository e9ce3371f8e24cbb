"""A safety rule's fixed text, said before any model makes a word. What replaces words of the model's: `chat.reply`."""

from collections.abc import AsyncIterator

from model_store.contract.safety.rules import Finding
from model_store.contract.unmasking import unmask
from service.chat.recording import CompletionSink
from service.chat.reply import NewReply, Outcome, ReplyContext
from service.chat.reply_events import ReplyDelta, ReplyFinish


class RuleReply(NewReply):
    """Recorded like any other reply, with the rule's name in place of sampler settings."""

    def __init__(self, context: ReplyContext, recorder: CompletionSink, finding: Finding) -> None:
        super().__init__(context, recorder)
        self._finding = finding

    async def events(self) -> AsyncIterator[ReplyDelta | ReplyFinish]:
        """See `Reply.events`."""
        rule, text = self._finding.rule, self._finding.text(self.context.language)
        for index in range(len(self.context.completion_ids)):
            yield ReplyDelta(index, unmask(text, self.context.resolve))
            yield await self._finish(
                Outcome(
                    choice_index=index,
                    text=text,
                    token_ids=(),
                    logprobs=(),
                    num_tokens=len(self.context.model.tokenizer.encode(text)),
                    finish_reason=self._finding.finish_reason,
                    sampling={"rule": rule.name, **self._finding.recorded},
                )
            )
        self.cancel()
