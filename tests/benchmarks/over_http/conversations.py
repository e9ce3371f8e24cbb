"""Many people at once, each in conversations of two turns: what they ask, and what they get to hear how fast."""

import asyncio
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tests.benchmarks.over_http.sse_client import Heard, ask

NUM_TURNS = 2
_MAX_TOKENS = 64


class Asker(Protocol):
    """How a server is asked."""

    path: str

    def body(self, conversation: "Conversation", heard: Sequence[Heard]) -> Mapping[str, Any]:
        """The request for the next turn, after what has been heard."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a person says, turn by turn."""

    number: int
    asks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Round:
    """One round of all streams: what each conversation heard, turn by turn."""

    seconds: float
    conversations: tuple[tuple[Heard, ...], ...]

    @property
    def num_tokens(self) -> int:
        """Tokens that reached clients in whole streams."""
        return sum(heard.num_tokens for turns in self.conversations for heard in turns if heard.is_whole)

    @property
    def tokens_per_second(self) -> float:
        """These, over the time until the last of them."""
        return self.num_tokens / self.seconds

    def first_token_seconds(self, turn: int) -> list[float]:
        """From request to first text, of every conversation that came to that turn."""
        turns = [turns[turn] for turns in self.conversations if len(turns) > turn]
        return [heard.arrivals[0] for heard in turns if heard.is_whole and heard.arrivals]

    @property
    def gaps(self) -> list[float]:
        """Seconds between pieces of text, of all streams."""
        return [gap for turns in self.conversations for heard in turns for gap in heard.gaps]

    @property
    def num_failed(self) -> int:
        """Streams that were refused, broke or ended with an error."""
        return sum(not heard.is_whole for turns in self.conversations for heard in turns)

    @property
    def num_requests(self) -> int:
        """Streams that were asked for."""
        return sum(len(turns) for turns in self.conversations)


def draw_conversations(asks: Sequence[str], number: int, seed: int) -> list[Conversation]:
    """Different people ask different things: no ask comes twice, so that no cache knows a prompt from before."""
    chosen = random.Random(seed).sample(asks, number * NUM_TURNS)
    return [Conversation(index, tuple(chosen[index * NUM_TURNS : (index + 1) * NUM_TURNS])) for index in range(number)]


async def hold(port: int, asker: Asker, conversations: Sequence[Conversation], num_streams: int) -> Round:
    """Holds all conversations, `num_streams` at the same time; each stream goes on with the next when one is over."""
    waiting = list(reversed(conversations))
    heard: dict[int, tuple[Heard, ...]] = {}

    async def stream() -> None:
        while waiting:
            conversation = waiting.pop()
            turns: list[Heard] = []
            while len(turns) < len(conversation.asks) and all(turn.is_whole for turn in turns):
                turns.append(await ask(port, asker.path, asker.body(conversation, turns)))
            heard[conversation.number] = tuple(turns)

    started = time.perf_counter()
    await asyncio.gather(*(stream() for _ in range(num_streams)))
    return Round(time.perf_counter() - started, tuple(heard[conversation.number] for conversation in conversations))


class ServiceAsker:
    """Asks our service, as a chat page does: the whole conversation every time."""

    path = "/v1/chat/completions"

    def body(self, conversation: Conversation, heard: Sequence[Heard]) -> Mapping[str, Any]:
        """All messages up to now."""
        messages = []
        for said, reply in zip(conversation.asks, heard, strict=False):
            messages += [{"role": "user", "content": said}, {"role": "assistant", "content": reply.text or "…"}]
        messages.append({"role": "user", "content": conversation.asks[len(heard)]})
        return {
            "model": "rejoinder",
            "messages": messages,
            "max_tokens": _MAX_TOKENS,
            "seed": conversation.number,
            "stream": True,
            "stream_options": {"include_usage": True},
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed; 0 of none."""
    if not values:
        return 0.0
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def median(values: Sequence[float]) -> float:
    """The median; 0 of none."""
    return statistics.median(values) if values else 0.0
