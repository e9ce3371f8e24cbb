"""How the use of help articles is measured: figures by hand, cases from the pack, answers of a real policy."""

from dataclasses import replace
from pathlib import Path

import pytest

from model_store.contract.tokenizer import Tokenizer
from model_store.knowledge.article_rule import ArticleRule
from model_store.knowledge.offer import has_article
from model_store.knowledge.search import Passage
from tests.unit.reformer.tiny_policy import tiny_policy
from tests.unit.stages.feedback_workspace import make_tokenizer
from training.data.domain_pack import load_pack
from training.data.subwords import name_plans
from training.evaluation.authored.help_articles import (
    Answer,
    Case,
    Shelves,
    answer_cases,
    article_cases,
    article_table,
    figures_of,
    intent_cases,
    is_offer_right,
)
from training.evaluation.dialogues import asking_back
from training.evaluation.dialogues.asking_back import AskingBack
from training.evaluation.judge import pack_judge
from training.evaluation.subject import Subject

PACK = load_pack("shop")
HELD_OUT = [article for article in PACK.held_out_articles if article.language == "en"]
WORDS_ALONE = Shelves()
RULES = AskingBack.load()
NEVER_UNSURE = replace(RULES, min_confidence=0.0, article=RULES.article.model_copy(update={"is_on": False}))
KNIVES, KEYS = (Passage(title, title, title, "We do.", "en") for title in ("Knives", "Keys"))


def answer(wanted: str | None, found: tuple[str, ...], offered: Passage | None, quoted: str | None) -> Answer:
    """One answer; a quote without an offer is invented."""
    case = Case("?", "en", wanted, found, offered)
    return Answer(case, quoted if offered else None, is_invented=quoted is not None and offered is None)


def test_every_figure_is_the_share_that_it_says() -> None:
    """Four questions, the same four without their articles, two asks of intents."""
    figures = figures_of(
        [
            answer("Knives", ("Knives", "Keys"), KNIVES, "Knives"),
            answer("Knives", ("Keys", "Knives"), KEYS, "Keys"),
            answer("Keys", ("Keys",), KEYS, None),
            answer("Keys", (), None, None),
        ],
        [answer(None, ("Keys",), KEYS, "Keys"), *[answer(None, (), None, None)] * 3],
        [answer(None, ("Keys",), KEYS, None), replace(answer(None, (), None, "Keys"), lost_right_plan=True)],
    )
    assert (figures.num_articles, figures.num_questions, figures.num_invented) == (2, 4, 1)
    assert (figures.recall_at_1.value, figures.recall_at_3.value, figures.offered.value) == (0.5, 0.75, 0.5)
    assert (figures.answered_from_article.value, figures.quoted_when_offered.value) == (0.25, 0.5)
    assert figures.answered_from_another.value == figures.quoted_without_its_article.value == 0.25
    assert (figures.offered_for_intents.value, figures.quoted_for_intents.value) == (0.5, 0.0)
    assert figures.right_plans_lost.value == 0.5
    table = article_table({"en": figures})
    assert "answered from article" in table and "25.0% [" in table and "invented" in table


def test_articles_are_searched_among_all_of_the_packs() -> None:
    """Two of five held-out questions are offered theirs; none is without it in the collection, and none is wanted."""
    whole, without = (article_cases(PACK, HELD_OUT, WORDS_ALONE, is_there=is_there) for is_there in (True, False))
    assert len(whole) == len(without) == sum(len(article.questions) for article in HELD_OUT)
    assert sum(is_offer_right(case) for case in whole) > 0.4 * len(whole)
    titles = [article.title for article in HELD_OUT for _ in article.questions]
    assert all(case.wanted is None and title not in case.found for case, title in zip(without, titles, strict=True))
    assert {title for case in whole for title in case.found} & {article.title for article in PACK.articles}


def test_the_recall_on_unseen_articles_is_no_worse_than_it_was() -> None:
    """Of 125 questions a language, to 88 and 87 articles: at least 70 % and 80 % have theirs among the first three."""
    for language, least in (("en", 0.7), ("zh", 0.8)):
        held_out = [article for article in PACK.held_out_articles if article.language == language]
        cases = article_cases(PACK, held_out, WORDS_ALONE, is_there=True)
        assert sum(case.wanted in case.found for case in cases) / len(cases) >= least


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A policy with random weights."""
    path = Path(tmp_path_factory.mktemp("tokenizer")) / "tokenizer.json"
    tokenizer = Tokenizer(name_plans(make_tokenizer(path).backend, PACK.plans))
    policy = tiny_policy(max_positions=512, vocab_size=tokenizer.vocab_size)
    return Subject(policy, tokenizer, PACK, pack_judge("shop"))


def test_a_policy_quotes_what_it_is_offered_and_nothing_else(subject: Subject) -> None:
    """Random weights, and still no article is invented: without an offer neither the plan nor the words are open."""
    whole = article_cases(PACK, HELD_OUT[:8], WORDS_ALONE, is_there=True)
    cases = [case for case in whole if case.offered][:12] + intent_cases(PACK, HELD_OUT, WORDS_ALONE)[:6]
    answers = answer_cases(subject, cases, NEVER_UNSURE)
    assert [found.case for found in answers] == cases and not any(found.is_invented for found in answers)
    for found in answers:
        assert has_article(found.case.messages) is (found.case.offered is not None)
        assert found.quoted in (None, found.case.offered.title if found.case.offered else None)


@pytest.fixture
def all_rivals(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights may have any plan last: let every token be among the rivals, so that quoting is one of them."""
    monkeypatch.setattr(asking_back, "_NUM_RIVALS", subject.tokenizer.vocab_size)


def with_rule(**entries: object) -> AskingBack:
    """The service's rules with changed entries of the article rule, and no plan too sensitive to give way."""
    article = {**RULES.article.model_dump(), "never_instead_of": (), **entries}
    return replace(RULES, article=ArticleRule.model_validate(article))


@pytest.mark.usefixtures("all_rivals")
def test_an_unsure_bot_quotes_by_the_rule_or_asks_back(subject: Subject) -> None:
    """What random weights would say does not matter: neither is left to them."""
    offered = [case for case in article_cases(PACK, HELD_OUT[:4], WORDS_ALONE, is_there=True) if case.offered]
    for is_on in (True, False):
        rules = replace(with_rule(is_on=is_on, eagerness=100), min_confidence=1.1)
        answers = answer_cases(subject, offered, rules)
        assert [found.case for found in answers] == offered
        assert {found.quoted is not None for found in answers} == {is_on}
        assert not any(found.lost_right_plan for found in answers)  # an unsure bot would not have answered


@pytest.mark.usefixtures("all_rivals")
def test_a_quote_in_place_of_the_right_plan_is_counted_as_its_loss(subject: Subject) -> None:
    """Of the same question as an ask of every topic in turn, one is what the model would have answered."""
    offered = next(case for case in article_cases(PACK, HELD_OUT, WORDS_ALONE, is_there=True) if case.offered)
    topics = sorted({plan.partition("/")[0] for plan in PACK.plans})
    asks = [replace(offered, intent=topic) for topic in topics]
    always = replace(with_rule(eagerness=100), min_confidence=0.0)
    answers = answer_cases(subject, asks, always)
    assert all(found.quoted for found in answers) and sum(found.lost_right_plan for found in answers) == 1
