"""Replies in OpenAI's words: the whole completion object, and the pieces of a stream.

Beyond OpenAI's fields: every choice carries its `completion_id` and `feedback_token`, its `plan` with the bot's
`plan_confidence`, the `rule` that spoke instead of the model, and where that asks back the `quick_replies` that would
answer. A `finish_reason` beyond OpenAI's is `handover`: a person takes over; their clients pass it on. At top level
stand the `conversation_id` and choice 0's `feedback_token`, this in a stream in the piece that ends the last choice and
in the one with the usage.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from service.chat.decoding import TokenLogprob
from service.chat.reply import Reply
from service.chat.reply_events import ReplyDelta, ReplyFinish

_MIN_LOGPROB = -9999.0  # OpenAI's stand-in for minus infinity, which JSON cannot say.

Json = dict[str, Any]


async def collect_completion(reply: Reply, *, has_logprobs: bool) -> Json:
    """Reads a reply to its end: the body of an answer that is not streamed."""
    num_choices = len(reply.head.completion_ids)
    texts: list[list[str]] = [[] for _ in range(num_choices)]
    logprobs: list[list[TokenLogprob]] = [[] for _ in range(num_choices)]
    finishes: dict[int, ReplyFinish] = {}
    async for event in reply.events():
        if isinstance(event, ReplyFinish):
            finishes[event.choice_index] = event
            continue
        texts[event.choice_index].append(event.text)
        logprobs[event.choice_index] += event.logprobs
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": "".join(texts[index]), "refusal": None},
            "logprobs": _logprobs(logprobs[index]) if has_logprobs else None,
            **_ending(finishes[index]),
        }
        for index in range(num_choices)
    ]
    return {
        **_head(reply, "chat.completion"),
        "choices": choices,
        "usage": usage(reply),
        "feedback_token": finishes[0].feedback_token,
    }


async def stream_pieces(reply: Reply, *, has_logprobs: bool, has_usage: bool) -> AsyncIterator[Json]:
    """Reads a reply and gives the pieces of a stream in order; `[DONE]` is not one of them."""
    head = _head(reply, "chat.completion.chunk")
    if has_usage:
        head["usage"] = None
    num_open = len(reply.head.completion_ids)
    for index in range(num_open):
        yield {**head, "choices": [_piece(index, {"role": "assistant", "content": ""})]}
    feedback_token = ""
    async for event in reply.events():
        if isinstance(event, ReplyDelta):
            logprobs = _logprobs(event.logprobs) if has_logprobs else None
            yield {**head, "choices": [_piece(event.choice_index, {"content": event.text}, logprobs)]}
            continue
        num_open -= 1
        feedback_token = event.feedback_token if event.choice_index == 0 else feedback_token
        extra = {} if num_open else {"feedback_token": feedback_token}
        yield {**head, "choices": [{**_piece(event.choice_index, {}), **_ending(event)}], **extra}
    if has_usage:
        yield {**head, "choices": [], "usage": usage(reply), "feedback_token": feedback_token}


def usage(reply: Reply) -> dict[str, int]:
    """Tokens read and made; the end-of-text token counts as made."""
    return {
        "prompt_tokens": reply.num_prompt_tokens,
        "completion_tokens": reply.num_completion_tokens,
        "total_tokens": reply.num_prompt_tokens + reply.num_completion_tokens,
    }


def _head(reply: Reply, kind: str) -> Json:
    return {
        "id": reply.head.completion_ids[0],
        "object": kind,
        "created": int(reply.head.created_at.timestamp()),
        "model": reply.head.model_name,
        "system_fingerprint": reply.head.model_digest,
        "conversation_id": reply.head.conversation_id,
    }


def _piece(index: int, delta: Json, logprobs: Json | None = None) -> Json:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}


def _ending(finish: ReplyFinish) -> Json:
    return {
        "finish_reason": finish.finish_reason,
        "completion_id": finish.completion_id,
        "feedback_token": finish.feedback_token,
        "plan": finish.plan,
        "plan_confidence": finish.plan_confidence,
        "rule": finish.rule,
        "quick_replies": finish.quick_replies or [],
    }


def _logprobs(tokens: Sequence[TokenLogprob]) -> Json:
    content = [{**_token(token), "top_logprobs": [_token(rival) for rival in token.rivals]} for token in tokens]
    return {"content": content, "refusal": None}


def _token(token: TokenLogprob) -> Json:
    return {"token": token.text, "logprob": max(token.logprob, _MIN_LOGPROB), "bytes": list(token.utf8)}
