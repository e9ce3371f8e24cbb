"""Token ids with a number each, as words that people can read."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from model_store.contract.control_tokens import ASSISTANT_ID, BOS_ID, EOS_ID, SYSTEM_ID, USER_ID
from model_store.contract.tokenizer import IncrementalDecoder, Tokenizer

_TURNS = {SYSTEM_ID: "system", USER_ID: "customer", ASSISTANT_ID: "bot"}
_SPELT = {BOS_ID: "start", EOS_ID: "end"}


class Word(BaseModel):
    """A piece of the text and its share of the score; `marker`: structure or a plan, which nobody reads."""

    model_config = ConfigDict(frozen=True)

    text: str
    share: float
    kind: Literal["word", "marker"] = "word"


def words_of(token_ids: Sequence[int], shares: Sequence[float], tokenizer: Tokenizer) -> tuple[Word, ...]:
    """Words in their order, with the sums of their tokens' shares. Raises ValueError for lists of different length."""
    words: list[Word] = []
    decoder, pending = IncrementalDecoder(tokenizer), 0.0
    plan_names = {token_id: name for name, token_id in tokenizer.plans.items()}
    for token_id, share in zip(token_ids, shares, strict=True):
        name = plan_names.get(token_id) or _TURNS.get(token_id) or _SPELT.get(token_id)
        if name is not None:
            words.append(Word(text=name, share=share + pending, kind="marker"))
            pending = 0.0
            continue
        text = decoder.feed(token_id)
        pending += share
        if not text:
            continue
        if words and _continues(words[-1], text):
            words[-1] = Word(text=words[-1].text + text, share=words[-1].share + pending)
        else:
            words.append(Word(text=text, share=pending))
        pending = 0.0
    if pending:
        words.append(Word(text=decoder.flush(), share=pending))
    return tuple(words)


def _continues(word: Word, text: str) -> bool:
    """Whether a piece belongs to the word before it: letters of an alphabet after such letters."""
    ends, begins = word.text[-1:], text[:1]
    return word.kind == "word" and all(c.isalnum() and c < "\u2e80" for c in (ends, begins) if c) and bool(ends)
