"""How many messages of each sentiment a pack should have, where it has any; what breaks a rule is refused when read."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from model_store.intents.sentiment import SENTIMENTS
from training.data.sentiment.messages import read_sentiment_messages
from training.pack_lint.problem import Problem

MIN_TO_LEARN = 150
MIN_HELD_OUT = 60


def sentiment_problems(directory: Path, languages: Sequence[str]) -> Iterator[Problem]:
    """What each language is short of. Raises InvalidDomainPackError for a message that stands twice or names a slot."""
    found = read_sentiment_messages(directory)
    parts = (("messages", found.to_learn, MIN_TO_LEARN), ("held-out messages", found.held_out, MIN_HELD_OUT))
    for what, messages, needed in parts if found.to_learn or found.held_out else ():
        counts = Counter((message.language, message.sentiment) for message in messages)
        for language in languages:
            for sentiment in SENTIMENTS:
                number = counts[language, sentiment]
                if number < needed:
                    yield Problem(language, "sentiment", f"{number} {sentiment} {what}, {needed} are needed")
