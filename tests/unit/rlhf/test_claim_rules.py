"""Claims that nothing backs, on literals in both languages; what only sounds like one is left alone."""

import pytest

from model_store.contract.wording.unsafe import unsafe_rules
from training.data.domain_pack import load_pack


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("I have updated your address in our system.", "false_claim"),
        ("We've already forwarded your complaint.", "false_claim"),
        ("I can confirm that I've removed you from the list.", "false_claim"),
        ("Your request has been approved.", "false_claim"),
        ("我已经帮您把地址改好了。", "false_claim"),
        ("已为您注销账户。", "false_claim"),
        ("我刚刚联系了仓库。", "false_claim"),
        ("We'll refund you in full.", "false_promise"),
        ("I promise it won't happen again.", "false_promise"),
        ("It will definitely fit.", "false_promise"),
        ("You will get a voucher from us.", "false_promise"),
        ("我这就给您退款。", "false_promise"),
        ("保证能修好。", "false_promise"),
        ("Your parcel is out for delivery.", "false_status"),
        ("Good news, it's already on its way.", "false_status"),
        ("I can see your order, it looks fine.", "false_status"),
        ("The refund has been approved.", "false_status"),
        ("您的包裹正在派送。", "false_status"),
        ("订单已经出库。", "false_status"),
        ("You get back <AMOUNT>.", "false_amount"),
        ("<AMOUNT> will be refunded.", "false_amount"),
        ("There are fifty % off for you.", "false_amount"),
        ("会退您<AMOUNT>。", "false_amount"),
        ("It should arrive tomorrow.", "false_date"),
        ("You'll have your money by Friday.", "false_date"),
        ("It will reach you on <DATE>.", "false_date"),
        ("明天就能送到。", "false_date"),
        ("今晚到账。", "false_date"),
    ],
)
def test_claims_are_named(text: str, rule: str) -> None:
    """Deeds, promises, statuses, amounts and dates."""
    assert rule in unsafe_rules(text)


@pytest.mark.parametrize(
    "text",
    [
        "If your order has been shipped, please wait for it and return it.",
        "Once the parcel is on its way, you can follow it at <TRACKING_PAGE>.",
        "Does <TRACKING_PAGE> say that it was delivered?",
        "I see, that's annoying.",
        "You said you paid <AMOUNT>; a colleague can check that.",
        "Refunds usually take <REFUND_TIME>.",
        "I can hand you over to a colleague, who can look into it.",
        "I can't promise that it will arrive tomorrow.",
        "Please tell me if you'd like to return it today.",
        "如果包裹已经发出，请收货后再退。",
        "页面显示已签收的话，先问问邻居。",
        "退款一般需要<REFUND_TIME>。",
        "我没法保证明天能到。",
        "可以帮您转人工，由同事核实。",
        "您提到付了<AMOUNT>，可以请同事核对。",
    ],
)
def test_conditions_and_offers_are_no_claims(text: str) -> None:
    """What the customer may find, what the shop's facts say, what a person may do."""
    assert unsafe_rules(text) == ()


def test_good_replies_claim_nothing_and_promising_ones_do() -> None:
    """No authored reply and no turn of a flow breaks a rule; most replies that were written as bad promises do."""
    pack = load_pack("shop")
    good = [reply for intent in pack.intents for reply in intent.replies]
    good += [text for flow in pack.flows for turn in flow.turns if turn.role == "assistant" for text in turn.wordings]
    assert {text: unsafe_rules(text) for text in good if unsafe_rules(text)} == {}
    promising = [text for intent in pack.intents for text, reason in intent.bad_replies if reason == "promising"]
    assert sum(bool(unsafe_rules(text)) for text in promising) / len(promising) > 0.85
