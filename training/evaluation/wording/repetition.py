"""Repetition: how varied replies are, and how many are an authored reply word for word.

Replies are counted as served, with words drawn; a greedy model has one wording a plan.
"""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from model_store.contract.conversation import Role
from training.data.domain_pack import DomainPack
from training.evaluation.figures import Figure, grouped, mean, share
from training.evaluation.wording.said import Said
from training.rlhf.estimators import distinct_n


class RepetitionFigures(BaseModel):
    """One language's replies."""

    model_config = ConfigDict(frozen=True)

    num_replies: int
    num_different: int
    distinct2: float
    """Different pairs of tokens by all pairs, over all replies together."""
    verbatim: Figure
    """Replies that stand in the authored pack as they are; facts and entities as placeholders."""
    num_tokens: Figure


def repetition_figures(replies: Sequence[Said], pack: DomainPack) -> dict[str, RepetitionFigures]:
    """Figures by language. Replies need their token ids."""
    authored = authored_replies(pack)
    return {
        language: RepetitionFigures(
            num_replies=len(items),
            num_different=len({said.text for said in items}),
            distinct2=distinct_n([said.token_ids for said in items], 2),
            verbatim=share([said.text.strip() in authored for said in items]),
            num_tokens=mean([float(len(said.token_ids)) for said in items]),
        )
        for language, items in grouped(replies, lambda said: said.language).items()
    }


def authored_replies(pack: DomainPack) -> frozenset[str]:
    """Everything that the assistant says in a pack, in intents and flows."""
    in_flows = [
        text for flow in pack.flows for turn in flow.turns if turn.role is Role.ASSISTANT for text in turn.wordings
    ]
    of_intents = [text for each in pack.intents for text in each.every_reply]
    return frozenset(text.strip() for text in (*of_intents, *in_flows))


def repetition_table(figures: Mapping[str, RepetitionFigures]) -> str:
    """The figures for people."""
    return "\n".join(
        f"{language}: {each.num_different} of {each.num_replies} replies differ, distinct-2 {each.distinct2:.3f},"
        f" authored word for word {each.verbatim}, {each.num_tokens.value:.1f} tokens a reply"
        for language, each in figures.items()
    )
