"""From a bundle's architecture to Hugging Face's Reformer configuration and back.

The chunk length of the LSH layers is the whole context: the exact path is taken everywhere, so that what is trained is
what is served (the hashed path sees later tokens through its bucket sort and has no incremental form).
"""

from typing import Any

from transformers import ReformerConfig

from model_store.contract.control_tokens import BOS_ID, EOS_ID, PAD_ID
from model_store.contract.manifest import Architecture, Hashing

LAYER_NORM_EPS = 1e-12
LSH_CHUNK = "lsh_attn_chunk_length"
"""The stock field with the length up to which the stock model does not hash."""
_NUM_BUCKETS = 16


def reformer_config(architecture: Architecture, *, dropout: float = 0.0) -> ReformerConfig:
    """The configuration that `ReformerModelWithLMHead` loads our checkpoints with; it ignores our own last fields.

    `num_buckets` is set although the exact path never hashes: the stock model would otherwise write a value of its
    own into the configuration on its first long forward pass. Our own hashing (`hashing.causal_attention`) is none of
    the stock model's.
    """
    return ReformerConfig(
        hidden_size=architecture.hidden_size,
        attn_layers=list(architecture.attn_layers),
        num_attention_heads=architecture.num_attention_heads,
        attention_head_size=architecture.attention_head_size,
        feed_forward_size=architecture.feed_forward_size,
        vocab_size=architecture.vocab_size,
        max_position_embeddings=architecture.max_positions,
        local_attn_chunk_length=architecture.local_chunk_length,
        **{LSH_CHUNK: architecture.max_positions},
        axial_pos_embds=False,
        hidden_act="relu",
        layer_norm_eps=LAYER_NORM_EPS,
        num_buckets=_NUM_BUCKETS,
        num_hashes=1,
        is_decoder=True,
        tie_word_embeddings=False,
        hidden_dropout_prob=float(dropout),
        local_attention_probs_dropout_prob=0.0,
        lsh_attention_probs_dropout_prob=0.0,
        pad_token_id=PAD_ID,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        ngram_rows=architecture.ngram_rows,
        message_summary=architecture.message_summary,
        **hashing_fields(architecture.hashing),
    )


def architecture_of(config: ReformerConfig) -> Architecture:
    """The architecture that a configuration describes."""
    return Architecture(
        hidden_size=config.hidden_size,
        attn_layers=tuple(config.attn_layers),
        num_attention_heads=config.num_attention_heads,
        attention_head_size=config.attention_head_size,
        feed_forward_size=config.feed_forward_size,
        vocab_size=config.vocab_size,
        max_positions=config.max_position_embeddings,
        local_chunk_length=config.local_attn_chunk_length,
        ngram_rows=getattr(config, "ngram_rows", 0),
        message_summary=getattr(config, "message_summary", False),
        hashing=hashing_of(config),
    )


def hashing_fields(hashing: Hashing | None) -> dict[str, Any]:
    """What a configuration says of hashing: nothing where there is none."""
    return {} if hashing is None else {"causal_hashing": hashing.model_dump()}


def hashing_of(config: ReformerConfig) -> Hashing | None:
    """How long prompts are read, where the network was trained to."""
    fields = getattr(config, "causal_hashing", None)
    return None if fields is None else Hashing.model_validate(fields)
