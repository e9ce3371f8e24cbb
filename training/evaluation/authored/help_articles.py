"""Help articles that training never saw: are they found, are they quoted, and are they left alone where they should be.

Held-out ones measure; those for development are there to choose thresholds by. The collection that is searched holds
the pack's training articles as well, so that finding one is as hard as in a shop with dozens of articles. Search and
offer, quoting by the rule and asking back are the service's own; replies are greedy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from pydantic import BaseModel, ConfigDict

from model_store.contract.control_tokens import ARTICLE_ID
from model_store.contract.conversation import Message
from model_store.contract.placeholders import fold_case
from model_store.intents.intent_model import IntentModel
from model_store.intents.matters import KnownReplies
from model_store.knowledge.fit import FitRule
from model_store.knowledge.offer import HELP_PLAN, offer_article
from model_store.knowledge.search import Embedding, Passage, PassageSearch
from training.data.domain_pack import DomainPack, held_out_prompts, user_message
from training.data.knowledge.articles import HelpArticle
from training.evaluation.dialogues.asking_back import AskingBack, PlanReading, topic_of
from training.evaluation.figures import Figure, grouped, share
from training.evaluation.held_out import HeldOutPrompt, SampledReply
from training.evaluation.plan_choice import first_token_probabilities
from training.evaluation.subject import Subject

_RECALL_LIMIT = 3
_TOPIC = "articles"


@dataclass(frozen=True, slots=True)
class Case:
    """A question, the article that answers it (None: no article does), and what the search makes of it."""

    question: str
    language: str
    wanted: str | None
    found: tuple[str, ...]
    offered: Passage | None
    intent: str | None = None
    """Of an ask that an intent answers."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """What the model sees."""
        asked = (user_message(self.question),)
        if self.offered is None:
            return asked
        return offer_article(asked, self.offered.title, self.offered.text, self.offered.language)


@dataclass(frozen=True, slots=True)
class Answer:
    """A case and what the bot did: the title it quoted, if any, and whether it quoted without an offer."""

    case: Case
    quoted: str | None
    is_invented: bool = False
    lost_right_plan: bool = False
    """The rule quoted in place of the ask's own intent, of which the model was sure enough to answer."""


class ArticleFigures(BaseModel):
    """One language's figures, with 95 % intervals."""

    model_config = ConfigDict(frozen=True)

    num_articles: int
    """Unseen ones; the training articles beside them in the collection are not counted."""
    num_questions: int
    recall_at_1: Figure
    recall_at_3: Figure
    offered: Figure
    """Of the unseen articles' questions: the right article was found to fit and offered."""
    answered_from_article: Figure
    """… and quoted: the whole way from question to answer."""
    quoted_when_offered: Figure
    """Of the right offers: the part of the model and of the service's rule."""
    answered_from_another: Figure
    """Of the questions: a wrong article was quoted."""
    quoted_without_its_article: Figure
    """Of the same questions where their article is not in the collection: something was quoted all the same."""
    offered_for_intents: Figure
    """Of the held-out asks of intents, which the bot answers by itself: an article was offered."""
    quoted_for_intents: Figure
    """Of the same asks: an article was quoted. A few articles overlap an intent and are fair answers."""
    right_plans_lost: Figure
    """Of the same asks: the rule quoted although the model would have answered with the right plan."""
    num_invented: int
    """Replies that quote without an offer; must be 0."""


def measure_articles(
    subject: Subject, asking_back: AskingBack, unseen: Sequence[HelpArticle]
) -> dict[str, ArticleFigures]:
    """Figures of unseen articles by language, beside the pack's training articles. Takes a minute or two."""
    by_language = grouped(unseen, lambda article: article.language)
    return {language: _measure(subject, asking_back, articles) for language, articles in by_language.items()}


def _measure(subject: Subject, asking_back: AskingBack, unseen: Sequence[HelpArticle]) -> ArticleFigures:
    pack, shelves = subject.pack, Shelves(subject.intents)
    asks = intent_cases(pack, unseen, shelves)
    left_alone = [Answer(case, None) for case in asks if case.offered is None]
    return figures_of(
        answer_cases(subject, article_cases(pack, unseen, shelves, is_there=True), asking_back),
        answer_cases(subject, article_cases(pack, unseen, shelves, is_there=False), asking_back),
        [*left_alone, *answer_cases(subject, [case for case in asks if case.offered is not None], asking_back)],
    )


def figures_of(
    with_article: Sequence[Answer], without: Sequence[Answer], of_intents: Sequence[Answer]
) -> ArticleFigures:
    """Figures of answers to articles' questions, to the same without their article, and to intents' asks."""
    cases = [answer.case for answer in with_article]
    right = [answer for answer in with_article if is_offer_right(answer.case)]
    return ArticleFigures(
        num_articles=len({case.wanted for case in cases}),
        num_questions=len(cases),
        recall_at_1=share([case.found[:1] == (case.wanted,) for case in cases]),
        recall_at_3=share([case.wanted in case.found for case in cases]),
        offered=share([is_offer_right(case) for case in cases]),
        answered_from_article=share([answer.quoted == answer.case.wanted for answer in with_article]),
        quoted_when_offered=share([answer.quoted is not None for answer in right]),
        answered_from_another=share([answer.quoted not in (None, answer.case.wanted) for answer in with_article]),
        quoted_without_its_article=share([answer.quoted is not None for answer in without]),
        offered_for_intents=share([answer.case.offered is not None for answer in of_intents]),
        quoted_for_intents=share([answer.quoted is not None for answer in of_intents]),
        right_plans_lost=share([answer.lost_right_plan for answer in of_intents]),
        num_invented=sum(answer.is_invented for answer in (*with_article, *without, *of_intents)),
    )


def is_offer_right(case: Case) -> bool:
    """Whether the article that answers is the one that was offered."""
    return case.offered is not None and case.offered.title == case.wanted


class Shelves:
    """Collections of articles, searched as the service does; what an intent model embeds is embedded once."""

    def __init__(self, intents: IntentModel | None = None, fit_rule: FitRule | None = None) -> None:
        """Without an intent model that embeds, articles are found by their words alone. How well they fit `fit_rule`
        says; None: as shipped.
        """
        self._fit_rule = fit_rule
        self._intents = intents if intents and intents.embeds else None
        self._embed = cache(self._intents.embed_passage) if self._intents else None

    def search(self, articles: Sequence[HelpArticle]) -> PassageSearch:
        """One collection."""
        passages = [
            Passage(article.title, article.title, article.title, article.passage, article.language)
            for article in articles
        ]
        return PassageSearch(passages, self._embed, self._fit_rule)

    def case(self, search: PassageSearch, question: str, language: str, wanted: str | None) -> Case:
        """What a collection offers for a question."""
        meaning = self.meaning(question)
        found = tuple(passage.title for passage in search.find(question, language, _RECALL_LIMIT, meaning))
        return Case(question, language, wanted, found, search.fitting(question, language, meaning))

    def meaning(self, question: str) -> Embedding | None:
        """Where a question lies, for a collection that is searched by meaning as well."""
        return self._intents.hear(fold_case(question)).embedding if self._intents else None


def article_cases(pack: DomainPack, unseen: Sequence[HelpArticle], shelves: Shelves, *, is_there: bool) -> list[Case]:
    """Unseen articles' questions, each put to these and the pack's training articles, with or without its own."""
    everything = [*pack.articles, *unseen]
    whole = shelves.search(everything)
    cases = []
    for article in unseen:
        search = whole if is_there else shelves.search([other for other in everything if other is not article])
        for question in article.questions:
            cases.append(shelves.case(search, question, article.language, article.title if is_there else None))
    return cases


def intent_cases(pack: DomainPack, unseen: Sequence[HelpArticle], shelves: Shelves) -> list[Case]:
    """The intents' held-out asks in the language of unseen articles, put to these and the pack's training articles."""
    search = shelves.search([*pack.articles, *unseen])
    languages = {article.language for article in unseen}
    return [
        replace(shelves.case(search, ask, intent.language, None), intent=intent.name)
        for intent, ask in held_out_prompts(pack)
        if intent.language in languages
    ]


def answer_cases(subject: Subject, cases: Sequence[Case], asking_back: AskingBack) -> list[Answer]:
    """What the bot does in each case, in order: it quotes by the rule, asks back, or replies greedily."""
    cases = [_without_offer(case) if _has_better_answer(subject, case, asking_back) else case for case in cases]
    first = first_token_probabilities(subject.policy, subject.tokenizer, [case.messages for case in cases])
    answers = []
    for case, row in zip(cases, first, strict=True):
        reading = PlanReading.of(row, subject.tokenizer, has_offer=case.offered is not None)
        answers.append(_by_rule(case, reading, asking_back, subject.known_replies))
    own = [case for case, answer in zip(cases, answers, strict=True) if answer is None]
    prompts = [HeldOutPrompt(HELP_PLAN, _TOPIC, case.language, case.messages, ()) for case in own]
    replies = iter(zip(own, subject.answer(prompts), strict=True))
    return [answer or _in_own_words(*next(replies)) for answer in answers]


def _has_better_answer(subject: Subject, case: Case, asking_back: AskingBack) -> bool:
    """Whether the service would offer nothing: a reply was written for the question, and the article fits it little."""
    if case.offered is None or not subject.intents:
        return False
    heard = subject.intents.probabilities(fold_case(case.question))
    probabilities = dict(zip(subject.intents.intents, map(float, heard), strict=True))
    likelihood = subject.known_replies.answer_likelihood(probabilities, case.messages)
    return likelihood is not None and asking_back.article.is_for_answer(case.offered.fit, likelihood)


def _without_offer(case: Case) -> Case:
    return replace(case, offered=None)


def _by_rule(case: Case, reading: PlanReading, asking_back: AskingBack, known: KnownReplies) -> Answer | None:
    if case.offered is not None and asking_back.quotes(reading, case.offered, case.messages, known):
        is_right = topic_of(reading.plan) == case.intent and reading.confidence >= asking_back.min_confidence
        return Answer(case, case.offered.title, lost_right_plan=is_right)
    is_asked = asking_back.instead_of(reading, case.messages, case.language) is not None
    return Answer(case, None) if is_asked else None


def _in_own_words(case: Case, reply: SampledReply) -> Answer:
    is_quote = ARTICLE_ID in reply.token_ids
    offered = case.offered.title if case.offered else None
    return Answer(case, offered if is_quote else None, is_invented=is_quote and offered is None)


def article_table(figures: Mapping[str, ArticleFigures], title: str = "help articles") -> str:
    """The figures for people, a column a language; "" without any."""
    if not figures:
        return ""
    names = [name for name in ArticleFigures.model_fields if not name.startswith("num_")]
    lines = [f"{title:28}" + "".join(f"{language:>26}" for language in figures)]
    for name in ("num_articles", "num_questions", "num_invented"):
        counts = (getattr(figure, name) for figure in figures.values())
        lines.append(f"{name.removeprefix('num_'):28}" + "".join(f"{count:>26}" for count in counts))
    for name in names:
        cells = (getattr(figure, name) for figure in figures.values())
        shown = (f"{cell.value:.1%} [{cell.low:.1%}, {cell.high:.1%}]" for cell in cells)
        lines.append(f"{name.replace('_', ' '):28}" + "".join(f"{text:>26}" for text in shown))
    return "\n".join(lines)
