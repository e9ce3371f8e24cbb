"""Training the tokenizer: byte-level BPE behind the fixed control-token table."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from model_store.contract.control_tokens import CONTROL_TOKENS
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
