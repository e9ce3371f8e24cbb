"""Training the tokenizer: byte-level BPE behind the fixed control-token table."""

import json
from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from model_store.contract.control_tokens import CONTROL_TOKENS, FIRST_PLAN_ID, plan_spelling
from model_store.contract.placeholders import split_masked


def train_subwords(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A tokenizer over masked texts; placeholders are cut out first and digits stand alone."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(CONTROL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    literal = (segment.text for text in texts for segment in split_masked(text) if not segment.is_placeholder)
    backend.train_from_iterator(literal, trainer)
    return backend


def name_plans(backend: Tokenizer, plans: Sequence[str]) -> Tokenizer:
    """A copy whose first plan tokens are named `plans`, in that order; names it had are dropped.

    Control ids that were reserved when the vocabulary was made get the spelling that they have by now.
    """
    state = json.loads(backend.to_str())
    token_ids = range(FIRST_PLAN_ID, len(CONTROL_TOKENS))
    spellings = dict(enumerate(CONTROL_TOKENS))
    spellings.update(zip(token_ids, map(plan_spelling, plans), strict=False))
    vocabulary = state["model"]["vocab"]
    state["model"]["vocab"] = {spellings.get(token_id, token): token_id for token, token_id in vocabulary.items()}
    for token in state["added_tokens"]:
        token["content"] = spellings.get(token["id"], token["content"])
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))
