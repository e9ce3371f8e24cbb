"""Words that mean nearly the same, by a sentence encoder: they bring words into messages that no ask holds.

A replacement may well change what a message is about; the teacher reads the changed message, so its label changes too.
"""

import random
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from training.data.plan_teacher.encoder import IntentEncoder
from training.data.plan_teacher.pretrained_encoder import EncoderTokenizer

_ENGLISH_WORD = re.compile(r"[a-z]{4,}")
_HAN_WORD = re.compile(r"[\u4e00-\u9fff]{2,4}")
_NUM_NEIGHBOURS = 12
_MIN_COSINE = 0.45
_MIN_COUNT = 5
_ROWS = 2000
_PIECES = re.compile(r"<\w+>|\{\w+\}|[A-Za-z]+(?:'[a-z]+)?|[\u4e00-\u9fff]+|.", re.DOTALL)


class WordNeighbours:
    """Replaces words by words near them."""

    def __init__(self, near: Mapping[str, Sequence[str]], tokenizer: EncoderTokenizer) -> None:
        """`near` as `find_neighbours` makes it; the tokenizer tells where Chinese words begin."""
        self._near = near
        self._tokenizer = tokenizer

    def near(self, word: str) -> Sequence[str]:
        """Nearest first; empty for a word without any."""
        return self._near.get(word.lower(), ())

    def replace_words(self, text: str, share: float, generator: random.Random) -> str:
        """Text with about that share of its replaceable words replaced; placeholders and slots stay."""
        replaced: list[str] = []
        for piece in _PIECES.findall(text):
            words = self._han_words(piece) if _is_han(piece) else [piece]
            for word in words:
                choices = self.near(word) if generator.random() < share else ()
                replaced.append(generator.choice(choices) if choices else word)
        return "".join(replaced)

    def _han_words(self, text: str) -> list[str]:
        """The encoder's own words; its marker of an opening lies over the first character."""
        words: list[str] = []
        position = 0
        for start, end in self._tokenizer.backend.encode(text).offsets:
            if start >= position and end > position and (start, end) != (0, 1):
                words.append(text[position:end])
                position = end
        return [word for word in (*words, text[position:]) if word]


def collect_words(messages: Iterable[str], encoder: IntentEncoder) -> dict[str, list[str]]:
    """English words that occur in messages more than a few times, and the encoder's own Chinese words."""
    counts: dict[str, int] = {}
    for message in messages:
        for word in _ENGLISH_WORD.findall(message.lower()):
            counts[word] = counts.get(word, 0) + 1
    english = sorted(word for word, count in counts.items() if count >= _MIN_COUNT)
    chinese = sorted(word for word in encoder.tokenizer.backend.get_vocab() if _HAN_WORD.fullmatch(word))
    return {"en": english, "zh": chinese}


def find_neighbours(words: Mapping[str, Sequence[str]], encoder: IntentEncoder) -> dict[str, tuple[str, ...]]:
    """Words near each word that has any; `words` by language, the encoder as it was pretrained. Takes a minute."""
    return {word: near for known in words.values() for word, near in _nearest(known, encoder).items()}


def _is_han(piece: str) -> bool:
    return "\u4e00" <= piece[0] <= "\u9fff"


def _nearest(words: Sequence[str], encoder: IntentEncoder) -> dict[str, tuple[str, ...]]:
    """Neighbours by cosine between centred embeddings: these encoders put all texts into one narrow cone."""
    if not words:
        return {}
    vectors = encoder.embed(words)
    vectors -= vectors.mean(0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9
    near: dict[str, tuple[str, ...]] = {}
    for start in range(0, len(words), _ROWS):
        cosines = vectors[start : start + _ROWS] @ vectors.T
        best = np.argsort(-cosines, axis=1)[:, 1 : _NUM_NEIGHBOURS + 1]
        for row, columns in enumerate(best):
            chosen = tuple(words[column] for column in columns if cosines[row, column] >= _MIN_COSINE)
            if chosen:
                near[words[start + row]] = chosen
    return near
