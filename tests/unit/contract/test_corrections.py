"""What a customer says that he does not mean is left out of what the bot hears."""

import pytest

from model_store.contract.wording.corrections import what_is_meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("not a voucher, a gift card", "a gift card"),
        ("No, not the shirt - the shoes!", "the shoes!"),
        ("not delivery, i asked about returns", "returns"),
        ("i didnt ask for an invoice i asked for a refund", "a refund"),
        ("I don't want to return it, I want to exchange it", "I want to exchange it"),
        ("thats not what i meant. i want to change the address", "i want to change the address"),
        ("you misunderstood, where is my REFUND", "where is my REFUND"),
        ("no i mean exchange it for a bigger one", "exchange it for a bigger one"),
        ("no i can log in, i cant pay", "i cant pay"),
        ("i asked about returns, not delivery", "returns"),
        ("forget the invoice, where is my parcel", "where is my parcel"),
        ("never mind the voucher i want to return it", "i want to return it"),
        ("the size is fine its the colour", "its the colour"),
        ("delivery was ok but the box is crushed", "the box is crushed"),
        ("the code isn't the problem, my card is", "my card is"),
        ("it's not about the money, it's the attitude", "it's the attitude"),
        ("the shoes not the bag", "the shoes"),
        ("returns, not delivery", "returns"),
        ("不是退货，我是想换个大一码的", "我是想换个大一码的"),
        ("我不是问运费，问的是退款", "退款"),
        ("我说的不是发票，是保修", "保修"),
        ("我没说要取消，就想改个地址", "就想改个地址"),
        ("你没听懂，我问的是退款到哪了", "退款到哪了"),
        ("我问的是退款，不是退货", "退款"),
        ("我问的又不是退款 是东西几天到", "东西几天到"),
        ("没坏，是颜色不对", "颜色不对"),
        ("谁要注销了 我就是登不上", "我就是登不上"),
        ("不想注销 就想把积分弄到一起", "就想把积分弄到一起"),
        ("跟验证码没关系 我密码忘了", "我密码忘了"),
    ],
)
def test_what_is_denied_is_left_out(text: str, meant: str) -> None:
    """And what announces the rest."""
    assert what_is_meant(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        "not working, i need help",
        "not the right size, i ordered 42",
        "not the colour on the picture, it is much darker",
        "no, i did, it says error",
        "i want it in blue not red",
        "that's not what i asked",
        "i asked for a refund three weeks ago",
        "i forgot the password, how do i reset it",
        "everything is fine, thanks",
        "the address is right, i've checked",
        "my english isn't good, please explain",
        "it came broken, not happy",
        "the parcel is not the one i ordered",
        "the order is not a gift",
        "still, not working",
        "不是正品，我要退",
        "不是我下的单，我要取消",
        "不是说三天到吗，我要投诉",
        "不想等了，我要退款",
        "显示签收，不是我签的",
        "没收到 是不是丢了",
        "没货了 是停产了吗",
        "不想要了 我要退",
        "答非所问",
        "",
        "not a word of it, a " + "very long story " * 30,
    ],
)
def test_what_denies_nothing_stays_as_it_is(text: str) -> None:
    """Nor does a denial that says nothing else, or a long story."""
    assert what_is_meant(text) == text
