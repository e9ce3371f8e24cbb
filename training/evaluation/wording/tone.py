"""Tone: whether replies are warm, brief or formal where an operator's system message asks for it.

A linear classifier over the pack's good replies says which tone a reply has; it knows no tone but the pack's, and
`ToneFigures.ceiling` says how often it is right about replies that it has not seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import BaseModel, ConfigDict
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC

from model_store.contract.conversation import Message, Role
from training.data.domain_pack import DomainPack
from training.evaluation.figures import Figure, grouped, mean, share
from training.evaluation.held_out import HeldOutPrompt, SampledReply

_NUM_FOLDS = 5
_SEED = 0


@dataclass(frozen=True)
class TonedReply:
    """A reply, and the tone that its prompt asked for; None: no tone was asked for."""

    tone: str | None
    reply: SampledReply


class ToneFigures(BaseModel):
    """One tone in one language."""

    model_config = ConfigDict(frozen=True)

    asked: Figure
    """Share of replies in the tone where the system message asks for it."""
    unasked: Figure
    """The same without a system message."""
    num_tokens: Figure
    """Of replies that were asked for in the tone."""
    ceiling: float
    """How often the classifier behind the shares is right about authored replies."""


def toned_prompts(pack: DomainPack, prompts: Sequence[HeldOutPrompt]) -> list[tuple[str | None, HeldOutPrompt]]:
    """One ask of each intent, without a system message and under one for each tone of the pack; else nothing."""
    asked = pack.phrases.tone_messages
    firsts = {(prompt.intent, prompt.language): prompt for prompt in reversed(prompts)} if asked else {}
    found: list[tuple[str | None, HeldOutPrompt]] = []
    for number, prompt in enumerate(firsts.values()):
        found.append((None, prompt))
        for tone, by_language in asked.items():
            if wordings := by_language.get(prompt.language):
                system = Message(Role.SYSTEM, wordings[number % len(wordings)])
                found.append((tone, replace(prompt, messages=(system, *prompt.messages))))
    return found


def tone_figures(replies: Sequence[TonedReply], pack: DomainPack) -> dict[str, dict[str, ToneFigures]]:
    """Figures by language and tone; empty for a pack that asks for none."""
    figures: dict[str, dict[str, ToneFigures]] = {}
    for language, items in grouped(replies, lambda item: item.reply.prompt.language).items():
        judge, ceiling = _judge(pack, language)
        found = judge.predict([item.reply.text for item in items])
        figures[language] = {}
        for tone in sorted({item.tone for item in items if item.tone}):
            asked = [(item, heard == tone) for item, heard in zip(items, found, strict=True) if item.tone == tone]
            unasked = [heard == tone for item, heard in zip(items, found, strict=True) if item.tone is None]
            figures[language][tone] = ToneFigures(
                asked=share([is_heard for _, is_heard in asked]),
                unasked=share(unasked),
                num_tokens=mean([float(len(item.reply.token_ids)) for item, _ in asked]),
                ceiling=ceiling,
            )
    return figures


def tone_table(figures: Mapping[str, Mapping[str, ToneFigures]]) -> str:
    """The figures for people."""
    return "\n".join(
        f"{language}: {tone} when asked for {each.asked}, unasked {each.unasked}, {each.num_tokens.value:.1f} tokens"
        f" a reply (the judge is right about {each.ceiling:.1%})"
        for language, tones in figures.items()
        for tone, each in tones.items()
    )


def _judge(pack: DomainPack, language: str) -> tuple[Pipeline, float]:
    """A classifier of tones, and its accuracy on a fifth at a time left out."""
    rows = sorted(
        {
            (text, tone)
            for intent in pack.intents
            if intent.language == language
            for tone, texts in intent.replies_by_tone.items()
            for text in texts
        }
    )
    texts, tones = [text for text, _ in rows], np.array([tone for _, tone in rows])
    judge = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True), LinearSVC(random_state=_SEED)
    )
    ceiling = float(cross_val_score(judge, texts, tones, cv=_NUM_FOLDS).mean())
    return judge.fit(texts, tones), ceiling
