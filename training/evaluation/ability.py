"""Ability: how well one model answers, by language, on every held-out ask. `python -m training eval`, and base bundles.

Greedy, so that figures of two models differ by the models alone. Comparing a candidate with its base on the gate's half
is `scorecard`'s business.
"""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from model_store.contract.tokenizer import Tokenizer
from model_store.contract.wording.unsafe import unsafe_rules
from training.data.domain_pack import DomainPack, intent_of
from training.evaluation.figures import Figure, share
from training.evaluation.held_out import SampledReply, Sampling, gate_prompts, outside_prompts, sample_replies
from training.evaluation.judge import IntentJudge, has_own_digit, language_of
from training.reformer.model import ReformerPolicy

OUT_OF_SCOPE = "out_of_scope"
_ALL = 10_000


class Ability(BaseModel):
    """Shares of replies in one language, with 95 % intervals."""

    model_config = ConfigDict(frozen=True)

    num_prompts: int
    right_plan: Figure
    """The reply opens with a plan of the intent that was asked about; 0 for a model that does not plan."""
    intent_fit: Figure
    """The judge of intents says that the wording answers what was asked; see its `ceiling`."""
    wrongly_deflected: Figure
    """Of the asks that the shop can answer: called out of scope."""
    deflected: Figure
    """Of the asks that it cannot: called out of scope."""
    language_match: Figure
    proper_endings: Figure
    invented_digits: Figure
    unsafe: Figure


def answer_everything(
    policy: ReformerPolicy, tokenizer: Tokenizer, pack: DomainPack, max_new_tokens: int = 96
) -> list[SampledReply]:
    """The greedy reply to every held-out ask."""
    prompts = [*gate_prompts(pack, _ALL), *outside_prompts(pack, _ALL)]
    return sample_replies(policy, tokenizer, prompts, Sampling(temperature=0.0, max_new_tokens=max_new_tokens))


def ability_by_language(
    replies: Sequence[SampledReply], tokenizer: Tokenizer, judge: IntentJudge
) -> dict[str, Ability]:
    """Figures of replies to held-out asks."""
    languages = sorted({reply.prompt.language for reply in replies})
    return {
        language: _ability([reply for reply in replies if reply.prompt.language == language], tokenizer, judge)
        for language in languages
    }


def _ability(replies: Sequence[SampledReply], tokenizer: Tokenizer, judge: IntentJudge) -> Ability:
    texts = [reply.text for reply in replies]
    asked = [reply.prompt.intent for reply in replies]
    planned = [intent_of(tokenizer.plan_of(reply.token_ids) or "") for reply in replies]
    pairs = list(zip(asked, planned, strict=True))
    return Ability(
        num_prompts=len(replies),
        right_plan=share([plan == intent for intent, plan in pairs]),
        intent_fit=share(judge.fits(asked, texts)),
        wrongly_deflected=share([plan == OUT_OF_SCOPE for intent, plan in pairs if intent != OUT_OF_SCOPE]),
        deflected=share([plan == OUT_OF_SCOPE for intent, plan in pairs if intent == OUT_OF_SCOPE]),
        language_match=share([language_of(reply.text) == reply.prompt.language for reply in replies]),
        proper_endings=share([reply.ended for reply in replies]),
        invented_digits=share([has_own_digit(text) for text in texts]),
        unsafe=share([bool(unsafe_rules(text)) for text in texts]),
    )


def ability_table(abilities: Mapping[str, Ability]) -> str:
    """The figures for people, a column a language."""
    names = [name for name in Ability.model_fields if name != "num_prompts"]
    lines = [f"{'':20}" + "".join(f"{language:>26}" for language in abilities)]
    lines.append(f"{'held-out asks':20}" + "".join(f"{ability.num_prompts:>26}" for ability in abilities.values()))
    for name in names:
        figures = [getattr(ability, name) for ability in abilities.values()]
        cells = (f"{figure.value:.1%} [{figure.low:.1%}, {figure.high:.1%}]" for figure in figures)
        lines.append(f"{name.replace('_', ' '):20}" + "".join(f"{cell:>26}" for cell in cells))
    return "\n".join(lines)
