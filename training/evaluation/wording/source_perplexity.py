"""Perplexity by source: how well a model foresees what agents say in public dialogues.

One reply a conversation, given what came before it. Its first token does not count: there a model that plans expects a
plan. Where a source has conversations that training leaves out, only those are read.
"""

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from training.data.corpora import LICENCES, load_corpus
from training.data.prompts import render_prompt
from training.evaluation.figures import Figure, mean
from training.evaluation.held_out import ScoredText, log_likelihoods
from training.evaluation.subject import Subject

MAX_REPLIES = 60
"""Of each source."""
_MAX_ROWS = 300
_ASKS_ONLY = "intents"
"""The one public source without replies."""


class SourcePerplexity(BaseModel):
    """One source."""

    model_config = ConfigDict(frozen=True)

    num_replies: int
    is_held_back: bool
    """Whether training leaves these conversations out."""
    perplexity: float
    nats: Figure
    """A token's, each reply counting the same, with a 95 % interval over replies; perplexity is its exponential."""


def source_perplexities(subject: Subject, data_dir: Path, *, seed: int) -> dict[str, SourcePerplexity]:
    """Figures of each public source that lies in the folder. Raises ImportFormatError for a broken file."""
    found = {}
    for source in sorted(LICENCES):
        if source != _ASKS_ONLY and (data_dir / f"{source}.jsonl.gz").exists():
            conversations, is_held_back = _conversations(data_dir, source)
            nats = reply_nats(subject, conversations, seed=seed)
            if nats:
                figure = mean(nats)
                found[source] = SourcePerplexity(
                    num_replies=len(nats), is_held_back=is_held_back, perplexity=math.exp(figure.value), nats=figure
                )
    return found


def reply_nats(subject: Subject, conversations: Sequence[tuple[Message, ...]], *, seed: int) -> list[float]:
    """Nats a token of one reply of each conversation; those that do not fit into the network are left out."""
    generator = random.Random(seed)
    drawn = generator.sample(list(conversations), min(MAX_REPLIES, len(conversations)))
    texts = [
        _text(subject.tokenizer, messages, place)
        for messages in drawn
        if (place := _place_of_a_reply(messages, generator))
    ]
    fitting = [text for text in texts if text.num_tokens <= int(subject.policy.config.max_position_embeddings)]
    likelihoods = log_likelihoods(subject.policy, fitting)
    return [-nats / len(text.completion_ids) for nats, text in zip(likelihoods, fitting, strict=True)]


def perplexity_table(perplexities: Mapping[str, SourcePerplexity]) -> str:
    """The figures for people."""
    return "\n".join(
        f"{source:20} perplexity {each.perplexity:8.2f}, nats a token {each.nats}, {each.num_replies} replies"
        + ("" if each.is_held_back else ", seen in training")
        for source, each in perplexities.items()
    )


def _conversations(data_dir: Path, source: str) -> tuple[tuple[tuple[Message, ...], ...], bool]:
    held_back = load_corpus(data_dir, source, _MAX_ROWS, held_back=True).conversations
    return (held_back, True) if held_back else (load_corpus(data_dir, source, _MAX_ROWS).conversations, False)


def _place_of_a_reply(messages: Sequence[Message], generator: random.Random) -> int | None:
    places = [place for place, message in enumerate(messages) if message.role is Role.ASSISTANT and place > 0]
    return generator.choice(places) if places else None


def _text(tokenizer: Tokenizer, messages: Sequence[Message], place: int) -> ScoredText:
    first, *rest = (*tokenizer.encode(messages[place].content), EOS_ID)
    return ScoredText((*render_prompt(messages[:place], tokenizer), first), tuple(rest), frozenset())
