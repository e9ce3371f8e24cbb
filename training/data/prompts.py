"""Prompts and rated completions as the learning stages read them.

A prompt's banned tokens are the ones that the service would ban: what training optimises is what serving samples from.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model_store.contract.chat_template import render
from model_store.contract.control_tokens import EOS_ID
from model_store.contract.conversation import Message
from model_store.contract.placeholders import split_masked
from model_store.contract.tokenizer import Tokenizer
from model_store.knowledge.offer import has_article, plans_for
from model_store.sampling import banned_in_reply
from training.errors import DataNotFoundError, InvalidFeedbackDataError

SPLITS = ("train", "validation", "test")


def render_prompt(messages: Sequence[Message], tokenizer: Tokenizer) -> tuple[int, ...]:
    """Token ids of a prompt, with an assistant turn opened at the end."""
    return render(messages, tokenizer, for_completion=True).token_ids


def banned_ids(messages: Sequence[Message], tokenizer: Tokenizer) -> frozenset[int]:
    """Tokens that no completion of these messages may hold, as in the service."""
    named = {
        segment.text for message in messages for segment in split_masked(message.content) if segment.is_placeholder
    }
    return banned_in_reply(messages, named, tokenizer)


def opening_ids(messages: Sequence[Message], tokenizer: Tokenizer) -> frozenset[int]:
    """The plans that a reply to these messages may open with, as in the service; empty for a model without plans."""
    return frozenset(plans_for(tokenizer.plans, has_offer=has_article(messages)).values())


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation to be answered, as the policy sees it."""

    messages: tuple[Message, ...]
    token_ids: tuple[int, ...]
    banned_ids: frozenset[int]
    opening_ids: frozenset[int]
    """Plans that a reply may open with; empty for a model without plans."""
    references: tuple[str, ...] = ()
    """Replies that people wrote for it."""
    intents: frozenset[str] = frozenset()
    """What was asked, where an author says so; empty where a person asked and nobody knows."""


@dataclass(frozen=True, slots=True)
class RatedExample:
    """A completion that a person rated; `weight` is how much that counts."""

    split: str
    prompt: Prompt
    completion_ids: tuple[int, ...]
    completion_text: str
    is_up: bool
    weight: float

    @property
    def sequence(self) -> list[int]:
        """Prompt and completion, the reward model's input."""
        return [*self.prompt.token_ids, *self.completion_ids]


def build_prompt(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    *,
    references: tuple[str, ...] = (),
    intents: frozenset[str] = frozenset(),
) -> Prompt:
    """Renders messages and finds what a reply must not hold and may open with."""
    return Prompt(
        tuple(messages),
        render_prompt(messages, tokenizer),
        banned_ids(messages, tokenizer),
        opening_ids(messages, tokenizer),
        references,
        intents,
    )


def read_examples(
    path: Path, tokenizer: Tokenizer, *, max_positions: int, correction_weight: float
) -> list[RatedExample]:
    """Rated completions of a JSON Lines file, in its order; those longer than `max_positions` are left out.

    A correction in the train split becomes an example of its own, rated up, `correction_weight` times as heavy.

    Raises:
        DataNotFoundError: there is no such file.
        InvalidFeedbackDataError: a row breaks the format or names a token that the tokenizer does not have.
    """
    if not path.exists():
        raise DataNotFoundError(what="The curated feedback", path=path, remedy="The curate stage writes it.")
    examples: list[RatedExample] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        examples += _parse_row(line, tokenizer, correction_weight)
    return [example for example in examples if len(example.sequence) <= max_positions]


def unique_prompts(prompts: Iterable[Prompt]) -> list[Prompt]:
    """Prompts by their tokens, first come first; references and intents of equal ones are joined."""
    found: dict[tuple[int, ...], Prompt] = {}
    for prompt in prompts:
        earlier = found.get(prompt.token_ids, prompt)
        references = tuple(dict.fromkeys((*earlier.references, *prompt.references)))
        found[prompt.token_ids] = replace(prompt, references=references, intents=earlier.intents | prompt.intents)
    return list(found.values())


def prompts_with_room(prompts: Iterable[Prompt], max_tokens: int) -> list[Prompt]:
    """Prompts without duplicates that leave room for a whole completion: of at most `max_tokens`."""
    return [prompt for prompt in unique_prompts(prompts) if len(prompt.token_ids) <= max_tokens]


def _parse_row(line: str, tokenizer: Tokenizer, correction_weight: float) -> list[RatedExample]:
    row: dict[str, object] = {}
    try:
        row = json.loads(line)
        return _examples_of(row, tokenizer, correction_weight)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        completion_id = row.get("completion_id", "?") if isinstance(row, dict) else "?"
        raise InvalidFeedbackDataError(completion_id=completion_id, problem=repr(error)) from error


def _examples_of(row: dict[str, object], tokenizer: Tokenizer, correction_weight: float) -> list[RatedExample]:
    messages, token_ids = row["messages"], row["completion_token_ids"]
    split, correction, weight = row["split"], row["correction"], float(str(row["weight"]))
    if not isinstance(messages, list) or not isinstance(token_ids, list) or split not in SPLITS:
        raise ValueError("messages and completion_token_ids must be lists, split one of " + ", ".join(SPLITS))
    if not token_ids or not all(0 <= token_id < tokenizer.vocab_size for token_id in token_ids):
        raise ValueError("completion_token_ids is empty or beyond the vocabulary")
    references = (str(correction),) if correction else ()
    prompt = build_prompt([Message.from_dict(message) for message in messages], tokenizer, references=references)
    rated = RatedExample(str(split), prompt, tuple(token_ids), str(row["completion_text"]), bool(row["is_up"]), weight)
    if not correction or split != "train" or correction_weight == 0:
        return [rated]
    corrected_ids = (*tokenizer.encode(str(correction)), EOS_ID)
    return [rated, RatedExample("train", prompt, corrected_ids, str(correction), True, weight * correction_weight)]
