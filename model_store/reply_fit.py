"""Which authored replies fit what the customer said: by his language, and by words that his last message has to hold.

Authors know that a reply supposes something ("Did the page freeze?"), or answers what only some ask ("what does
returning cost"). Its condition is a list of alternatives, one of which is enough; none: never. An alternative is terms
joined by `&`, all of which have to be there, and behind `!` must not be. A term stands at the beginning of a word, with
`|` behind it for a whole one; a Chinese one anywhere. Who has not said something is spoken to by no reply that only
must not be said to others: those with nothing but `!` go with the ones that fit anything.

Left out: learned similarity. A condition can be read and mended by who wrote the reply, and costs microseconds.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from model_store.contract.control_tokens import ASSISTANT_ID, EOS_ID, SYSTEM_ID, USER_ID
from model_store.contract.conversation import Message, Role, language_of
from model_store.contract.tokenizer import Tokenizer
from model_store.replies import Conditions, load_conditions

_APOSTROPHES = re.compile("['’‘`]")
_GAPS = re.compile(r"[^\w<>]+")
_HAN = re.compile(r"([\u3400-\u9fff])")
_BEGINNING = 5
"""Letters by which terms are looked up; there are some ten thousand."""
_Value = TypeVar("_Value")
_TURN_IDS = frozenset((USER_ID, ASSISTANT_ID, SYSTEM_ID, EOS_ID))


@dataclass(frozen=True, slots=True)
class Fitting:
    """[replies] each: which can be said to this customer; for how many letters of what he just said each was written,
    where it was; and which are said at all, to somebody."""

    fits: NDArray[np.bool_]
    told: NDArray[np.int64]
    is_said: NDArray[np.bool_]

    @property
    def speaks(self) -> NDArray[np.bool_]:
        """[replies]: which were written for what he just said."""
        written: NDArray[np.bool_] = self.told > 0
        return written


class Alternative(NamedTuple):
    """Terms that a message has to hold all of, and terms none of which it may hold. Tuples, for there are tens of
    thousands of these."""

    needed: tuple[str, ...]
    unwanted: tuple[str, ...]

    def holds(self, found: set[str]) -> bool:
        """Whether it is true of a message in which these terms were found."""
        return found.issuperset(self.needed) and found.isdisjoint(self.unwanted)

    @property
    def num_letters(self) -> int:
        """Of the terms that a message has to hold; a Han character is worth two."""
        return sum(len(_solid(term)) + len(_HAN.findall(term)) for term in self.needed)


class _Needle(NamedTuple):
    """What a term looks like in a message: with gaps between its words, or, as in Chinese, without any."""

    term: str
    text: str
    is_solid: bool

    @classmethod
    def of(cls, term: str) -> "_Needle":
        if _HAN.search(term):
            return cls(term, _solid(term), is_solid=True)
        return cls(term, f" {term.removesuffix('|')} " if term.endswith("|") else f" {term}", is_solid=False)


class ReplyFit:
    """The conditions of one bundle's replies. Immutable; safe to share between threads."""

    def __init__(
        self, conditions: Conditions, is_chinese: NDArray[np.bool_], decode: Callable[[Sequence[int]], str]
    ) -> None:
        """`is_chinese` says of each reply whether it is; `decode` gives the masked text of token ids.

        Raises ValueError for a condition that is none.
        """
        self._decode = decode
        self._is_chinese = is_chinese
        self._is_free = np.ones(len(is_chinese), np.bool_)
        self._is_said = np.ones(len(is_chinese), np.bool_)
        for reply, alternatives in conditions.items():
            self._is_free[reply] = False
            self._is_said[reply] = bool(alternatives)
        all_of_them = [(reply, parse_alternative(text)) for reply, several in conditions.items() for text in several]
        self._without_need = tuple(each for each in all_of_them if not each[1].needed)
        self._by_term = _grouped((each[1].needed[0], each) for each in all_of_them if each[1].needed)
        terms = {term for _, alternative in all_of_them for term in (*alternative.needed, *alternative.unwanted)}
        self._by_beginning = _grouped((_solid(term)[:_BEGINNING], _Needle.of(term)) for term in sorted(terms))

    @classmethod
    def load(cls, bundle_directory: Path, replies: Sequence[Sequence[int]], tokenizer: Tokenizer) -> "ReplyFit | None":
        """Of a bundle's replies; None where it has no conditions. Raises ValueError for files that are none."""
        conditions = load_conditions(bundle_directory, len(replies))
        if not conditions:
            return None
        is_chinese = np.array([not tokenizer.han_ids.isdisjoint(reply) for reply in replies], np.bool_)
        return cls(conditions, is_chinese, tokenizer.decode)

    def of(self, prompt_ids: Sequence[int]) -> Fitting:
        """What fits a rendered conversation that ends with the customer's message, or opens a reply to it."""
        return self.of_said([self._decode(turn) for turn in _customer_turns(prompt_ids)])

    def of_said(self, said: Sequence[str]) -> Fitting:
        """What fits a customer who has said these masked texts, the last one last."""
        is_chinese = language_of([Message(Role.USER, text) for text in said]) == "zh"
        found = self._terms_in(said[-1] if said else "")
        is_spoken = self._is_chinese == is_chinese
        told = self._told([each for term in found for each in self._by_term.get(term, ())], found) * is_spoken
        has_not_said = np.zeros(len(is_spoken), np.bool_)
        has_not_said[[reply for reply, alternative in self._without_need if alternative.holds(found)]] = True
        fits = (self._is_free | has_not_said | (told > 0)) & is_spoken
        return Fitting(fits, told, self._is_said)

    def _told(self, alternatives: Iterable[tuple[int, Alternative]], found: set[str]) -> NDArray[np.int64]:
        told = np.zeros(len(self._is_free), np.int64)
        for reply, alternative in alternatives:
            if alternative.holds(found):
                told[reply] = max(told[reply], alternative.num_letters)
        return told

    def _terms_in(self, message: str) -> set[str]:
        """Which of all terms a message holds."""
        words = _words(message).split()
        spaced, solid = f" {' '.join(words)} ", "".join(words)
        starts = accumulate(map(len, words), initial=0)
        beginnings = {solid[start : start + size] for start in starts for size in range(1, _BEGINNING + 1)}
        needles = (needle for beginning in beginnings for needle in self._by_beginning.get(beginning, ()))
        return {needle.term for needle in needles if needle.text in (solid if needle.is_solid else spaced)}


def _grouped(pairs: Iterable[tuple[str, _Value]]) -> dict[str, tuple[_Value, ...]]:
    """Values by their keys, in the order in which they come."""
    groups: dict[str, list[_Value]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return {key: tuple(values) for key, values in groups.items()}


def _term(text: str) -> str:
    ending = "|" if text.endswith("|") else ""
    plain = _words(text.removesuffix("|"))
    return sys.intern((plain.replace(" ", "") if _HAN.search(plain) else plain) + ending) if plain else ""


def parse_alternative(text: str) -> Alternative:
    """One alternative of a condition. Raises ValueError where it is empty or holds an empty term."""
    needed, unwanted = list[str](), list[str]()
    for part in map(str.strip, text.split("&")):
        term = _term(part.removeprefix("!").strip())
        if not term:
            raise ValueError(f"{text!r} is no condition: one of its terms is empty")
        (unwanted if part.startswith("!") else needed).append(term)
    return Alternative(tuple(needed), tuple(unwanted))


def _words(text: str) -> str:
    """A text's words with single gaps, in lower case, without apostrophes; every Han character is a word."""
    return " ".join(_GAPS.sub(" ", _HAN.sub(r" \1 ", _APOSTROPHES.sub("", text.lower()))).split())


def _solid(term: str) -> str:
    return term.removesuffix("|").replace(" ", "")


def _customer_turns(prompt_ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """What the customer said in a rendered conversation, turn by turn."""
    start: int | None = None
    for index, token_id in enumerate(prompt_ids):
        if token_id in _TURN_IDS:
            if start is not None:
                yield prompt_ids[start:index]
            start = index + 1 if token_id == USER_ID else None
    if start is not None:
        yield prompt_ids[start:]
