"""Plan rules: what the operator forbids, settles and rewords, and how the bot asks back."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from model_store.contract.conversation import Message, Role
from model_store.intents.matters import KnownReplies
from model_store.knowledge.search import Passage
from model_store.reply_fit import ReplyFit
from service.chat.plan_rules import DEFAULT_PLAN_RULES_FILE, PlanChoice, PlanRules
from service.errors import InvalidDataFileError

PLANS = {"delivery_late": 128, "gift_card": 129, "thanks": 130, "track_package": 131, "track_package/ask_order_id": 132}
MIN_CONFIDENCE = 0.35
SHIPPED = PlanRules.load(min_confidence=MIN_CONFIDENCE)
SURE = PlanChoice("track_package", (("track_package", 0.9), ("delivery_late", 0.05)))
REPAIRS = Passage("repairs#1", "repairs", "Repairs", "We mend zips.", "en", fit=0.8)
TORN = PlanChoice("track_package", (("track_package", 0.2), ("delivery_late", 0.15), ("thanks", 0.1)))
TORN_TOO = PlanChoice("track_package", (*TORN.rivals, ("help_article", 0.15)))


def rules(tmp_path: Path, **changes: object) -> PlanRules:
    """The rules that ship, with changes."""
    entries = yaml.safe_load(DEFAULT_PLAN_RULES_FILE.read_text(encoding="utf-8"))
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({**entries, **changes}, allow_unicode=True), encoding="utf-8")
    return PlanRules.load(path, min_confidence=MIN_CONFIDENCE)


def test_who_is_sure_speaks_for_itself() -> None:
    """Above the threshold and without a wording of the shop's the model's own words are said."""
    assert SHIPPED.fixed_reply(SURE, (), "en") is None


def test_an_answer_and_a_question_about_the_same_topic_count_together() -> None:
    """Whether to ask for the order number first is no doubt about what the customer wants."""
    choice = PlanChoice("track_package", (("track_package", 0.25), ("track_package/ask_order_id", 0.25)))
    assert choice.confidence == pytest.approx(0.5)
    assert SHIPPED.fixed_reply(choice, (), "en") is None


@pytest.mark.parametrize(
    ("language", "words"), [("en", ("where your parcel is", "a late delivery")), ("zh", ("包裹到哪儿了", "送货晚了"))]
)
def test_who_is_torn_asks_which_of_two_topics_is_meant(language: str, words: tuple[str, str]) -> None:
    """In the customer's language, with the names of the two most probable topics."""
    reply = SHIPPED.fixed_reply(TORN, (), language)
    assert reply is not None and reply.rule == "unsure" and reply.finish_reason == "stop"
    assert all(word in reply.text for word in words)


def test_small_talk_is_never_offered_as_a_topic() -> None:
    """A plan without a name leaves one topic, or none."""
    one = SHIPPED.fixed_reply(PlanChoice("thanks", (("thanks", 0.2), ("gift_card", 0.1))), (), "en")
    none = SHIPPED.fixed_reply(PlanChoice("thanks", (("thanks", 0.2),)), (), "en")
    assert one is not None and "a gift card?" in one.text and "or about" not in one.text
    assert none is not None and "in other words" in none.text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_who_asked_before_and_is_still_not_sure_hands_over(language: str) -> None:
    """The bot knows its own question when the client sends it back, and does not ask twice."""
    first = SHIPPED.fixed_reply(TORN, (), language)
    assert first is not None
    earlier = (Message(Role.USER, "hm"), Message(Role.ASSISTANT, first.text), Message(Role.USER, "no"))
    second = SHIPPED.fixed_reply(TORN, earlier, language)
    assert second is not None and second.rule == "hand_over" and second.finish_reason == "handover"
    assert "<SUPPORT_PHONE>" in second.text


def test_a_later_message_is_no_riddle_where_the_bot_just_spoke_of_its_likeliest_matter() -> None:
    """Nor where a reply was written for what the customer says; a first message is asked about all the same."""
    last = KnownReplies([("track_package", "Look here."), ("gift_card", "Try again.")])
    asked = Message(Role.USER, "can i have the right one")
    for reply, rule in (("Look here.", None), ("Try again.", "unsure"), ("Whatever.", "unsure")):
        fixed = SHIPPED.fixed_reply(TORN, (asked, Message(Role.ASSISTANT, reply), asked), "en", known=last)
        assert (fixed.rule if fixed else None) == rule
    is_chinese = np.zeros(1, np.bool_)
    fit = ReplyFit({0: ("right one",)}, is_chinese, lambda token_ids: "")
    written = KnownReplies([("track_package", "The right one is on its way to nobody.")], fit)
    later = (asked, Message(Role.ASSISTANT, "Whatever."), asked)
    assert SHIPPED.fixed_reply(TORN, later, "en", known=written) is None
    first = SHIPPED.fixed_reply(TORN, (asked,), "en", known=written)
    assert first is not None and first.rule == "unsure"
    small_talk = PlanChoice("thanks", (("thanks", 0.2),))
    said = KnownReplies([("thanks", "You're welcome.")])
    fixed = SHIPPED.fixed_reply(
        small_talk, (asked, Message(Role.ASSISTANT, "You're welcome."), asked), "en", known=said
    )
    assert fixed is not None and fixed.rule == "unsure"


def test_whether_to_quote_an_article_is_no_doubt_about_what_is_meant() -> None:
    """Only what is left beside it is; where quoting was chosen, it is as likely as it is."""
    rivals = (("help_article", 0.5), ("track_package", 0.3), ("delivery_late", 0.1))
    assert SHIPPED.fixed_reply(PlanChoice("track_package", rivals), (), "en") is None
    torn = SHIPPED.fixed_reply(PlanChoice("delivery_late", rivals), (), "en")
    assert torn is not None and torn.rule == "unsure"
    unsure = SHIPPED.fixed_reply(PlanChoice("help_article", (("help_article", 0.3), ("thanks", 0.2))), (), "en")
    assert unsure is not None and unsure.rule == "unsure"


def test_who_goes_on_about_a_matter_after_three_replies_about_it_is_left_to_a_person(tmp_path: Path) -> None:
    """However sure the bot is; a shop's file names only the entries that differ, and a bot that hands over does so."""
    known = KnownReplies([("track_package", "Look here."), ("human_agent", "A colleague takes over.")])
    turn = (Message(Role.USER, "and?"), Message(Role.ASSISTANT, "Look here."))
    third = SHIPPED.fixed_reply(SURE, turn * 2, "en", known=known)
    fourth = SHIPPED.fixed_reply(SURE, turn * 3, "zh", known=known)
    assert third is None
    assert fourth is not None and (fourth.rule, fourth.finish_reason) == ("fruitless", "handover")
    assert "<SUPPORT_PHONE>" in fourth.text and "同事" in fourth.text
    person = PlanChoice("human_agent", (("human_agent", 0.9),))
    said = (Message(Role.ASSISTANT, "A colleague takes over."),) * 3
    assert SHIPPED.fixed_reply(person, said, "en", known=known) is None
    for after, is_over in ((5, True), (6, False), (0, False)):
        reply = rules(tmp_path, fruitless={"after": after}).fixed_reply(SURE, turn * 5, "en", known=known)
        assert (reply is not None) is is_over


def test_nobody_who_wants_no_person_is_handed_over() -> None:
    """Neither by the model nor for having gone on about a matter; a plan that is settled stays."""
    plans = {**PLANS, "human_agent": 140, "human_agent/ask_order_id": 141}
    refusing = (Message(Role.USER, "i dont want to talk to a person"),)
    assert SHIPPED.opening_ids(plans, None, refusing) == {*PLANS.values()}
    assert SHIPPED.opening_ids(plans, None) == {*plans.values()}
    assert SHIPPED.opening_ids(plans, "human_agent", refusing) == {140}
    known = KnownReplies([("track_package", "Look here.")])
    turn = (Message(Role.USER, "and?"), Message(Role.ASSISTANT, "Look here."))
    assert SHIPPED.fixed_reply(SURE, (*turn * 3, *turn[:1]), "en", known=known) is not None
    assert SHIPPED.fixed_reply(SURE, (*turn * 3, *refusing), "en", known=known) is None


def test_forbidden_plans_cannot_open_a_reply(tmp_path: Path) -> None:
    """They are neither drawn nor offered; forbidding everything forbids nothing, since something must be said."""
    shop = rules(tmp_path, forbid=["gift_card"])
    assert shop.opening_ids(PLANS, None) == {128, 130, 131, 132}
    torn = PlanChoice("gift_card", (("gift_card", 0.2), ("delivery_late", 0.1)))
    reply = shop.fixed_reply(torn, (), "en")
    assert reply is not None and "gift card" not in reply.text
    assert rules(tmp_path, forbid=sorted(PLANS)).opening_ids(PLANS, None) == set(PLANS.values())


def test_a_pinned_message_has_its_plan_whatever_the_model_thinks(tmp_path: Path) -> None:
    """Case does not matter; a plan that the model does not have settles nothing."""
    shop = rules(
        tmp_path, pin=[{"pattern": "black ?friday|双十一", "plan": "gift_card"}, {"pattern": "x", "plan": "none"}]
    )
    pinned = shop.pinned_plan(PLANS, [Message(Role.USER, "Any BlackFriday deals?")])
    assert pinned == "gift_card" and shop.opening_ids(PLANS, pinned) == {129}
    assert shop.pinned_plan(PLANS, [Message(Role.USER, "x")]) is None
    assert shop.fixed_reply(PlanChoice("gift_card", (("thanks", 0.9),), is_pinned=True), (), "en") is None
    assert shop.unknown_plans(PLANS) == ("none",)


def test_the_shops_own_words_replace_the_models(tmp_path: Path) -> None:
    """In both languages, facts as placeholders."""
    wording = {"en": "Look at <TRACKING_PAGE>.", "zh": "请看<TRACKING_PAGE>。"}
    reply = rules(tmp_path, wordings={"track_package": wording}).fixed_reply(SURE, (), "zh")
    assert reply is not None and (reply.text, reply.rule) == ("请看<TRACKING_PAGE>。", "wording")


@pytest.mark.parametrize(
    ("language", "words"), [("en", "our help pages say: <ARTICLE>"), ("zh", "是这样写的：<ARTICLE>")]
)
def test_an_offered_article_is_quoted_before_the_bot_asks_back(language: str, words: str) -> None:
    """Who was asked before and is still not understood gets it too; who does not think of quoting is not moved."""
    earlier = (Message(Role.USER, "hm"), Message(Role.ASSISTANT, _asked()), Message(Role.USER, "zips?"))
    for said in ((), earlier):
        reply = SHIPPED.fixed_reply(TORN_TOO, said, language, REPAIRS)
        assert reply is not None and (reply.rule, reply.finish_reason) == ("article", "stop")
        assert words in reply.text
    assert SHIPPED.fixed_reply(SURE, (), language, REPAIRS) is None


def _asked() -> str:
    question = SHIPPED.fixed_reply(TORN, (), "en")
    assert question is not None and question.rule == "unsure"
    return question.text


def test_a_pinned_plan_is_followed_whatever_article_is_offered() -> None:
    """The operator has said what that message is about."""
    assert SHIPPED.fixed_reply(PlanChoice("gift_card", (("thanks", 0.9),), is_pinned=True), (), "en", REPAIRS) is None


def test_the_article_rule_is_tuned_and_turned_off_by_single_entries(tmp_path: Path) -> None:
    """What an operator's section does not say is as shipped; a plan that the model does not have is named."""
    path = tmp_path / "own.yaml"
    for entry, rule in (("is_on: false", "unsure"), ("eagerness: 0.01", "unsure"), ("eagerness: 100", "article")):
        path.write_text(f"article: {{{entry}}}\n", encoding="utf-8")
        reply = PlanRules.load(path, min_confidence=MIN_CONFIDENCE).fixed_reply(TORN_TOO, (), "en", REPAIRS)
        assert reply is not None and reply.rule == rule
    path.write_text("article: {instead_of: [nowhere], never_instead_of: []}\n", encoding="utf-8")
    assert PlanRules.load(path).unknown_plans({"help_article": 128}) == ("nowhere",)
    assert PlanRules.load(path).unknown_plans(PLANS) == ()  # a model that cannot quote


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"unsure": {}}, "unsure.two_topics"),
        ({"pin": [{"pattern": "(", "plan": "thanks"}]}, "unterminated"),
        ({"wordings": {"thanks": {"en": "See <NOWHERE>.", "zh": "好"}}}, "<NOWHERE>"),
        ({"wordings": {"thanks": {"en": "Only English."}}}, "wordings.thanks.zh"),
        ({"article": {"wording": {"en": "See our help pages.", "zh": "见帮助中心。"}}}, "article.wording"),
        ({"article": {"eagerness": 0}}, "article.eagerness"),
        ({"article": []}, "article"),
        ({"forbidden": []}, "forbidden"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    """The error says which entry of which file."""
    with pytest.raises(InvalidDataFileError, match=problem.replace("(", r"\(")) as caught:
        rules(tmp_path, **changes)
    assert "rules.yaml" in str(caught.value)


def test_a_yes_to_the_offer_of_a_person_settles_the_plan(tmp_path: Path) -> None:
    """Where the model has it, and the shop has not switched that off."""
    offer = Message(Role.ASSISTANT, "Shall I hand you over to a colleague?")
    talk, plans = [Message(Role.USER, "hm"), offer, Message(Role.USER, "yes please")], {**PLANS, "human_agent": 140}
    assert SHIPPED.pinned_plan(plans, talk) == "human_agent"
    assert SHIPPED.pinned_plan(PLANS, talk) is None
    assert rules(tmp_path, offers={"is_on": False}).pinned_plan(plans, talk) is None


def test_what_a_file_does_not_say_is_as_shipped(tmp_path: Path) -> None:
    """An operator writes only what differs; an empty file changes nothing, and a list is no file of rules."""
    path = tmp_path / "own.yaml"
    path.write_text("forbid: [gift_card]\n", encoding="utf-8")
    own = PlanRules.load(path, min_confidence=MIN_CONFIDENCE)
    assert 129 not in own.opening_ids(PLANS, None) and own.fixed_reply(TORN, (), "en") == SHIPPED.fixed_reply(
        TORN, (), "en"
    )
    path.write_text("", encoding="utf-8")
    assert PlanRules.load(path).opening_ids(PLANS, None) == set(PLANS.values())
    path.write_text("[gift_card]", encoding="utf-8")
    with pytest.raises(InvalidDataFileError, match="mapping"):
        PlanRules.load(path)


def test_a_plan_can_leave_the_customer_to_a_person() -> None:
    """In the model's words, cut or not, and in the shop's; asking for a person does so as shipped."""
    rules = PlanRules.load()
    person, refund = (PlanChoice(plan, ((plan, 0.9),)) for plan in ("human_agent", "refund_status"))
    assert rules.finish_reason(person, is_cut=False) == rules.finish_reason(person, is_cut=True) == "handover"
    assert rules.finish_reason(refund, is_cut=False) == "stop" and rules.finish_reason(None, is_cut=True) == "length"


def test_a_shop_says_itself_what_hands_over(tmp_path: Path) -> None:
    """Its list replaces the shipped one, and holds for its own wordings."""
    path = tmp_path / "rules.yaml"
    wording = {"en": "A colleague will write.", "zh": "同事会联系您。"}
    path.write_text(yaml.safe_dump({"hand_over": ["gift_card"], "wordings": {"gift_card": wording}}))
    rules = PlanRules.load(path)
    told = rules.fixed_reply(PlanChoice("gift_card", (("gift_card", 0.9),)), (), "en")
    assert told is not None and (told.rule, told.finish_reason) == ("wording", "handover")
    assert not rules.hands_over("human_agent")
