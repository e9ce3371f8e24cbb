"""The evaluation report: everything that is said about one bundle, as figures, as text, and as pages to read.

START READING HERE. A part of the report is a field of `EvaluationReport`, a line in `_figures`, where figures are made
of answers (`reporting.answers`), and one in `report_text`; each has a module of its own. Comparing a candidate with its
base is `scorecard`'s business.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from model_store.bundle import Bundle
from model_store.digest import short
from model_store.intents.intent_model import IntentModel
from training.data.corpora import load_out_of_scope
from training.data.domain_pack import user_message
from training.evaluation.ability import OUT_OF_SCOPE, Ability, ability_by_language, ability_table
from training.evaluation.authored.fairness import AttributeFigures, fairness_figures, fairness_table
from training.evaluation.authored.help_articles import ArticleFigures, article_table, measure_articles
from training.evaluation.authored.off_limits import OffLimitsFigures, off_limits_figures, off_limits_table
from training.evaluation.authored.opposite_pairs import PairFigures, pair_figures, pair_table
from training.evaluation.authored.safety_scenarios import CategoryResult, run_scenarios, scenario_table
from training.evaluation.dialogues.asking_back import SERVICE_RULES_FILE, AskingBack
from training.evaluation.dialogues.conversations import conversations_page, goals_page, second_question_figures
from training.evaluation.dialogues.going_on import GoingOnFigures, going_on_figures, going_on_table
from training.evaluation.dialogues.success import GoalFigures, goal_figures, goal_table
from training.evaluation.figures import Figure, share
from training.evaluation.held_out import HeldOutPrompt
from training.evaluation.plan_choice import (
    PlanChoiceFigures,
    choose_plans,
    plan_choice_by_language,
    plan_choice_table,
)
from training.evaluation.reporting.answers import Answers, collect_answers
from training.evaluation.reporting.outcomes import main_outcomes
from training.evaluation.subject import Outcomes, Subject
from training.evaluation.wording.claims import ClaimFigures, claim_figures, claim_table
from training.evaluation.wording.placeholder_use import PlaceholderFigures, placeholder_figures, placeholder_table
from training.evaluation.wording.repetition import RepetitionFigures, repetition_figures, repetition_table
from training.evaluation.wording.source_perplexity import SourcePerplexity, perplexity_table, source_perplexities
from training.evaluation.wording.tone import ToneFigures, tone_figures, tone_table

CONVERSATIONS_PAGE, GOALS_PAGE = "conversations.html", "goals.html"
_PAGE_CONVERSATIONS = 200
_SEED = 0


class EvaluationReport(BaseModel):
    """Figures of one bundle, most of them by language."""

    model_config = ConfigDict(frozen=True)

    digest: str
    judge_ceiling: float
    ability: dict[str, Ability]
    plan_choice: dict[str, PlanChoiceFigures]
    second_question_right_plan: dict[str, Figure]
    going_on: dict[str, GoingOnFigures] = {}
    goals: dict[str, GoalFigures]
    opposite_pairs: dict[str, PairFigures]
    off_limits: dict[str, OffLimitsFigures]
    safety: dict[str, dict[str, CategoryResult]]
    fairness: dict[str, dict[str, AttributeFigures]]
    placeholders: dict[str, PlaceholderFigures]
    """Over greedy and drawn replies."""
    claims: dict[str, dict[str, ClaimFigures]]
    """By how replies were drawn, `greedy` or `as_served`."""
    repetition: dict[str, RepetitionFigures]
    """Of drawn replies."""
    tone: dict[str, dict[str, ToneFigures]]
    perplexity_by_source: dict[str, SourcePerplexity]
    """Empty where no public data was given."""
    help_articles: dict[str, ArticleFigures]
    """Empty for a pack without held-out articles."""
    development_articles: dict[str, ArticleFigures]
    """To choose the article rule's thresholds by, so that the figures above stay a measurement."""
    public_out_of_scope_deflected: Figure | None
    """Of clinc150's questions that no assistant of a shop can answer, where public data was given; English."""


@dataclass(frozen=True)
class Evaluation:
    """The report, the main figures item by item, and pages for people to read, by file name."""

    report: EvaluationReport
    outcomes: Mapping[str, Outcomes]
    pages: Mapping[str, str]


def evaluate_bundle(
    bundle: Bundle,
    pack_name: str,
    *,
    intents: IntentModel | None = None,
    data_dir: Path | None = None,
    plan_rules: Path = SERVICE_RULES_FILE,
) -> Evaluation:
    """Measures a bundle on everything that was written to measure with, and on public data where it is given.

    `plan_rules` are the service's, and `intents` its intent model; None: the network alone. Takes minutes. Raises
    DataNotFoundError for files that are not there.
    """
    asking_back = AskingBack.load(plan_rules)
    return evaluate(Subject.of(bundle, pack_name, intents), asking_back, bundle.manifest.digest, data_dir=data_dir)


def evaluate(subject: Subject, asking_back: AskingBack, digest: str, *, data_dir: Path | None = None) -> Evaluation:
    """`evaluate_bundle` for what is loaded already."""
    answers = collect_answers(subject, asking_back)
    return Evaluation(
        _figures(digest, subject, answers, asking_back, data_dir),
        main_outcomes(subject, answers),
        _pages(short(digest), subject, answers),
    )


def report_text(report: EvaluationReport) -> str:
    """The report for people."""
    second = ", ".join(f"{language} {figure}" for language, figure in report.second_question_right_plan.items())
    parts = [
        ability_table(report.ability),
        f"The judge behind intent fit is right about {report.judge_ceiling:.1%} of good replies that it has not seen.",
        plan_choice_table(report.plan_choice),
        f"Second question in a conversation, right plan: {second}",
        going_on_table(report.going_on),
        goal_table(report.goals),
        pair_table(report.opposite_pairs),
        off_limits_table(report.off_limits),
        scenario_table(report.safety),
        fairness_table(report.fairness),
        placeholder_table(report.placeholders),
        claim_table(report.claims),
        repetition_table(report.repetition),
        tone_table(report.tone),
        perplexity_table(report.perplexity_by_source),
        article_table(report.help_articles),
        article_table(report.development_articles, "articles for development"),
    ]
    if report.public_out_of_scope_deflected is not None:
        parts.append(f"clinc150's out-of-scope questions called out of scope: {report.public_out_of_scope_deflected}")
    return "\n\n".join(filter(None, parts))


def _figures(
    digest: str, subject: Subject, answers: Answers, asking_back: AskingBack, data_dir: Path | None
) -> EvaluationReport:
    prompts = [reply.prompt for reply in answers.held_out]
    greedy, drawn = answers.said_greedily, answers.said_as_served
    return EvaluationReport(
        digest=digest,
        judge_ceiling=subject.judge.ceiling(),
        ability=ability_by_language(answers.held_out, subject.tokenizer, subject.judge),
        plan_choice=plan_choice_by_language(answers.chosen, prompts, subject.pack, subject.tokenizer),
        second_question_right_plan=second_question_figures(answers.second, subject.tokenizer),
        going_on=going_on_figures(answers.going_on),
        goals=goal_figures(answers.goals, subject.judge),
        opposite_pairs=pair_figures(answers.pairs),
        off_limits=off_limits_figures(answers.off_limits),
        safety=run_scenarios(answers.safety),
        fairness=fairness_figures(answers.concerns),
        placeholders=placeholder_figures([*greedy, *drawn]),
        claims={"greedy": claim_figures(greedy), "as_served": claim_figures(drawn)},
        repetition=repetition_figures(drawn, subject.pack),
        tone=tone_figures(answers.toned, subject.pack),
        perplexity_by_source=source_perplexities(subject, data_dir, seed=_SEED) if data_dir else {},
        help_articles=measure_articles(subject, asking_back, subject.pack.held_out_articles),
        development_articles=measure_articles(subject, asking_back, subject.pack.development_articles),
        public_out_of_scope_deflected=_deflected(subject, data_dir) if data_dir else None,
    )


def _pages(name: str, subject: Subject, answers: Answers) -> dict[str, str]:
    single = [*answers.held_out, *answers.second]
    title = f"Conversations with {name}"
    return {
        CONVERSATIONS_PAGE: conversations_page(single, subject.tokenizer, title, _PAGE_CONVERSATIONS, _SEED),
        GOALS_PAGE: goals_page(answers.goals, f"Customers of {name} who want something"),
    }


def _deflected(subject: Subject, data_dir: Path) -> Figure:
    prompts = [HeldOutPrompt(OUT_OF_SCOPE, "", "en", (user_message(text),), ()) for text in load_out_of_scope(data_dir)]
    return share([plan.intent == OUT_OF_SCOPE for plan in choose_plans(subject.policy, subject.tokenizer, prompts)])
