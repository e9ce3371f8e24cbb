"""The sentiment head of the intent model: fitted to the tuned encoder's states of the pack's messages, in seconds.

Each message is read twice where the model hears turns: alone, and before a turn from the pack's conversations, so that
the head learns what is said now and not what was said before.
"""

import random
from collections.abc import Sequence
from itertools import islice

from model_store.contract.placeholders import fold_case
from model_store.intents.sentiment import SENTIMENTS
from model_store.intents.turns import SEPARATOR
from training.data.domain_pack import DomainPack
from training.data.plan_teacher.encoder import IntentEncoder
from training.data.plan_teacher.later_messages import draw_later_messages
from training.data.sentiment.messages import SentimentMessage
from training.export.intents.search_space import search_layers
from training.export.intents.sentiment_head import SentimentHead, fit_sentiment_head
from training.stages.base_model.plan_teacher import intents_of

_NUM_TURNS = 4_000


def sentiment_head(
    encoder: IntentEncoder, messages: Sequence[SentimentMessage], turns: dict[str, list[str]], seed: int
) -> SentimentHead | None:
    """The head; None for a pack that does not show every sentiment. `turns` are put after messages, by language."""
    if {message.sentiment for message in messages} != set(SENTIMENTS):
        return None
    generator = random.Random(seed)
    rows = [(fold_case(message.text), message.sentiment) for message in messages]
    rows += [
        (SEPARATOR.join((fold_case(message.text), generator.choice(turns[message.language]))), message.sentiment)
        for message in messages
        if turns.get(message.language)
    ]
    layers = search_layers(encoder.network.config.num_hidden_layers)
    states = encoder.own_states([text for text, _ in rows], layers)
    return fit_sentiment_head(layers, states, [sentiment for _, sentiment in rows])


def turns_to_ignore(pack: DomainPack, seed: int) -> dict[str, list[str]]:
    """By language: what stands behind a later message where it is heard."""
    turns: dict[str, list[str]] = {}
    for text, language, _ in islice(draw_later_messages(pack, intents_of(pack), seed), _NUM_TURNS):
        turns.setdefault(language, []).append(text.partition(SEPARATOR)[2])
    return turns
