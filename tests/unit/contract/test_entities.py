"""Entities: what is taken out of a customer's text, and how it comes back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.contract.entities import EntityMasker, EntityVault, compile_operator_pattern
from model_store.contract.placeholders import ALL_PLACEHOLDERS, MAX_ENTITIES_PER_TYPE, REDACTED, split_masked
from model_store.contract.unmasking import StreamUnmasker, unmask

MASKER = EntityMasker()
CASES = [
    ("Where is my order 4155550132?", "Where is my order <ORDER_ID>?"),
    ("mail me at jo.b@x.com or +44 20 7946 0958", "mail me at <EMAIL> or <PHONE>"),
    ("订单号A12345678什么时候到？我叫王小明，电话13812345678", "订单号<ORDER_ID>什么时候到？我叫<NAME>，电话<PHONE>"),
    (
        "A1B2-77345, bought with covid-19 and a wh-1000 around",
        "<ORDER_ID>, bought with covid-19 and a <ORDER_ID_2> around",
    ),
    ("SPRING15 and welcome10 won't go with KX20LM77AB", "SPRING15 and welcome10 won't go with <ORDER_ID>"),
    ("order #1023 and order 9981-22", "order #<ORDER_ID> and order <ORDER_ID_2>"),
    ("tracking 1Z999AA10123456784, paid $23.50 on 12 March", "tracking <TRACKING_ID>, paid <AMOUNT> on <DATE>"),
    ("card 4111 1111 1111 1111", "card <CARD>"),
    ("IBAN GB82 WEST 1234 5698 7654 32", "IBAN <IBAN>"),
    ("我买了3件，花了299元，5月3号下单的", "我买了3件，花了<AMOUNT>，<DATE>下单的"),
    ("This is Anna Smith, postcode SW1A 1AA", "This is <NAME>, postcode <POSTCODE>"),
    ("see https://shop.example/a?b=1.", "see <URL>."),
    ("order 2 shirts in size 42", "order 2 shirts in size 42"),
    ("快递单号SF1234567890123", "快递单号<TRACKING_ID>"),
    ("收件人张伟，电话13812345678", "收件人<NAME>，电话<PHONE>"),
    ("姓名：李雷", "姓名：<NAME>"),
    ("姓名贴定制多少钱", "姓名贴定制多少钱"),
    ("收件人地址写错了", "收件人地址写错了"),
]


@pytest.mark.parametrize(("text", "masked"), CASES)
def test_entities_become_typed_placeholders(text: str, masked: str) -> None:
    """Each kind of entity is found in natural English and Chinese text, and ordinary numbers stay."""
    assert MASKER.mask(text, EntityVault()) == masked


@pytest.mark.parametrize(("text", "_masked"), CASES)
def test_unmasking_restores_the_text(text: str, _masked: str) -> None:
    """Masked text with its own vault's values is the text again."""
    vault = EntityVault()
    masked = MASKER.mask(text, vault)
    assert unmask(masked, lambda placeholder: vault.value_of(placeholder) or "?") == text


def test_the_same_value_keeps_its_placeholder_over_a_conversation() -> None:
    """A value that comes again, spaced otherwise, is the same entity; another value gets the next number."""
    vault = EntityVault()
    assert MASKER.mask("order AB-12345", vault) == "order <ORDER_ID>"
    assert (
        MASKER.mask("again: order ab12345, not order 77889", vault) == "again: order <ORDER_ID>, not order <ORDER_ID_2>"
    )


def test_more_values_than_numbers_are_redacted() -> None:
    """A type's seventh distinct value is masked for good: nothing personal stays, nothing is mixed up."""
    vault = EntityVault()
    texts = [MASKER.mask(f"order {number}", vault) for number in range(100001, 100002 + MAX_ENTITIES_PER_TYPE)]
    assert texts[-1] == f"order {REDACTED}" and REDACTED not in texts[-2]


def test_a_placeholder_that_a_person_types_is_only_text() -> None:
    """Typed look-alikes are rewritten, so masked text holds only placeholders that masking made."""
    masked = MASKER.mask("<ORDER_ID> and <SOMETHING_NEW> for order 12345", EntityVault())
    assert masked == "‹ORDER_ID› and ‹SOMETHING_NEW› for order <ORDER_ID>"


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="<>_ABDEIORD‹1234 @.-a订单", max_size=60))
def test_no_text_can_forge_a_placeholder(text: str) -> None:
    """Every placeholder in masked text has a value in the vault, whatever was typed."""
    vault = EntityVault()
    masked = MASKER.mask(text, vault)
    found = {segment.text for segment in split_masked(masked) if segment.is_placeholder}
    assert found <= vault.placeholders | {REDACTED}


def test_an_operators_pattern_comes_first() -> None:
    """A shop's own order-number format beats the general ones."""
    masker = EntityMasker([compile_operator_pattern("ORDER_ID", r"\bLL/\d{2}/[a-z]{3}\b")])
    assert masker.mask("status of LL/24/abc?", EntityVault()) == "status of <ORDER_ID>?"
    with pytest.raises(ValueError, match="not one of"):
        compile_operator_pattern("SHOE", r"\d")
    with pytest.raises(ValueError, match="not a regular expression"):
        compile_operator_pattern("ORDER_ID", "(")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["a", "<", "ORDER", "_ID", ">", "<EMAIL>", "_2", "单", " "]), max_size=30), st.data())
def test_a_stream_reads_the_same_however_it_is_cut(pieces: list[str], data: st.DataObject) -> None:
    """Unmasking piece by piece gives what unmasking the whole gives, and no placeholder shows on the way."""
    text = "".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    stream = StreamUnmasker(lambda placeholder: f"[{placeholder[1:-1].lower()}]")
    bounds = [0, *cuts, len(text)]
    shown = [stream.feed(text[a:b]) for a, b in zip(bounds, bounds[1:], strict=False)] + [stream.flush()]
    assert "".join(shown) == unmask(text, lambda placeholder: f"[{placeholder[1:-1].lower()}]")
    assert not any(placeholder in piece for piece in shown for placeholder in ALL_PLACEHOLDERS)
