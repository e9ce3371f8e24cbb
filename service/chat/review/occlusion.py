"""Occlusion: which words of a message made the model set out to say what it said (Zeiler and Fergus 2014, section 4).

Each piece of the customer's message is left out in turn, and the serving engine says how probable the reply's plan is
then. What is served has no reward model, so that this is about what was understood, not about what people like: that
is in `python -m training explain`. One prompt is read for each piece, one after the other, in one customer's place.
"""

import asyncio
import math
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from model_store.contract.chat_template import render
from model_store.contract.conversation import Message, Role
from model_store.contract.placeholders import split_masked
from service.chat.model_router import LoadedModel
from service.engine.types import CompletionRequest, Delta, SamplingParams
from service.errors import ServiceError

MAX_PIECES = 16
"""Longer messages are left out in longer pieces."""
_WORDS = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|[^\s\u2e80-\u9fff\uf900-\ufaff]+")


@dataclass(frozen=True, slots=True)
class PieceEffect:
    """A piece of the message, and by how much it raises the plan's log-probability; negative: it lowers it."""

    text: str
    effect: float


@dataclass(frozen=True, slots=True)
class Occlusion:
    """The plan, its probability as the engine gives it now, and the message's pieces in their order."""

    plan: str
    probability: float
    pieces: tuple[PieceEffect, ...]


async def occlude(model: LoadedModel, messages: Sequence[Message], plan: str) -> Occlusion | None:
    """None where the model has no such plan, the last message is not a customer's, or it does not fit the model.

    Raises OverloadedError when all places are taken, CompletionFailedError.
    """
    plan_id = model.tokenizer.plans.get(plan)
    if plan_id is None or not messages or messages[-1].role is not Role.USER:
        return None
    pieces = pieces_of(messages[-1].content)
    texts = [messages[-1].content, *(_without(pieces, place) for place in range(len(pieces)))]
    prompts = [
        render([*messages[:-1], Message(Role.USER, text)], model.tokenizer, for_completion=True).token_ids
        for text in texts
    ]
    if max(map(len, prompts)) >= model.worker.max_context:
        return None
    whole, *occluded = [await _logprob(model, prompt, plan_id) for prompt in prompts]
    effects = (PieceEffect(piece, whole - without) for piece, without in zip(pieces, occluded, strict=True))
    return Occlusion(plan, math.exp(whole), tuple(effects))


def pieces_of(masked_text: str) -> tuple[str, ...]:
    """Words, Chinese characters and placeholders with what separates them, at most `MAX_PIECES`; joined, the text."""
    starts = [0]
    end = 0
    for segment in split_masked(masked_text):
        if segment.is_placeholder:
            starts.append(end)
        else:
            starts += [end + found.start() for found in _WORDS.finditer(segment.text)]
        end += len(segment.text)
    unique = sorted(set(starts))
    size = math.ceil(len(unique) / MAX_PIECES)
    cuts = [*unique[::size], len(masked_text)]
    pieces = [masked_text[first:last] for first, last in zip(cuts, cuts[1:], strict=False)]
    return tuple(piece for piece in pieces if piece)


def _without(pieces: Sequence[str], place: int) -> str:
    return "".join([*pieces[:place], *pieces[place + 1 :]])


async def _logprob(model: LoadedModel, prompt: tuple[int, ...], plan_id: int) -> float:
    """The plan's natural log-probability after a prompt, nothing else forbidden."""
    model.worker.reserve(1)
    told: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def take(event: Delta | ServiceError) -> None:
        if told.done():
            return
        if isinstance(event, Delta):
            told.set_result(event.logprob)
        else:
            told.set_exception(event)

    request_id = f"occlusion-{uuid.uuid4().hex}"
    sampling = SamplingParams(temperature=0, max_tokens=1, opening_token_ids=frozenset({plan_id}))
    model.worker.submit(CompletionRequest(request_id, prompt, sampling), take)
    try:
        return await told
    finally:
        model.worker.cancel(request_id)
