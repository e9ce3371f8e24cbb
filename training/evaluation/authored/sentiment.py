"""How often an intent model tells a customer's sentiment: `python -m training.evaluation.authored.sentiment`.

By the pack's held-out messages, alone and heard after an exchange of another mood, which must not rub off; beside it
what counting words makes of them (`sentiment_words.yaml`), and the sentiment that is there most often.
"""

import argparse
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from sklearn.metrics import f1_score

from model_store.contract.placeholders import fold_case
from model_store.intents.intent_model import DEFAULT_DIRECTORY, IntentModel
from model_store.intents.sentiment import SENTIMENTS, Sentiment
from training.data.domain_pack import PACKS_DIRECTORY
from training.data.sentiment.messages import SentimentMessage, read_sentiment_messages
from training.evaluation.figures import grouped, share

DEFAULT_WORDS_FILE = Path(__file__).with_name("sentiment_words.yaml")
_CLOSING_QUESTIONS = {"en": "Is there anything else that I can do for you?", "zh": "还有什么可以帮您的吗？"}
_WORD = re.compile(r"[a-z']+")
_SEED = 7

Teller = Callable[[SentimentMessage], Sentiment]


def count_words(words: dict[str, dict[Sentiment, list[str]]]) -> Teller:
    """The baseline: the sentiment with more of its words in the message, neutral where neither has."""

    def tell(message: SentimentMessage) -> Sentiment:
        text = message.text.lower()
        spoken = Counter(_WORD.findall(text))
        known = words[message.language]

        def number(sentiment: Sentiment) -> int:
            if message.language == "zh":
                return sum(text.count(word) for word in known[sentiment])
            return sum(spoken[word] for word in known[sentiment])

        surplus = number("positive") - number("negative")
        return "neutral" if surplus == 0 else "positive" if surplus > 0 else "negative"

    return tell


def hear_alone(model: IntentModel) -> Teller:
    """What the model makes of a first message. Raises ValueError when it tells no sentiment."""
    return lambda message: _told(model, message.text, ())


def hear_after_another_mood(model: IntentModel, messages: Sequence[SentimentMessage]) -> Teller:
    """What it makes of the message after an exchange that another of the messages, of another sentiment, began."""
    generator = random.Random(_SEED)
    earlier = {
        message: generator.choice(
            [one.text for one in messages if one.language == message.language and one.sentiment != message.sentiment]
        )
        for message in messages
    }

    def tell(message: SentimentMessage) -> Sentiment:
        before = _CLOSING_QUESTIONS[message.language], fold_case(earlier[message])
        return _told(model, message.text, before)

    return tell


def sentiment_table(messages: Sequence[SentimentMessage], tellers: dict[str, Teller]) -> str:
    """By language and teller: accuracy with its 95 % interval, macro-averaged F1, and the F1 of each sentiment."""
    lines = []
    for language, group in grouped(messages, lambda message: message.language).items():
        right = [message.sentiment for message in group]
        most, num_most = Counter(right).most_common(1)[0]
        lines.append(f"{language}: {len(group)} messages; always {most}: accuracy {num_most / len(group):.3f}")
        for name, tell in tellers.items():
            told = [tell(message) for message in group]
            accuracy = share([one is other for one, other in zip(told, right, strict=True)])
            scores = f1_score(right, told, labels=SENTIMENTS, average=None, zero_division=0)
            each = " ".join(f"{sentiment} {score:.3f}" for sentiment, score in zip(SENTIMENTS, scores, strict=True))
            lines.append(f"{language}: {name:24} accuracy {accuracy}, F1 {sum(scores) / len(scores):.3f} ({each})")
    return "\n".join(lines)


def _told(model: IntentModel, text: str, before: Sequence[str]) -> Sentiment:
    sentiment = model.hear(fold_case(text), before).sentiment
    if sentiment is None:
        raise ValueError("the intent model tells no sentiment")
    return sentiment


def main() -> int:
    """Prints the table; 1 where the model tells no sentiment, or the pack has no messages to measure by."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--intents", type=Path, default=DEFAULT_DIRECTORY, help="folder of the intent model")
    parser.add_argument("--pack", default="shop")
    parser.add_argument("--show", action="store_true", help="print the messages that are mistaken, too")
    options = parser.parse_args()
    model = IntentModel.load(options.intents)
    messages = read_sentiment_messages(PACKS_DIRECTORY / options.pack).held_out
    if not model.tells_sentiment or not messages:
        print("No sentiment to measure: the model has no such output, or the pack no messages.", file=sys.stderr)
        return 1
    alone = hear_alone(model)
    words = yaml.safe_load(DEFAULT_WORDS_FILE.read_text(encoding="utf-8"))
    tellers = {
        "counted words": count_words(words),
        "heard alone": alone,
        "heard after another mood": hear_after_another_mood(model, messages),
    }
    print(sentiment_table(messages, tellers))
    for message in messages if options.show else ():
        if (told := alone(message)) != message.sentiment:
            print(f"{message.language}: {message.sentiment} told as {told}: {message.text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
