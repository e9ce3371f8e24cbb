"""The fixed table of control tokens: ids 0 to 255 of every tokenizer of this project.

Control ids are spliced in as integers. Their spellings below exist because a vocabulary file needs one; text is never
searched for them, so typing `<|eos|>` gives ordinary characters. Ids are forever: append into the reserved ranges only.
"""

from collections.abc import Collection

from model_store.contract.placeholders import ARTICLE, ENTITY_PLACEHOLDERS, FACT_PLACEHOLDERS, REDACTED

PAD_ID, BOS_ID, EOS_ID, SYSTEM_ID, USER_ID, ASSISTANT_ID, REDACTED_ID = range(7)
FIRST_ENTITY_ID = 16
FIRST_FACT_ID = FIRST_ENTITY_ID + len(ENTITY_PLACEHOLDERS)
ARTICLE_ID = 110
FIRST_PLAN_ID = 128
NUM_PLANS = 128
NUM_CONTROL_TOKENS = FIRST_PLAN_ID + NUM_PLANS

_FACT_IDS = tuple(token_id for token_id in range(FIRST_FACT_ID, FIRST_PLAN_ID) if token_id != ARTICLE_ID)
"""Where facts may lie, in order: the article was there before the facts that are yet to come."""


def reserved_spelling(token_id: int) -> str:
    """How a vocabulary file spells a control id that had no meaning yet when the file was made."""
    return f"<|reserved_{token_id}|>"


def _build_table() -> tuple[str, ...]:
    table = [reserved_spelling(token_id) for token_id in range(NUM_CONTROL_TOKENS)]
    table[:7] = ["<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", REDACTED]
    table[FIRST_ENTITY_ID:FIRST_FACT_ID] = ENTITY_PLACEHOLDERS
    table[ARTICLE_ID] = ARTICLE
    if len(FACT_PLACEHOLDERS) > len(_FACT_IDS):
        raise AssertionError("the placeholders have outgrown their range of the control-token table")
    for token_id, placeholder in zip(_FACT_IDS, FACT_PLACEHOLDERS, strict=False):
        table[token_id] = placeholder
    table[FIRST_PLAN_ID:] = [f"<|plan_{number}|>" for number in range(NUM_PLANS)]
    return tuple(table)


CONTROL_TOKENS = _build_table()
PLACEHOLDER_IDS = {
    CONTROL_TOKENS[token_id]: token_id
    for token_id in (
        REDACTED_ID,
        *range(FIRST_ENTITY_ID, FIRST_FACT_ID),
        *_FACT_IDS[: len(FACT_PLACEHOLDERS)],
        ARTICLE_ID,
    )
}
"""Token id of every placeholder."""

NEVER_GENERATED_IDS = frozenset(range(NUM_CONTROL_TOKENS)) - frozenset(PLACEHOLDER_IDS.values()) - {EOS_ID} | {
    REDACTED_ID
}
"""Control ids that no sampler may choose, but for a plan as a completion's first token (`Tokenizer.plans`)."""


def banned_unless_named(named: Collection[str]) -> frozenset[int]:
    """What a completion must not hold: structure, and what its prompt has not named of entities and the article."""
    needs_naming = (*ENTITY_PLACEHOLDERS, ARTICLE)
    return NEVER_GENERATED_IDS | {PLACEHOLDER_IDS[name] for name in needs_naming if name not in named}


def plan_spelling(name: str) -> str:
    """How a vocabulary file spells the control token of a named plan."""
    return f"<|plan:{name}|>"
