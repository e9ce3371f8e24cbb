"""The depth benchmark: what it asks, and what it calls garbled."""

from tests.benchmarks.bench_depth import authored_triples, draw_prompts, is_garbled
from training.data.domain_pack import load_pack

PACK = load_pack("card_desk")


def test_authored_replies_are_not_garbled_and_mixtures_of_them_are() -> None:
    """Every reply that somebody wrote passes; the front of one before the back of another does not."""
    known = authored_triples(PACK)
    replies = [reply for intent in PACK.intents for reply in intent.replies]
    assert not any(is_garbled(reply, known) for reply in replies)
    assert is_garbled("Then the c Was there a little extra.", known)
    assert is_garbled("您好，银行卡一般今天的还可以说清楚。", known)


def test_prompts_are_as_deep_as_asked_and_the_same_each_time() -> None:
    """The last message is the customer's; languages take turns by the block."""
    packs = load_pack("shop")
    prompts = draw_prompts(packs, 2, 3)
    assert [len(prompt.messages) for prompt in prompts] == [5] * 6
    assert [prompt.language for prompt in prompts] == ["en"] * 3 + ["zh"] * 3
    assert prompts == draw_prompts(packs, 2, 3)
