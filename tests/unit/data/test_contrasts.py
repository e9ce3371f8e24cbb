"""Contrasts drawn from packs small enough to check by hand."""

from dataclasses import replace
from functools import cache

import pytest

from model_store.contract.control_tokens import ASSISTANT_ID, BOS_ID, EOS_ID, FIRST_PLAN_ID, USER_ID
from model_store.contract.tokenizer import Tokenizer
from training.data.contrasts import ANOTHER_INTENT, Contrast, Contrasts, PlannedReply, tokens_of
from training.data.domain_pack import DomainPack, Intent, entities_in, load_pack
from training.data.subwords import name_plans, train_subwords

REASONS = ("mechanical", "blaming", "wrong_intent", "promising")


def make_intent(name: str, topic: str, language: str = "en", num_bad: int = 20) -> Intent:
    """An intent whose texts say what they are: `name ask 3`, `name good 5`, `name asks for it 1`."""
    return Intent(
        name=name,
        language=language,
        topic=topic,
        asks=(*(f"{name} ask {n}" for n in range(20)), *(f"{name} ask <ORDER_ID> {n}" for n in range(20))),
        held_out_asks=(f"{name} held out",),
        development_asks=(),
        replies_by_tone={"warm": tuple(f"{name} good {n}" for n in range(20)), "brief": (), "formal": ()},
        replies_given={"ORDER_ID": tuple(f"{name} uses <ORDER_ID> {n}" for n in range(20))},
        replies_missing={"ORDER_ID": tuple(f"{name} asks for it {n}" for n in range(20))},
        bad_replies=tuple((f"{name} bad {n}", REASONS[n % 4]) for n in range(num_bad)),
    )


def make_pack(*intents: Intent) -> DomainPack:
    """A pack of these intents, without slots."""
    return DomainPack("hand_made", intents, (), {"en": {}, "zh": {}}, {})


PACK = make_pack(
    make_intent("refund", "returns"),
    make_intent("swap", "returns"),
    make_intent("track", "delivery"),
    make_intent("退款", "returns", "zh"),
)


def intent_of(text: str) -> str:
    return next(intent.name for intent in PACK.intents if intent.name in text.lower())


@cache
def both_sides() -> tuple[list[Contrast], list[Contrast]]:
    contrasts = Contrasts(PACK)
    return contrasts.draw(600, "1"), contrasts.unseen("1")


def test_the_same_seed_gives_the_same_contrasts_and_another_seed_others() -> None:
    """Drawing depends on the pack and the seed alone."""
    assert Contrasts(PACK).draw(20, "1") == Contrasts(PACK).draw(20, "1")
    assert Contrasts(PACK).unseen("1") == Contrasts(PACK).unseen("1")
    assert Contrasts(PACK).draw(20, "1") != Contrasts(PACK).draw(20, "2")


def test_what_is_kept_back_is_never_learned_from() -> None:
    """The two sides share no reply, good or bad, and no ask but for typing noise; each has hundreds or dozens."""
    seen, unseen = both_sides()
    replies = [{reply.text for c in side for reply in (c.good, c.bad)} for side in (seen, unseen)]
    assert len(seen) == 600 and len(unseen) > 10
    assert replies[0] & replies[1] == set()
    clean = [{c.ask for c in side} & {ask for i in PACK.intents for ask in i.asks} for side in (seen, unseen)]
    assert clean[0] and clean[1] and clean[0] & clean[1] == set()


def test_held_out_asks_never_enter() -> None:
    """Neither side asks what is kept for evaluation."""
    seen, unseen = both_sides()
    assert not [c for c in (*seen, *unseen) if "held out" in c.ask.lower()]


def test_an_authored_bad_reply_stands_under_the_plan_of_the_good_one() -> None:
    """It is its intent's, has its reason, and nothing but the words tells it from the good reply."""
    authored = [c for c in both_sides()[0] if c.reason != ANOTHER_INTENT]
    reasons = {text: reason for intent in PACK.intents for text, reason in intent.bad_replies}
    assert {c.reason for c in authored} == set(REASONS)
    for contrast in authored:
        assert contrast.bad.plan == contrast.good.plan
        assert reasons[contrast.bad.text] == contrast.reason
        assert contrast.good.plan.partition("/")[0] == intent_of(contrast.good.text) == intent_of(contrast.bad.text)


def test_another_intents_reply_comes_from_another_topic_in_the_same_language() -> None:
    """It stands under its own plan; a language with one topic has none."""
    drawn = [c for c in both_sides()[0] if c.reason == ANOTHER_INTENT]
    pairs = {(intent_of(c.good.text), intent_of(c.bad.text)) for c in drawn}
    assert pairs == {("refund", "track"), ("swap", "track"), ("track", "refund"), ("track", "swap")}
    assert all(c.bad.plan.partition("/")[0] == intent_of(c.bad.text) for c in drawn)
    assert 0.1 < len(drawn) / 600 < 0.3


def test_a_good_reply_fits_what_the_customer_gave() -> None:
    """It names no number that was not given, asks for none that was, and its plan says whether it asks."""
    for contrast in both_sides()[0]:
        given = entities_in(contrast.ask)
        for reply in (contrast.good, contrast.bad):
            assert entities_in(reply.text) <= given
        asks_for_it = "asks for it" in contrast.good.text
        assert asks_for_it == contrast.good.plan.endswith("/ask_order_id")
        assert not (asks_for_it and given)


@pytest.mark.parametrize(
    ("pack", "reasons"),
    [
        (make_pack(make_intent("refund", "returns", num_bad=0)), set()),
        (make_pack(*(make_intent(name, name, num_bad=0) for name in ("refund", "track"))), {ANOTHER_INTENT}),
        (make_pack(replace(make_intent("refund", "returns"), asks=())), set()),
        (make_pack(replace(make_intent("refund", "returns"), bad_replies=(("see <ORDER_ID>", "promising"),))), set()),
    ],
)
def test_a_pack_without_bad_replies_gives_what_it_can(pack: DomainPack, reasons: set[str]) -> None:
    """Other intents' replies where there are any, else nothing; a bad reply that names an entity does not count."""
    contrasts = Contrasts(pack)
    assert {c.reason for c in contrasts.draw(50, "1")} == reasons
    assert {c.reason for c in contrasts.unseen("1")} == reasons


def test_a_contrast_is_rendered_as_the_service_renders_a_completion() -> None:
    """Prompt, plan, reply, end, byte for byte; an unknown plan is left out, and what does not fit is dropped."""
    tokenizer = Tokenizer(name_plans(train_subwords(["hello there"] * 3, 600), ["track"]))
    contrast = Contrast("Where", PlannedReply("track", "Here"), PlannedReply("refund", "No"), ANOTHER_INTENT)
    (tokens,) = tokens_of([contrast], tokenizer, max_positions=64)
    prompt = [BOS_ID, USER_ID, *tokenizer.encode("where"), ASSISTANT_ID]
    assert tokens.good == [*prompt, FIRST_PLAN_ID, *tokenizer.encode("Here"), EOS_ID]
    assert tokens.bad == [*prompt, *tokenizer.encode("No"), EOS_ID]
    assert tokens_of([contrast], tokenizer, max_positions=len(tokens.good) - 1) == []


@pytest.mark.parametrize("name", ["shop", "card_desk"])
def test_the_packs_that_ship_hold_contrasts_for_every_intent(name: str) -> None:
    """Each intent of both languages is learned from, and most reasons are kept back as well."""
    pack = load_pack(name)
    contrasts = Contrasts(pack)
    plans = {c.good.plan.partition("/")[0] for c in contrasts.draw(1000, "1")}
    assert plans == {intent.name for intent in pack.intents}
    assert {"mechanical", "wrong_intent", "blaming", "promising", ANOTHER_INTENT} <= {
        c.reason for c in contrasts.unseen("1")
    }
