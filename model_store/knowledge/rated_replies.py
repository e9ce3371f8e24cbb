"""Rated replies that resemble another one: by the words of question and reply, as help articles are found.

A reply is liked or disliked for what was said before; to see which ratings stand behind a new one, people read those.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from model_store.knowledge.search import Passage, PassageSearch

MAX_SEARCHED = 5_000
"""The newest of them; indexing takes about a second then."""


@dataclass(frozen=True, slots=True)
class RatedReply:
    """A customer's last message, the reply and what became of it; all masked."""

    completion_id: str
    language: str
    message: str
    reply: str
    rating: str
    reasons: tuple[str, ...] = ()
    correction: str | None = None


class RatedReplySearch:
    """Rated replies, ready to be searched. Immutable and safe to share between threads."""

    def __init__(self, replies: Sequence[RatedReply]) -> None:
        """Takes the last `MAX_SEARCHED` of them: pass the newest last."""
        newest = replies[-MAX_SEARCHED:]
        self._replies = {str(number): reply for number, reply in enumerate(newest)}
        self._search = PassageSearch(
            [Passage(key, key, reply.message, reply.reply, reply.language) for key, reply in self._replies.items()]
        )

    def nearest(
        self, message: str, reply: str, language: str, *, limit: int, but_for: str | None = None
    ) -> list[RatedReply]:
        """The `limit` most alike, the nearest first; `but_for` names the completion that is looked at itself."""
        found = self._search.find(f"{message} {reply}", language, len(self._replies))
        replies = (self._replies[passage.id] for passage in found)
        return [each for each in replies if each.completion_id != but_for][:limit]
