"""The n-gram head of the intent model: fitted to the pack's asks as their subwords are served, in some minutes."""

import random
from collections.abc import Iterator
from itertools import islice

from tokenizers import Tokenizer

from model_store.contract.placeholders import fold_case
from training.data.domain_pack import DomainPack, fill_slots
from training.data.plan_teacher.encoder import MAX_TOKENS
from training.data.plan_teacher.later_messages import draw_later_messages
from training.data.plan_teacher.pretrained_encoder import PREFIX, end_ids
from training.export.intents.ngram_head import NgramHead, fit_ngram_head
from training.stages.base_model.plan_teacher import intents_of

_NUM_LATER_MESSAGES = 20_000


def ngram_head(pack: DomainPack, tokenizer: Tokenizer, seed: int, *, hears_turns: bool) -> NgramHead:
    """Learns every ask once, and where turns are heard later messages with the turn before them."""
    intents = intents_of(pack)
    examples = list(_asks(pack, seed))
    if hears_turns:
        later = islice(draw_later_messages(pack, intents, seed), _NUM_LATER_MESSAGES)
        examples += [(text, intent) for text, _, intent in later]
    encodings = tokenizer.encode_batch([PREFIX + fold_case(text) for text, _ in examples])
    columns = {intent: column for column, intent in enumerate(intents)}
    return fit_ngram_head(
        [encoding.ids[:MAX_TOKENS] for encoding in encodings],
        [columns[intent] for _, intent in examples],
        end_ids(tokenizer),
    )


def _asks(pack: DomainPack, seed: int) -> Iterator[tuple[str, str]]:
    generator = random.Random(seed)
    for intent in pack.intents:
        for ask in intent.asks:
            yield fill_slots(ask, pack.slots[intent.language], generator), intent.name
