"""Single messages answered as the service would answer them under its safety rules, greedily.

In the service's order: a pattern in the raw message, the safety head, then the policy, whose reply is checked sentence
by sentence. Left out: asking back, a shop's own pins and help articles, which `dialogues` and `help_articles` measure.
A contract test holds both to the same replies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from model_store.contract.conversation import Message, detect_language
from model_store.contract.entities import EntityMasker, EntityVault
from model_store.contract.safety.reply_check import ReplyCheck, said_in_place
from model_store.contract.safety.rules import Finding
from model_store.contract.tokenizer import IncrementalDecoder
from model_store.intents.listener import Listener
from training.data.domain_pack import user_message
from training.data.prompts import banned_ids, opening_ids, render_prompt
from training.evaluation.subject import MAX_NEW_TOKENS, Subject
from training.reformer.decoder import Sample, sample_completions


@dataclass(frozen=True, slots=True)
class ServedReply:
    """A masked reply as its customer reads it."""

    text: str
    plan: str | None
    """What it sets out to say; of a rule's own words, the plan or intent that the rule stands for, if any."""
    finding: Finding | None = None
    """The safety rule that had a say, if one had."""
    own_text: str | None = None
    """What the policy itself said, before the reply check; None where it was not asked."""


@dataclass(frozen=True, slots=True)
class _Asked:
    message: Message
    """Masked."""
    language: str
    finding: Finding | None


def answer_as_served(
    subject: Subject, messages: Sequence[str], max_new_tokens: int = MAX_NEW_TOKENS
) -> list[ServedReply]:
    """One reply to each raw message, which opens a conversation, in order."""
    masker = EntityMasker()
    listener = Listener(subject.intents, subject.tokenizer) if subject.intents else None
    asked = [_ask(subject, listener, text, masker) for text in messages]
    replies = [_rules_own_words(subject, each) for each in asked]
    own = [index for index, reply in enumerate(replies) if reply is None]
    samples = iter(_sample(subject, [asked[index] for index in own], max_new_tokens))
    return [reply or _checked(subject, each, next(samples)) for reply, each in zip(replies, asked, strict=True)]


def _ask(subject: Subject, listener: Listener | None, text: str, masker: EntityMasker) -> _Asked:
    message = user_message(masker.mask(text, EntityVault()))
    finding = subject.safety.match(text)
    if finding is None and listener is not None:
        heard = listener.hear(render_prompt([message], subject.tokenizer), is_searched=False)
        finding = subject.safety.hear(heard.probabilities, text)
    return _Asked(message, detect_language(text), finding)


def _rules_own_words(subject: Subject, asked: _Asked) -> ServedReply | None:
    """What a rule says in place of the policy; None where the policy is asked."""
    finding = asked.finding
    if finding is None or not finding.says_fixed_text(subject.tokenizer.plans):
        return None
    return ServedReply(finding.rule.replies[asked.language], finding.rule.plan or finding.rule.intent, finding)


def _sample(subject: Subject, asked: Sequence[_Asked], max_new_tokens: int) -> list[Sample]:
    tokenizer = subject.tokenizer
    return sample_completions(
        subject.policy,
        [render_prompt([each.message], tokenizer) for each in asked],
        banned_ids=[banned_ids([each.message], tokenizer) for each in asked],
        opening_ids=[_openings(subject, each) for each in asked],
        temperature=0.0,
        max_new_tokens=max_new_tokens,
        seed=0,
    )


def _openings(subject: Subject, asked: _Asked) -> frozenset[int]:
    """The plan that a softening rule settles, else what may open a reply, but for what the message plainly is not."""
    plan = asked.finding.rule.plan if asked.finding else None
    if plan is not None:
        return frozenset({subject.tokenizer.plans[plan]})
    plans = subject.tokenizer.plans
    misheard = {plans[name] for name in subject.safety.misheard(asked.message.content) if name in plans}
    return opening_ids([asked.message], subject.tokenizer) - misheard


def _checked(subject: Subject, asked: _Asked, sample: Sample) -> ServedReply:
    check = ReplyCheck(subject.safety, subject.authored)
    pieces = list(_pieces(subject, sample))
    text = said_in_place(pieces, check, asked.language)
    plan = subject.tokenizer.plan_of(sample.token_ids)
    return ServedReply(text, plan, check.finding or asked.finding, "".join(pieces))


def _pieces(subject: Subject, sample: Sample) -> Iterator[str]:
    decoder = IncrementalDecoder(subject.tokenizer)
    for token_id in sample.token_ids:
        yield decoder.feed(token_id)
    yield decoder.flush()
