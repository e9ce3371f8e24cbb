"""Which authored replies fit what the customer said: by his language, and by words that messages have to hold.

Authors know that a reply supposes something ("Did the page freeze?"), or answers what only some ask. Its condition is
a list of alternatives, one of which is enough; none: never. An alternative is terms joined by `&`, all of which have to
be there, or behind `!` must not be; `/` between terms leaves the choice. They stand in the customer's last message;
behind `bot:` in what the bot said last, behind `before:` in what the customer said before. A term begins a word, and
with `|` behind it is a whole one; a Chinese one stands anywhere. Who has not said something is spoken to by no reply
that only must not be said to others: those with nothing but `!` go with the ones that fit anything.

Left out: learned similarity. A condition can be read and mended by who wrote the reply, and costs microseconds.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from model_store.contract.control_tokens import ASSISTANT_ID, EOS_ID, SYSTEM_ID, USER_ID
from model_store.contract.conversation import Message, Role, language_of
from model_store.contract.tokenizer import Tokenizer
from model_store.contract.wording.corrections import what_is_meant
from model_store.replies import Conditions, load_conditions

_APOSTROPHES = re.compile("['’‘`]")
_GAPS = re.compile(r"[^\w<>]+")
_HAN = re.compile(r"([\u3400-\u9fff])")
_BEGINNING = 5
"""Letters by which terms are looked up; there are some ten thousand."""
_LEAST_ANSWER, _PLAIN_ANSWER = 1 / 6, 12
"""Of a message's letters that are an answer to the bot, or how many are one in any message."""
_MOST_OF_IT = 1 / 4
"""… so many that it is about nothing else."""
_Value = TypeVar("_Value")
_TURN_IDS = frozenset((USER_ID, ASSISTANT_ID, SYSTEM_ID, EOS_ID))
BOT, BEFORE = "bot:", "before:"
"""In front of terms that stand in what the bot said last, and in what the customer said before his last message."""
_SOURCES = (BOT, BEFORE)
_LETTERS_OF_CONTEXT = 6
"""What words in other messages than the last count for: of two replies that fit what a customer says, the one that was
written for this place in the conversation goes first; alone they count less than most of what he says."""


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
    """Choices of terms, one of each of which has to be there, and terms none of which may. Tuples, for there are tens
    of thousands of these."""

    needed: tuple[tuple[str, ...], ...]
    unwanted: tuple[str, ...]

    def holds(self, found: set[str], least_answer: float = 0) -> bool:
        """Whether it is true of messages in which these terms were found. An answer to the bot has to be `least_answer`
        letters of the last one, or a dozen: the "no" of "no, how do I return it" is none."""
        if not found.isdisjoint(self.unwanted) or any(map(found.isdisjoint, self.needed)):
            return False
        return not self.is_answer or self.num_own_letters(found) >= min(least_answer, _PLAIN_ANSWER)

    def num_letters(self, found: set[str]) -> int:
        """Of the found terms that the last message has to hold, and six for any that stand elsewhere."""
        is_elsewhere = any(choice[0].startswith(_SOURCES) for choice in self.needed)
        return self.num_own_letters(found) + (_LETTERS_OF_CONTEXT if is_elsewhere else 0)

    def num_own_letters(self, found: set[str]) -> int:
        """Of the found terms that the last message has to hold: of each choice the longest."""
        own = (found.intersection(choice) for choice in self.needed if not choice[0].startswith(_SOURCES))
        return sum(max(map(_num_letters, terms), default=0) for terms in own)

    @property
    def is_answer(self) -> bool:
        """Whether it asks for something that the bot said, and for what the customer says to that."""
        sources = [next((each for each in _SOURCES if choice[0].startswith(each)), "") for choice in self.needed]
        return BOT in sources and "" in sources

    @property
    def fewest(self) -> tuple[str, ...]:
        """One of which is there wherever it holds."""
        return min(self.needed, key=len)


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
        parsed = cache(parse_alternative)  # what several replies share is kept once
        all_of_them = [(reply, parsed(text)) for reply, several in conditions.items() for text in several]
        self._without_need = tuple(each for each in all_of_them if not each[1].needed)
        needy = [each for each in all_of_them if each[1].needed]
        self._by_term = _grouped((term, each) for each in needy for term in each[1].fewest)
        terms = {term for _, alternative in needy for choice in alternative.needed for term in choice}
        terms |= {term for _, alternative in all_of_them for term in alternative.unwanted}
        self._own_terms = _Terms(term for term in terms if not term.startswith(_SOURCES))
        self._bots_terms, self._earlier_terms = (
            _Terms((term.removeprefix(source) for term in terms if term.startswith(source)), source)
            for source in _SOURCES
        )

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
        roles = {USER_ID: Role.USER, ASSISTANT_ID: Role.ASSISTANT}
        turns = [(roles[role], ids) for role, ids in _turns(prompt_ids) if role in roles]
        return self.of_messages([Message(role, self._decode(ids)) for role, ids in turns])

    def of_said(self, said: Sequence[str]) -> Fitting:
        """What fits a customer who has said these masked texts, the last one last, and was told nothing."""
        return self.of_messages([Message(Role.USER, text) for text in said])

    def of_messages(self, messages: Sequence[Message]) -> Fitting:
        """What fits masked messages; what follows the customer's last one is not looked at."""
        is_chinese = language_of(messages) == "zh"
        found = self._terms_in(messages)
        is_spoken = self._is_chinese == is_chinese
        told = np.zeros(len(is_spoken), np.int64)
        for reply, alternative in self._holding(messages, found):
            told[reply] = max(told[reply], alternative.num_letters(found))
        told *= is_spoken
        has_not_said = np.zeros(len(is_spoken), np.bool_)
        has_not_said[[reply for reply, alternative in self._without_need if alternative.holds(found)]] = True
        fits = (self._is_free | has_not_said | (told > 0)) & is_spoken
        return Fitting(fits, told, self._is_said)

    def answering(self, messages: Sequence[Message]) -> frozenset[int]:
        """Replies that were written for what the customer answers to what the bot said last, where he says little else,
        by their numbers.
        """
        holding = self._holding(messages, self._terms_in(messages), _MOST_OF_IT)
        return frozenset(reply for reply, alternative in holding if alternative.is_answer)

    def _holding(
        self, messages: Sequence[Message], found: set[str], least_share: float = _LEAST_ANSWER
    ) -> Iterator[tuple[int, Alternative]]:
        """Replies with alternatives that need something and hold, answers for at least such a share of the message."""
        least_answer = least_share * _num_letters(_words(_last_said(messages)))
        known = (each for term in found for each in self._by_term.get(term, ()))
        return (each for each in known if each[1].holds(found, least_answer))

    def _terms_in(self, messages: Sequence[Message]) -> set[str]:
        """Which of all terms these hold, each where it has to stand."""
        places = [place for place, message in enumerate(messages) if message.role is Role.USER]
        if not places:
            return set()
        *earlier, last = places
        found = self._own_terms.found_in(_last_said(messages))
        bots = (message.content for message in reversed(messages[:last]) if message.role is Role.ASSISTANT)
        found |= self._bots_terms.found_in(next(bots, ""))
        return found.union(*(self._earlier_terms.found_in(messages[place].content) for place in earlier))


class _Terms:
    """The terms of one place, found by their first letters."""

    def __init__(self, terms: Iterable[str], source: str = "") -> None:
        self._source = source
        self._by_beginning = _grouped((_solid(term)[:_BEGINNING], _Needle.of(term)) for term in sorted(terms))

    def found_in(self, message: str) -> set[str]:
        """Which of them a message holds, with their source in front."""
        if not self._by_beginning or not message:
            return set()
        words = _words(message).split()
        spaced, solid = f" {' '.join(words)} ", "".join(words)
        starts = accumulate(map(len, words), initial=0)
        beginnings = {solid[start : start + size] for start in starts for size in range(1, _BEGINNING + 1)}
        needles = (needle for beginning in beginnings for needle in self._by_beginning.get(beginning, ()))
        return {self._source + each.term for each in needles if each.text in (solid if each.is_solid else spaced)}


def _last_said(messages: Sequence[Message]) -> str:
    """The customer's last message; after a reply without what he denies, which the reply took him for."""
    place = max((place for place, message in enumerate(messages) if message.role is Role.USER), default=None)
    if place is None:
        return ""
    is_later = any(message.role is Role.ASSISTANT for message in messages[:place])
    return what_is_meant(messages[place].content) if is_later else messages[place].content


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
    needed, unwanted = list[tuple[str, ...]](), list[str]()
    for part in map(str.strip, text.split("&")):
        where = part.removeprefix("!").strip()
        source = next((source for source in _SOURCES if where.startswith(source)), "")
        terms = [_term(term.strip()) for term in where.removeprefix(source).split("/")]
        if not all(terms):
            raise ValueError(f"{text!r} is no condition: one of its terms is empty")
        if part.startswith("!"):
            unwanted += (sys.intern(source + term) for term in terms)
        else:
            needed.append(tuple(sys.intern(source + term) for term in terms))
    return Alternative(tuple(needed), tuple(unwanted))


def _words(text: str) -> str:
    """A text's words with single gaps, in lower case, without apostrophes; every Han character is a word."""
    return " ".join(_GAPS.sub(" ", _HAN.sub(r" \1 ", _APOSTROPHES.sub("", text.lower()))).split())


def _num_letters(plain: str) -> int:
    """Of a term, or of a message's words; a Han character is worth two."""
    return len(_solid(plain)) + len(_HAN.findall(plain))


def _solid(term: str) -> str:
    return term.removesuffix("|").replace(" ", "")


def _turns(prompt_ids: Sequence[int]) -> Iterator[tuple[int, Sequence[int]]]:
    """Who speaks, by the token of his role, and what he says, turn by turn."""
    role, start = EOS_ID, 0
    for index, token_id in enumerate((*prompt_ids, EOS_ID)):
        if token_id in _TURN_IDS:
            if role != EOS_ID:
                yield role, prompt_ids[start:index]
            role, start = token_id, index + 1
