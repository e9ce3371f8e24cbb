"""Help articles of a pack and the exchanges that are drawn from them."""

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from model_store.contract.conversation import Role
from model_store.knowledge.offer import HELP_PLAN, has_article
from training.data import domain_pack
from training.data.domain_pack import load_pack
from training.data.generator import ConversationGenerator, LabelledConversation
from training.errors import InvalidDomainPackError

PACK = load_pack("shop")
ARTICLE = {"title": "Repairs", "passage": "We mend zips.", "questions": ["a b", "c d", "e f", "g h", "i j"]}


def offers(count: int, seed: int = 3) -> list[LabelledConversation]:
    """Of `count` conversations, those in which an article is offered for the last question."""
    generator = ConversationGenerator(PACK, seed)
    return [c for c in itertools.islice(generator, count) if has_article(c.messages[:-1])]


def test_the_shop_has_articles_to_learn_from_and_others_to_be_measured_on() -> None:
    """At least 60 and 25 a language, with six and five questions each, and a way to quote in each tone."""
    for language in ("en", "zh"):
        learned = [article for article in PACK.articles if article.language == language]
        measured = [article for article in PACK.held_out_articles if article.language == language]
        assert len(learned) >= 60 and min(len(article.questions) for article in learned) >= 6
        assert len(measured) >= 25 and min(len(article.questions) for article in measured) >= 5
        (intent,) = (intent for intent in PACK.help_intents if intent.language == language)
        assert all(intent.replies_by_tone[tone] for tone in domain_pack.TONES) and not intent.asks


def test_held_out_articles_never_enter_training() -> None:
    """No conversation or ask drawn for training holds a word of one."""
    unseen = (*PACK.held_out_articles, *PACK.development_articles)
    held_out = {text.lower() for a in unseen for text in a.texts if len(text) > 8}
    titles = {a.title for a in unseen}
    generator = ConversationGenerator(PACK, 11)
    drawn = [*(generator.draw() for _ in range(6000)), *(generator.draw_ask() for _ in range(6000))]
    for message in (message for conversation in drawn for message in conversation.messages):
        assert message.content.lower() not in held_out
        if message.content.startswith("<ARTICLE>"):
            assert not any(message.content.startswith(f"<ARTICLE> {title}") for title in titles)


def test_a_reply_quotes_exactly_where_its_plan_says_so() -> None:
    """`<ARTICLE>` stands in replies of the plan that quotes, once, and only behind an offer."""
    drawn = offers(12_000)
    assert len(drawn) > 300
    for conversation in drawn:
        reply = conversation.messages[-1].content
        assert reply.count("<ARTICLE>") == (conversation.plan == HELP_PLAN), conversation
    others = [c for c in itertools.islice(ConversationGenerator(PACK, 4), 4000) if not has_article(c.messages[:-1])]
    assert not any(c.plan == HELP_PLAN or "<ARTICLE>" in c.messages[-1].content for c in others)


def test_an_offer_is_often_wrong() -> None:
    """About half of the offers fit; for the rest, the bot does what it does without one."""
    plans = Counter(conversation.plan for conversation in offers(12_000))
    assert 0.35 < plans[HELP_PLAN] / plans.total() < 0.6 and plans["out_of_scope"] > 0.1 * plans.total()
    assert len(plans) > 20


def test_only_the_current_question_has_an_offer() -> None:
    """In what was said before, the offer is gone and the quote is text."""
    conversations = itertools.islice(ConversationGenerator(PACK, 6), 12_000)
    told = [
        c.messages for c in conversations if any("“" in m.content and "<HELP_PAGE>" in m.content for m in c.messages)
    ]
    assert told
    for messages in told:
        last = max(index for index, message in enumerate(messages) if message.role is Role.USER)
        assert not any("<ARTICLE>" in message.content for message in messages[: max(0, last - 1)])


def test_asks_come_with_offers_too() -> None:
    """A plan is learned from the question and the offer before it."""
    generator = ConversationGenerator(PACK, 5)
    asks = [ask for ask in (generator.draw_ask() for _ in range(6000)) if has_article(ask.messages)]
    assert len(asks) > 100 and {HELP_PLAN, "out_of_scope"} <= {ask.plan for ask in asks}


def test_a_pack_without_articles_knows_no_such_plan() -> None:
    """It draws no offer."""
    bare = replace(PACK, articles=(), held_out_articles=(), help_intents=())
    assert HELP_PLAN not in bare.plans and HELP_PLAN in PACK.plans
    drawn = itertools.islice(ConversationGenerator(bare, 3), 2000)
    assert not any("<ARTICLE>" in message.content for c in drawn for message in c.messages)


def write_pack(root: Path, articles: object, *, held_out: object = (), reply: str = "Read: <ARTICLE>") -> None:
    """A pack with one intent and the given articles."""
    load_pack.cache_clear()
    folder = root / "own" / "en" / "articles"
    folder.mkdir(parents=True)
    (root / "own" / "slots.yaml").write_text("en: {}\n")
    (root / "own" / "en" / "a.yaml").write_text("- {intent: hi, asks: [hello], replies: {warm: [Hello.]}}\n")
    (folder / "articles.yaml").write_text(yaml.safe_dump(articles))
    (folder / "held_out.yaml").write_text(yaml.safe_dump(list(held_out)))  # type: ignore[call-overload]
    (folder / "replies.yaml").write_text(yaml.safe_dump([{"intent": HELP_PLAN, "replies": {"warm": [reply]}}]))


def test_any_pack_may_have_articles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one that cannot say that something is out of its scope."""
    monkeypatch.setattr(domain_pack, "PACKS_DIRECTORY", tmp_path)
    write_pack(tmp_path, [ARTICLE])
    generator = ConversationGenerator(load_pack("own"), 2)
    assert {generator.draw().plan for _ in range(800)} == {"hi", HELP_PLAN}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"questions": ["a", "b"]}, "fewer than 5 questions"),
        ({"passage": "帮您修拉链。"}, "not written in its language"),
        ({"passage": "x" * 700}, "longer than"),
        ({"passage": "Call <SUPPORT_PHONE>."}, "a slot or a placeholder"),
        ({"overlaps": "nothing"}, "unknown intent 'nothing'"),
        ({"answer": "x"}, "unknown"),
    ],
)
def test_a_broken_article_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], problem: str
) -> None:
    """The article and what is wrong with it are named."""
    monkeypatch.setattr(domain_pack, "PACKS_DIRECTORY", tmp_path)
    write_pack(tmp_path, [{**ARTICLE, **change}])
    with pytest.raises(InvalidDomainPackError, match=f"Repairs.*{problem}"):
        load_pack("own")


def test_a_held_out_text_in_training_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single shared question is enough, in whatever spelling, and so is an ask of an intent."""
    monkeypatch.setattr(domain_pack, "PACKS_DIRECTORY", tmp_path)
    questions = ["k l", "m n", "o p", "q r"]
    for number, shared in enumerate(("A B!", "Hello")):
        (tmp_path / str(number)).mkdir()
        monkeypatch.setattr(domain_pack, "PACKS_DIRECTORY", tmp_path / str(number))
        held_out = {"title": "Other", "passage": "We sew.", "questions": [*questions, shared]}
        write_pack(tmp_path / str(number), [ARTICLE], held_out=[held_out])
        with pytest.raises(InvalidDomainPackError, match=f"'Other' is held out but also occurs in training.*{shared}"):
            load_pack("own")


@pytest.mark.parametrize("reply", ["See our pages.", "<ARTICLE> <ARTICLE>"])
def test_a_reply_that_does_not_quote_once_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: str
) -> None:
    """What the plan promises is in every reply of it."""
    monkeypatch.setattr(domain_pack, "PACKS_DIRECTORY", tmp_path)
    write_pack(tmp_path, [ARTICLE], reply=reply)
    with pytest.raises(InvalidDomainPackError, match="1 <ARTICLE> belong in"):
        load_pack("own")
