"""Does the bot hear what a later message is about: that a customer goes on about his matter, or that he has another?

Matters are asks that the bot hears rightly and answers; then the customer says one of the held-out ways of going on,
which name no matter (`data.plan_teacher.going_on`), once or twice, or one of the matter's own held-out follow-ups, or
asks what belongs to another intent and would be heard rightly as a first message. One forward pass a message: the plan
is the first token. By itself, in two minutes: `python -m training.evaluation.dialogues.going_on`, of development asks
with `--asks development`.
"""

import argparse
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from model_store.bundle import open_bundle
from model_store.contract.conversation import Message, Role
from model_store.intents.intent_model import DEFAULT_DIRECTORY, IntentModel
from model_store.replies import PERSON_PLAN
from model_store.store import DEFAULT_BUNDLE
from training.data.domain_pack import DomainPack, Intent, fill_slots, user_message
from training.data.plan_teacher.going_on import OF_ITS_OWN, GoingOn, go_on, held_out_wordings, matters_of
from training.evaluation.dialogues.conversations import second_questions
from training.evaluation.figures import Figure, grouped, share
from training.evaluation.held_out import HeldOutPrompt, SampledReply
from training.evaluation.plan_choice import choose_plans
from training.evaluation.subject import Outcomes, Subject

_ALSO_FITTING: Mapping[str, tuple[str, ...]] = {
    "agreeing": ("acknowledge", PERSON_PLAN),
    "failed": ("bot_unhelpful", PERSON_PLAN),
    "doubting": ("bot_unhelpful",),
}
"""By kind of going on, topics beside the matter that are no mistake: who says yes to a colleague gets one."""
_SEED = 0

Situation = Literal["once", "twice", "own", "change"]


@dataclass(frozen=True, slots=True)
class HeardLater:
    """A later message: what it is about, and what the bot took it for."""

    situation: Situation
    language: str
    kind: str
    """Of going on; "" for a change of topic."""
    topic: str
    heard: str

    @property
    def is_right(self) -> bool:
        """Whether it is taken for what it is about."""
        return self.heard == self.topic

    @property
    def is_fitting(self) -> bool:
        """… or for what is no mistake either."""
        return self.is_right or self.heard in _ALSO_FITTING.get(self.kind, ())


class GoingOnFigures(BaseModel):
    """One language's shares, with 95 % intervals that take messages for independent, which wordings make them not."""

    model_config = ConfigDict(frozen=True)

    num_matters: int
    right: Figure
    """Of messages that go on about a matter: taken for that matter."""
    fitting: Figure
    """… or for thanks to a colleague that was offered, or for saying that the answer did not help."""
    right_again: Figure
    """The same of a second message that goes on."""
    right_of_its_own: Figure | None = None
    """The same of what only its matter's customers say; None in a pack without such follow-ups."""
    right_by_kind: dict[str, Figure]
    change_right: Figure
    """Of messages about another topic, which would be heard rightly as first ones: taken for that topic."""


def hear_later_messages(subject: Subject, first: Sequence[SampledReply]) -> list[HeardLater]:
    """What becomes of later messages behind `first` replies, of which those with the right plan count."""
    answered = [reply for reply in first if _topic(subject, reply) == reply.prompt.intent]
    goings = [*_going_on(subject.pack, answered), *_of_their_own(subject.pack, answered)]
    changes = second_questions(_of_several_intents(answered), _SEED)
    asked: list[tuple[Situation, str, HeldOutPrompt]] = [
        *((situation, going.kind, prompt) for situation, going, prompt in goings),
        *(("change", "", prompt) for prompt in changes),
    ]
    chosen = choose_plans(subject.policy, subject.tokenizer, [prompt for _, _, prompt in asked])
    return [
        HeardLater(situation, prompt.language, kind, prompt.intent, plan.intent)
        for (situation, kind, prompt), plan in zip(asked, chosen, strict=True)
    ]


def going_on_figures(heard: Sequence[HeardLater]) -> dict[str, GoingOnFigures]:
    """Figures by language."""
    return {language: _figures(messages) for language, messages in grouped(heard, lambda each: each.language).items()}


def going_on_outcomes(heard: Sequence[HeardLater], *, is_change: bool) -> Outcomes:
    """By language, 1 for each message that goes on, or changes the topic, and is heard rightly."""
    wanted = [each for each in heard if (each.situation == "change") is is_change]
    return {
        language: [float(each.is_right) for each in messages]
        for language, messages in grouped(wanted, lambda each: each.language).items()
    }


def going_on_table(figures: Mapping[str, GoingOnFigures]) -> str:
    """The figures for people; "" without any."""
    lines = []
    for language, each in figures.items():
        own = f" in words of its own {each.right_of_its_own}," if each.right_of_its_own else ""
        lines.append(
            f"{language}: going on about {each.num_matters} matters, right topic {each.right}, fitting {each.fitting},"
            f"{own} going on again {each.right_again}; another topic {each.change_right}"
        )
        kinds = ", ".join(f"{kind} {figure.value:.3f}" for kind, figure in each.right_by_kind.items())
        lines.append(f"    by kind: {kinds}")
    return "\n".join(lines)


def _figures(heard: Sequence[HeardLater]) -> GoingOnFigures:
    by_situation = grouped(heard, lambda each: each.situation)
    once = by_situation.get("once", [])
    by_kind = grouped(once, lambda each: each.kind)
    own = [each.is_right for each in by_situation.get("own", [])]
    return GoingOnFigures(
        num_matters=len(once),
        right=share([each.is_right for each in once]),
        fitting=share([each.is_fitting for each in once]),
        right_again=share([each.is_right for each in by_situation.get("twice", [])]),
        right_of_its_own=share(own) if own else None,
        right_by_kind={kind: share([each.is_right for each in messages]) for kind, messages in by_kind.items()},
        change_right=share([each.is_right for each in by_situation.get("change", [])]),
    )


def _going_on(pack: DomainPack, answered: Sequence[SampledReply]) -> Iterator[tuple[Situation, GoingOn, HeldOutPrompt]]:
    """Behind each reply about a matter a message that goes on, and behind a later reply to that another."""
    generator = random.Random(_SEED)
    matters = {
        (matter.name, matter.language): matter for matter in matters_of(pack, [each.name for each in pack.intents])
    }
    for reply in answered:
        matter = matters.get((reply.prompt.intent, reply.prompt.language))
        if matter is None or not matter.later_replies:
            continue
        first, second = (go_on(matter, held_out_wordings(), generator, kind=_kind(matter, generator)) for _ in range(2))
        once = _continued(reply.prompt, reply.text, first)
        yield "once", first, once
        yield "twice", second, _continued(once, generator.choice(matter.later_replies), second)


def _of_their_own(
    pack: DomainPack, answered: Sequence[SampledReply]
) -> Iterator[tuple[Situation, GoingOn, HeldOutPrompt]]:
    """Behind each reply one of its matter's held-out follow-ups."""
    generator = random.Random(_SEED)
    for reply in answered:
        matter = pack.intent(reply.prompt.intent, reply.prompt.language)
        if matter is not None and matter.held_out_follow_ups:
            going = GoingOn(_filled(generator.choice(matter.held_out_follow_ups), pack, matter, generator), OF_ITS_OWN)
            yield "own", going, _continued(reply.prompt, reply.text, going)


def _of_several_intents(replies: Sequence[SampledReply]) -> list[SampledReply]:
    """Without those in a language in which only one intent was answered: there is nothing to change to."""
    by_language = grouped(replies, lambda reply: reply.prompt.language)
    several = {name for name, some in by_language.items() if len({reply.prompt.intent for reply in some}) > 1}
    return [reply for reply in replies if reply.prompt.language in several]


def _kind(matter: Intent, generator: random.Random) -> str:
    """Each as often."""
    return generator.choice(sorted(held_out_wordings()[matter.language]))


def _continued(prompt: HeldOutPrompt, reply: str, going: GoingOn) -> HeldOutPrompt:
    return replace(prompt, messages=(*prompt.messages, Message(Role.ASSISTANT, reply), user_message(going.text)))


def _topic(subject: Subject, reply: SampledReply) -> str:
    return (subject.plan_of(reply) or "").partition("/")[0]


def _development_prompts(pack: DomainPack) -> list[HeldOutPrompt]:
    generator = random.Random(_SEED)
    return [
        HeldOutPrompt(
            intent.name, intent.topic, intent.language, (user_message(_filled(ask, pack, intent, generator)),), ()
        )
        for intent in pack.intents
        for ask in intent.development_asks
    ]


def _filled(ask: str, pack: DomainPack, intent: Intent, generator: random.Random) -> str:
    return fill_slots(ask, pack.slots[intent.language], generator)


def main() -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE)
    parser.add_argument("--intents", type=Path, default=DEFAULT_DIRECTORY, help="folder of the intent model")
    parser.add_argument("--pack", default="shop")
    parser.add_argument("--asks", choices=("held_out", "development"), default="held_out", help="what matters are")
    options = parser.parse_args()
    intents = IntentModel.load(options.intents, num_remembered=10_000)
    subject = Subject.of(open_bundle(options.bundle), options.pack, intents)
    is_held_out = options.asks == "held_out"
    first = subject.held_out_replies if is_held_out else subject.answer(_development_prompts(subject.pack))
    print(going_on_table(going_on_figures(hear_later_messages(subject, first))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
