"""The matter that a customer came for: what the bot has said about it so far, and when that is enough.

A reply's plan is not part of a conversation that a client sends back, but what the bot says is what authors wrote: a
bundle's replies tell by their words. Service and evaluation count alike.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from model_store.contract.conversation import Message, Role
from model_store.contract.placeholders import FACT_PLACEHOLDERS, LIKE_A_PLACEHOLDER
from model_store.contract.tokenizer import Tokenizer
from model_store.replies import load_replies
from model_store.reply_fit import ReplyFit

_Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
_WORD = re.compile(r"[^\W\d_\u3400-\u9fff]{4,}|[\u3400-\u9fff]")
_ALIKE = 0.5
"""Share of the words of two messages that both hold, from which one says the other again."""
_TELLING = 3
"""Letters in common, or Han characters, that messages need for it."""
_CIRCLES = 2
"""Times as many answers as are enough, after which not even another one that fits helps."""


class KnownReplies:
    """A bundle's authored replies, and what each is about. Immutable."""

    def __init__(self, replies: Iterable[tuple[str, str]] = (), fit: ReplyFit | None = None) -> None:
        """Plans and the masked words that follow them; `fit` says by their numbers whom they suit."""
        self._replies = [(plan.partition("/")[0], text.strip()) for plan, text in replies]
        self._fit = fit
        topics: dict[str, set[str]] = defaultdict(set)
        for topic, text in self._replies:
            if topic:
                topics[text].add(topic)
        self._topics = {text: frozenset(names) for text, names in topics.items()}

    @classmethod
    def load(cls, bundle_directory: Path, vocab_size: int, tokenizer: Tokenizer) -> "KnownReplies":
        """Those of a bundle. Raises ValueError for files that are not what they should be."""
        replies = list(load_replies(bundle_directory, vocab_size))
        known = ((tokenizer.plan_of(reply) or "", tokenizer.decode(reply)) for reply in replies)
        return cls(known, ReplyFit.load(bundle_directory, replies, tokenizer))

    @property
    def texts(self) -> Iterator[str]:
        """The masked words of each."""
        return (text for _, text in self._replies)

    def answers(self, topic: str, conversation: Sequence[Message]) -> bool:
        """Whether there is something about `topic` that was written for what the customer says last, and is unsaid."""
        if self._fit is None:
            return False
        said = {message.content.strip() for message in conversation if message.role is Role.ASSISTANT}
        speaks = self._fit.of_messages(conversation).speaks
        written = (self._replies[number] for number in np.flatnonzero(speaks))
        return any(about == topic and text not in said for about, text in written)

    def was_written_for(self, reply: Message, before: Sequence[Message]) -> bool:
        """Whether what the bot said was written for what the customer had just said then."""
        if self._fit is None:
            return False
        speaks = np.flatnonzero(self._fit.of_messages(before).speaks)
        return any(self._replies[number][1] == reply.content.strip() for number in speaks)

    def is_spoken_of(self, topic: str, conversation: Sequence[Message]) -> bool:
        """Whether a later message that is not plainly about `topic` may be taken for it all the same: the bot spoke of
        it last, or something about it was written for what the customer says and is unsaid. Never a first message.
        """
        replies = (message.content for message in reversed(conversation) if message.role is Role.ASSISTANT)
        last = next(replies, None)
        return last is not None and (topic in self.topics_of(last) or self.answers(topic, conversation))

    def topic_answered(self, conversation: Sequence[Message]) -> str | None:
        """The topic of which the bot spoke last where the customer answers that in words that an author expected; None
        where nothing unsaid was written for them.
        """
        spoken = [message.content.strip() for message in conversation if message.role is Role.ASSISTANT]
        *before, last = (message.content for message in conversation if message.role is Role.USER)
        if self._fit is None or not spoken or any(_is_alike(last, each) for each in before):
            return None
        matters = self.topics_of(spoken[-1])
        written = [self._replies[number] for number in self._fit.answering(conversation)]
        return min((topic for topic, text in written if topic in matters and text not in spoken), default=None)

    def topics_of(self, masked: str) -> frozenset[str]:
        """What an earlier reply may have been about: several where authors said the same, none if nobody did."""
        return self._topics.get(masked.strip(), frozenset())

    def answer_likelihood(self, probabilities: Mapping[str, float], conversation: Sequence[Message]) -> float | None:
        """How likely an intent model thinks the likeliest topic, where that one `answers`; else None."""
        topic = max(probabilities, key=probabilities.__getitem__, default=None)
        return probabilities[topic] if topic is not None and self.answers(topic, conversation) else None


class FruitlessRule(BaseModel):
    """When a customer who goes on about a matter is left to a person. `plan_rules.yaml` says what the entries mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    after: Annotated[int, Field(ge=0, le=20)]
    counts_always: tuple[str, ...]
    wording: dict[Literal["en", "zh"], _Text]

    @field_validator("wording")
    @classmethod
    def _check_wording(cls, wording: dict[str, str]) -> dict[str, str]:
        for language in ("en", "zh"):
            if not {*LIKE_A_PLACEHOLDER.findall(wording.get(language, "<NONE>"))} <= {*FACT_PLACEHOLDERS}:
                raise ValueError(f"its text in {language!r} must be there, and hold no placeholders but facts")
        return wording

    def wording_in(self, language: str) -> str:
        """The masked reply that hands over."""
        return self.wording["zh" if language == "zh" else "en"]

    def is_enough(self, topic: str, earlier: Sequence[Message], known: KnownReplies, matters: Collection[str]) -> bool:
        """Whether masked messages `earlier` hold so many answers about `topic` that one more would be one too many.

        What was written for what the customer had said was not in vain unless he says that again, nor is it where such
        an answer is still to be given: these may be twice as many in all. Only `matters` are counted, and answered: who
        greets four times wants nothing. The bot's last replies count, up to one about another matter, or to the words
        of this rule. Small talk, questions and articles in between, and words that nobody wrote, neither count nor end
        it.
        """
        if not self.after or topic not in matters:
            return False
        places = self._answers_about(topic, earlier, known, matters)
        if len(places) < self.after:
            return False
        if len(places) >= _CIRCLES * self.after:
            return True
        said = _last_said(earlier)
        is_again = [_is_alike(said, _last_said(earlier[:place])) for place in places]
        if sum(is_again) >= self.after:
            return True
        in_vain = [
            again or not known.was_written_for(earlier[place], earlier[:place])
            for place, again in zip(places, is_again, strict=True)
        ]
        return sum(in_vain) >= self.after and not known.answers(topic, earlier)

    def _answers_about(
        self, topic: str, earlier: Sequence[Message], known: KnownReplies, matters: Collection[str]
    ) -> list[int]:
        """Places of the bot's replies that count, the last one first."""
        places: list[int] = []
        for place, reply in self._replies_since(earlier):
            topics = known.topics_of(reply).intersection(matters)
            if topics and topic in self.counts_always and not topics.intersection(self.counts_always):
                topic = min(topics)  # what did not help was said about this
            if topics.intersection((topic, *self.counts_always)):
                places.append(place)
            elif topics:
                break
        return places

    def _replies_since(self, earlier: Sequence[Message]) -> Iterator[tuple[int, str]]:
        """The bot's with their places, the last one first, back to where it left the customer to a person."""
        for place, message in reversed(list(enumerate(earlier))):
            if message.role is Role.ASSISTANT:
                if message.content in self.wording.values():
                    return
                yield place, message.content


def _last_said(messages: Sequence[Message]) -> str:
    return next((message.content for message in reversed(messages) if message.role is Role.USER), "")


def _is_alike(one: str, other: str) -> bool:
    """Whether two messages say the same in about the same words. Short Latin words tell nothing, nor does 没有."""
    words, others = ({*_WORD.findall(text.lower())} for text in (one, other))
    return len("".join(words & others)) >= _TELLING and len(words & others) >= _ALIKE * len(words | others)
