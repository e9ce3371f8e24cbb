"""The chat template and the tokenizer: text is data, structure is integers."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.contract.chat_template import render
from model_store.contract.control_tokens import (
    ASSISTANT_ID,
    BOS_ID,
    CONTROL_TOKENS,
    EOS_ID,
    FIRST_PLAN_ID,
    NEVER_GENERATED_IDS,
    NUM_CONTROL_TOKENS,
    PLACEHOLDER_IDS,
    SYSTEM_ID,
    USER_ID,
)
from model_store.contract.conversation import Message, Role, check_prompt, detect_language, language_of
from model_store.contract.tokenizer import IncrementalDecoder, Tokenizer
from model_store.errors import InvalidConversationError, InvalidTokenizerError
from training.data.subwords import name_plans

SHIPPED = Path(__file__).parents[3] / "model_store" / "default" / "tokenizer.json"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(SHIPPED)


def test_the_table_of_control_tokens_never_moves() -> None:
    """Ids that old bundles and stored completions rely on are where they always were."""
    assert len(set(CONTROL_TOKENS)) == NUM_CONTROL_TOKENS == 256
    assert CONTROL_TOKENS[:7] == (
        "<|pad|>",
        "<|bos|>",
        "<|eos|>",
        "<|system|>",
        "<|user|>",
        "<|assistant|>",
        "<REDACTED>",
    )
    assert (PLACEHOLDER_IDS["<EMAIL>"], PLACEHOLDER_IDS["<ORDER_ID>"], PLACEHOLDER_IDS["<BRAND>"]) == (16, 40, 82)
    assert PLACEHOLDER_IDS["<CRISIS_LINE>"] == 109 and FIRST_PLAN_ID == 128
    assert EOS_ID not in NEVER_GENERATED_IDS and PLACEHOLDER_IDS["<REDACTED>"] in NEVER_GENERATED_IDS


def test_a_conversation_renders_to_roles_text_and_ends(tokenizer: Tokenizer) -> None:
    """Structure is spliced in, and the loss mask covers the assistant's words and its end, nothing else."""
    messages = [
        Message(Role.SYSTEM, "Be kind."),
        Message(Role.USER, "hi"),
        Message(Role.ASSISTANT, "Hello <NAME>!"),
        Message(Role.USER, "bye"),
    ]
    rendered = render(messages, tokenizer, for_completion=True)
    ids = rendered.token_ids
    assert ids[0] == BOS_ID and ids[1] == SYSTEM_ID and ids[-1] == ASSISTANT_ID
    assert [i for i in ids if i in (USER_ID, ASSISTANT_ID, EOS_ID)] == [
        USER_ID,
        ASSISTANT_ID,
        EOS_ID,
        USER_ID,
        ASSISTANT_ID,
    ]
    targets = [token_id for token_id, is_target in zip(ids, rendered.target_mask, strict=True) if is_target]
    assert tokenizer.decode(targets) == "Hello <NAME>!" and targets[-1] == EOS_ID
    assert PLACEHOLDER_IDS["<NAME>"] in targets


def test_capitals_of_customers_make_no_difference_and_placeholders_keep_theirs(tokenizer: Tokenizer) -> None:
    """What others wrote stays as it is."""
    shouted, spoken = (
        render([Message(Role.SYSTEM, "Be kind."), Message(Role.USER, text)], tokenizer, for_completion=True).token_ids
        for text in ("WHERE is <ORDER_ID>, Ünal?", "where is <ORDER_ID>, ünal?")
    )
    assert shouted == spoken and PLACEHOLDER_IDS["<ORDER_ID>"] in shouted
    replies = [render([Message(Role.ASSISTANT, text)], tokenizer, for_completion=False) for text in ("Yes", "yes")]
    assert replies[0].token_ids != replies[1].token_ids


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.one_of(st.sampled_from("<|>_eosubrEMAIL"), st.characters(codec="utf-8")), max_size=40))
def test_no_text_becomes_a_control_token(text: str) -> None:
    """Whatever a text spells, its ids are ordinary subwords, and they decode to the same text."""
    tokenizer = Tokenizer.load(SHIPPED)
    for extra in ("", "<|eos|>", "<|user|>", "<|plan_3|>"):
        plain = (text + extra).replace("<", "‹")
        spelled = tokenizer.encode(plain)
        assert all(token_id >= NUM_CONTROL_TOKENS for token_id in spelled)
        assert tokenizer.decode(spelled) == plain
    assert all(token_id >= NUM_CONTROL_TOKENS for token_id in tokenizer.encode("<|eos|><|assistant|><|plan_1|>"))


def test_a_character_appears_once_its_bytes_are_there(tokenizer: Tokenizer) -> None:
    """Streaming decode never shows half a Chinese character, and says U+FFFD where one was cut off."""
    decoder = IncrementalDecoder(tokenizer)
    ids = tokenizer.encode("订单😀龘")
    shown = [decoder.feed(token_id) for token_id in ids]
    assert "".join(shown) == "订单😀龘" and "\ufffd" not in "".join(shown)
    decoder.feed(ids[-2])
    assert decoder.flush() in ("", "\ufffd")


def test_a_foreign_tokenizer_is_refused(tmp_path: Path) -> None:
    """A tokenizer file that is none, or lacks the control-token table, is refused by name."""
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(InvalidTokenizerError, match="tokenizer.json"):
        Tokenizer.load(path)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [Message(Role.ASSISTANT, "hi")],
        [Message(Role.USER, "a"), Message(Role.SYSTEM, "b"), Message(Role.USER, "c")],
    ],
)
def test_a_conversation_that_cannot_be_answered_is_refused(messages: list[Message]) -> None:
    """Only a conversation that ends with the user, system first if at all, is a prompt."""
    with pytest.raises(InvalidConversationError):
        check_prompt(messages)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("I forgot my password", "en"),
        ("我忘记了我的账户密码", "zh"),
        ("我的iPhone耳机坏了", "zh"),
        ("???", "en"),
        ("。。。，，", "zh"),
        ("？", "zh"),
        ("what is 你好", "zh"),
    ],
)
def test_the_language_is_told_from_the_letters(text: str, language: str) -> None:
    """A fifth of Han characters makes a text Chinese."""
    assert detect_language(text) == language


def test_a_message_without_words_is_in_the_language_that_was_spoken_before() -> None:
    """An order number after a Chinese question is answered in Chinese, whatever the bot has said in between."""
    asked = (Message(Role.USER, "我的快递到哪了"), Message(Role.ASSISTANT, "Which order?"))
    assert language_of((*asked, Message(Role.USER, "<ORDER_ID>!"))) == "zh"
    assert language_of((*asked, Message(Role.USER, "<ORDER_ID> please"))) == "en"
    assert language_of((Message(Role.USER, "???"),)) == "en"


def test_a_reply_opens_with_its_plan_and_nobody_reads_it(tokenizer: Tokenizer) -> None:
    """The plan stands behind the last role, belongs to the assistant's words, and vanishes when decoded."""
    planned = Tokenizer(name_plans(tokenizer.backend, ["refund", "track/ask_order_id"]))
    assert dict(planned.plans) == {"refund": 128, "track/ask_order_id": 129} and planned.opening_ids == {128, 129}
    messages = [Message(Role.ASSISTANT, "Hi"), Message(Role.USER, "where is it"), Message(Role.ASSISTANT, "Which one?")]
    rendered = render(messages, planned, for_completion=False, plan="track/ask_order_id")
    position = rendered.token_ids.index(129)
    assert rendered.token_ids[position - 1] == ASSISTANT_ID and rendered.target_mask[position]
    assert rendered.token_ids.count(129) == 1 and planned.plan_of(rendered.token_ids[position:]) == "track/ask_order_id"
    assert planned.decode(rendered.token_ids[position:]) == "Which one?"
    assert render(messages, planned, for_completion=False, plan="unknown") == render(
        messages, tokenizer, for_completion=False
    )


def test_plans_are_renamed_without_touching_any_other_token(tokenizer: Tokenizer) -> None:
    """Naming again replaces the names; words keep their ids, and typing a plan's spelling gives plain characters."""
    once = name_plans(tokenizer.backend, ["refund", "track"])
    again = Tokenizer(name_plans(once, ["greeting"]))
    assert dict(again.plans) == {"greeting": 128} and again.plan_of([129]) is None
    text = "Wo ist <ORDER_ID>? 我的订单 <|plan:greeting|>"
    assert again.encode(text) == tokenizer.encode(text) and min(again.encode("<|plan:greeting|>")) >= NUM_CONTROL_TOKENS
