"""The evaluation report: everything that is said about one bundle, as figures, as text, and as a page to read.

START READING HERE. Each part has a module of its own; comparing a candidate with its base is `scorecard`'s business.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from model_store.bundle import Bundle
from model_store.contract.tokenizer import Tokenizer
from training.data.corpora import load_out_of_scope
from training.data.domain_pack import DomainPack, load_pack, user_message
from training.evaluation.ability import OUT_OF_SCOPE, Ability, ability_by_language, ability_table, answer_everything
from training.evaluation.authored.safety_scenarios import (
    CategoryResult,
    answer_scenarios,
    load_scenarios,
    run_scenarios,
    scenario_table,
)
from training.evaluation.dialogues.conversations import conversations_page, second_question_figures, second_questions
from training.evaluation.figures import Figure, share
from training.evaluation.held_out import HeldOutPrompt, SampledReply, Sampling, sample_replies
from training.evaluation.judge import pack_judge
from training.evaluation.plan_choice import (
    PlanChoiceFigures,
    choose_plans,
    plan_choice_by_language,
    plan_choice_table,
)
from training.reformer.model import ReformerPolicy, load_policy

_MAX_NEW_TOKENS = 96
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
    safety: dict[str, dict[str, CategoryResult]]
    public_out_of_scope_deflected: Figure | None
    """Of clinc150's questions that no assistant of a shop can answer, where public data was given; English."""


def evaluate_bundle(
    bundle: Bundle, pack_name: str, *, data_dir: Path | None = None, page: Path | None = None
) -> EvaluationReport:
    """Measures a bundle on every held-out ask; writes conversations to `page` for people to read. Takes minutes."""
    pack = load_pack(pack_name)
    tokenizer = Tokenizer.load(bundle.path("tokenizer.json"))
    policy = load_policy(bundle.directory)
    judge = pack_judge(pack_name)
    replies = answer_everything(policy, tokenizer, pack, _MAX_NEW_TOKENS)
    prompts = [reply.prompt for reply in replies]
    second = _answer(policy, tokenizer, second_questions(replies, _SEED))
    if page is not None:
        title = f"Conversations with {bundle.manifest.name} {bundle.manifest.digest[:12]}"
        half = [*replies, *second]
        page.write_text(conversations_page(half, tokenizer, title, _PAGE_CONVERSATIONS, _SEED), encoding="utf-8")
    return EvaluationReport(
        digest=bundle.manifest.digest,
        judge_ceiling=judge.ceiling(),
        ability=ability_by_language(replies, tokenizer, judge),
        plan_choice=plan_choice_by_language(choose_plans(policy, tokenizer, prompts), prompts, pack, tokenizer),
        second_question_right_plan=second_question_figures(second, tokenizer),
        safety=run_scenarios(answer_scenarios(policy, tokenizer, load_scenarios())),
        public_out_of_scope_deflected=_deflected(policy, tokenizer, pack, data_dir) if data_dir else None,
    )


def report_text(report: EvaluationReport) -> str:
    """The report for people."""
    second = ", ".join(f"{language} {figure}" for language, figure in report.second_question_right_plan.items())
    parts = [
        ability_table(report.ability),
        f"The judge behind intent fit is right about {report.judge_ceiling:.1%} of good replies that it has not seen.",
        plan_choice_table(report.plan_choice),
        f"Second question in a conversation, right plan: {second}",
        scenario_table(report.safety),
    ]
    if report.public_out_of_scope_deflected is not None:
        parts.append(f"clinc150's out-of-scope questions called out of scope: {report.public_out_of_scope_deflected}")
    return "\n\n".join(parts)


def _answer(policy: ReformerPolicy, tokenizer: Tokenizer, prompts: Sequence[HeldOutPrompt]) -> list[SampledReply]:
    return sample_replies(policy, tokenizer, prompts, Sampling(temperature=0.0, max_new_tokens=_MAX_NEW_TOKENS))


def _deflected(policy: ReformerPolicy, tokenizer: Tokenizer, pack: DomainPack, data_dir: Path) -> Figure:
    topic = next(intent.topic for intent in pack.intents if intent.name == OUT_OF_SCOPE)
    prompts = [
        HeldOutPrompt(OUT_OF_SCOPE, topic, "en", (user_message(text),), ()) for text in load_out_of_scope(data_dir)
    ]
    return share([plan.intent == OUT_OF_SCOPE for plan in choose_plans(policy, tokenizer, prompts)])
