"""The reply check: nothing unsafe is shown, not even its first half.

A completion passes sentence by sentence. What an author of the bundle once wrote up to here, and is harmless as far as
it goes, is shown at once: nearly all that the bot says, so nobody waits. Everything else waits for its sentence's end.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable

from model_store.contract.safety.rules import Finding, SafetyRules

_SENTENCE_END = re.compile(r"[.!?][.!?\"'”’)]*(?=\s)|[。！？\n]+[”’）]*")


class AuthoredSentences:
    """How the sentences of a bundle's authored replies begin. Immutable."""

    def __init__(self, replies: Iterable[str] = ()) -> None:
        """Masked replies."""
        self._sentences = sorted({sentence for reply in replies for sentence in _sentences_of(reply)})

    def has_beginning(self, text: str) -> bool:
        """Whether a sentence begins like this, or is this."""
        wanted = text.lstrip()
        place = bisect_left(self._sentences, wanted)
        return bool(wanted) and place < len(self._sentences) and self._sentences[place].startswith(wanted)


class ReplyCheck:
    """Follows one completion's masked text."""

    def __init__(self, rules: SafetyRules, authored: AuthoredSentences) -> None:
        self._rules = rules
        self._authored = authored
        self._sentence = ""
        self._num_shown = 0
        self.finding: Finding | None = None
        """What was wrong with a sentence; nothing is shown from there on."""

    @property
    def is_holding(self) -> bool:
        """Whether there is text that must not be shown yet."""
        return self._num_shown < len(self._sentence)

    @property
    def is_inside_sentence(self) -> bool:
        """Whether the beginning of an unfinished sentence has been shown."""
        return self._num_shown > 0

    @property
    def withheld(self) -> str:
        """The sentence that was found unsafe."""
        return self._sentence if self.finding else ""

    def feed(self, piece: str) -> str:
        """The text that may be shown after this piece."""
        if self.finding is not None:
            return ""
        self._sentence += piece
        shown = ""
        while self.finding is None and (end := _SENTENCE_END.search(self._sentence)) is not None:
            shown += self._pass_sentence(end.end())
        if self.finding is None and self._is_harmless_beginning():
            shown += self._sentence[self._num_shown :]
            self._num_shown = len(self._sentence)
        return shown

    def flush(self) -> str:
        """What is still held when the completion ends."""
        return self._pass_sentence(len(self._sentence)) if self.finding is None else ""

    def _pass_sentence(self, end: int) -> str:
        """Lets a whole sentence pass, or takes note of what is wrong with it."""
        sentence, rest = self._sentence[:end], self._sentence[end:]
        self.finding = self._rules.in_reply(sentence)
        if self.finding is not None:
            self._sentence = sentence
            return ""
        shown = sentence[self._num_shown :]
        self._sentence, self._num_shown = rest, 0
        return shown

    def _is_harmless_beginning(self) -> bool:
        is_known = not self._rules.check_replies or self._authored.has_beginning(self._sentence)
        return is_known and self._rules.in_reply(self._sentence) is None


def said_in_place(pieces: Iterable[str], check: ReplyCheck, language: str) -> str:
    """A whole masked completion as a customer reads it: from an unsafe sentence on, in the rule's words.

    `pieces` are what its tokens add, for how far a sentence has come decides what is out before it is found unsafe.
    """
    said = ""
    for piece in pieces:
        said += check.feed(piece)
    said += check.flush()
    if check.finding is None:
        return said
    joint = joint_before(said, language, is_inside_sentence=check.is_inside_sentence)
    return said + joint + check.finding.rule.replies[language]


def joint_before(said: str, language: str, *, is_inside_sentence: bool) -> str:
    """What stands between what was said and a sentence in place of the next, or of the rest of the last."""
    if is_inside_sentence:
        return "… " if language == "en" else "……"
    return " " if said and not said[-1].isspace() and language == "en" else ""


def _sentences_of(reply: str) -> Iterable[str]:
    start = 0
    for end in _SENTENCE_END.finditer(reply):
        yield reply[start : end.end()].lstrip()
        start = end.end()
    if start < len(reply):
        yield reply[start:].lstrip()
