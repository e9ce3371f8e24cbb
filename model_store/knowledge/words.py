"""The words that help articles are found by: English stems, Chinese characters and their pairs.

No dictionary of Chinese: pairs of neighbouring characters find as much in short texts and need no segmenter.
"""

import re
from functools import lru_cache
from itertools import groupby

import Stemmer
from bm25s.stopwords import STOPWORDS_EN_PLUS

_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_RUNS = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}]+")
_IS_HAN = re.compile(rf"[{_HAN}]")
_CONTRACTION = re.compile(r"(?<=[a-z])['’][a-z]{1,2}\b")
_NO_TOPIC_EN = frozenset(STOPWORDS_EN_PLUS) | frozenset(
    "get got gets getting want need please pls thanks thx hi hello hey know tell help buy bought order ordered orders"
    " im ive dont doesnt cant isnt wont didnt thats whats id".split()
)
"""Words that say who is asking – a customer – and not about what."""
_NO_TOPIC_ZH = frozenset(
    "的了吗呢吧啊呀我你您他她它们是在有不没就都也很还要会能可以想把给到和跟与这那哪个什么怎样多少几谁为请问一下"
)
"""Characters that questions are made of and topics are not; they also cut what stands before from what follows."""


def topic_words(text: str) -> list[str]:
    """What a text is about, in order and with repetitions."""
    words: list[str] = []
    for run in _RUNS.findall(_CONTRACTION.sub("", text.lower())):
        if _IS_HAN.match(run):
            words += _han_words(run)
        elif run not in _NO_TOPIC_EN:
            words.append(_stem(run))
    return words


def _han_words(run: str) -> list[str]:
    pieces = ["".join(piece) for is_topic, piece in groupby(run, lambda c: c not in _NO_TOPIC_ZH) if is_topic]
    pairs = [piece[start : start + 2] for piece in pieces for start in range(len(piece) - 1)]
    return [*pairs, *"".join(pieces)]


@lru_cache(maxsize=20_000)
def _stem(word: str) -> str:
    # A stemmer of its own each time: one is not safe to share between threads, and making one takes microseconds.
    return str(Stemmer.Stemmer("english").stemWord(word))
