"""What is measured: one bundle's policy, what it takes to ask it, and the replies that several parts share.

Parts of the report take a subject and give figures; where two bundles are compared they also give `Outcomes`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from model_store.bundle import Bundle
from model_store.contract.safety.reply_check import AuthoredSentences
from model_store.contract.safety.rules import SafetyRules
from model_store.contract.safety.rules_file import load_safety_rules
from model_store.contract.tokenizer import Tokenizer
from model_store.intents.intent_model import IntentModel
from model_store.intents.listener import Listener
from model_store.intents.matters import KnownReplies
from training.data.domain_pack import DomainPack, load_pack
from training.evaluation.ability import answer_everything
from training.evaluation.held_out import HeldOutPrompt, SampledReply, Sampling, known_phrases, sample_replies
from training.evaluation.judge import IntentJudge, pack_judge
from training.reformer.model import ReformerPolicy, load_policy

MAX_NEW_TOKENS = 96
GREEDY = Sampling(temperature=0.0, max_new_tokens=MAX_NEW_TOKENS)
AS_SERVED = Sampling(max_new_tokens=MAX_NEW_TOKENS)

Outcomes = Mapping[str, Sequence[float]]
"""By language, one number an item, 1 for what should be; always the same items in the same order."""


@dataclass(frozen=True)
class Subject:
    """A policy and what to measure it with."""

    policy: ReformerPolicy
    tokenizer: Tokenizer
    pack: DomainPack
    judge: IntentJudge
    intents: IntentModel | None = None
    """Who hears messages beside the policy, and by whom help articles are found by their meaning."""
    safety: SafetyRules = field(default_factory=load_safety_rules)
    """What the service says or stops by itself; `authored.as_served` alone answers under it."""
    authored: AuthoredSentences = field(default_factory=AuthoredSentences)
    """What the reply check need not hold back."""
    known_replies: KnownReplies = field(default_factory=KnownReplies)
    """By which a bot knows what it has said before."""

    @classmethod
    def of(cls, bundle: Bundle, pack_name: str, intents: IntentModel | None = None) -> "Subject":
        """A bundle's policy, heard together with an intent model and kept to the bundle's phrases, as in the service.

        The safety rules are those that ship. Raises as `load_pack` does, or OSError for a bundle without
        its checkpoint.
        """
        tokenizer = Tokenizer.load(bundle.path("tokenizer.json"))
        policy = load_policy(bundle.directory)
        policy.phrases = known_phrases(bundle.directory, policy)
        policy.listener = Listener(intents, tokenizer) if intents else None
        known = KnownReplies.load(bundle.directory, int(policy.config.vocab_size), tokenizer)
        return cls(
            policy,
            tokenizer,
            load_pack(pack_name),
            pack_judge(pack_name),
            intents,
            authored=AuthoredSentences(known.texts),
            known_replies=known,
        )

    def answer(self, prompts: Sequence[HeldOutPrompt], sampling: Sampling = GREEDY) -> list[SampledReply]:
        """One reply to each prompt, in order."""
        return sample_replies(self.policy, self.tokenizer, prompts, sampling)

    def plan_of(self, reply: SampledReply) -> str | None:
        """What a reply set out to do, or None for a model that does not plan."""
        return self.tokenizer.plan_of(reply.token_ids)

    def can_plan(self, topics: Collection[str]) -> bool:
        """Whether the pack has all of these topics: what was written for one shop is not asked in a shop of another."""
        return self._topics.issuperset(topics)

    @cached_property
    def _topics(self) -> frozenset[str]:
        return frozenset(plan.partition("/")[0] for plan in self.pack.plans)

    @cached_property
    def held_out_replies(self) -> list[SampledReply]:
        """The greedy reply to every held-out ask; made once."""
        return answer_everything(self.policy, self.tokenizer, self.pack, MAX_NEW_TOKENS)

    @cached_property
    def sampled_replies(self) -> list[SampledReply]:
        """Replies to the same asks, drawn as the service draws them; made once."""
        return self.answer([reply.prompt for reply in self.held_out_replies], AS_SERVED)
